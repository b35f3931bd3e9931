"""Where resources come from: files, folders, archives and standard input, opened one at a time and read as streams.

A source is JSON (one resource or Bundle), NDJSON (https://hl7.org/fhir/R4/nd-json.html) or XML, each plain, `.gz` or
`.bz2`, on disk or inside a `.zip`. What a source holds comes out as items; a fault is an item too, so that nothing is
lost without a word.
"""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from fhir_r4.errors import FhirError, InvalidRequest, MalformedJson
from fhir_r4.jsonio import decode_object
from fhir_server.bulk import manifest
from fhir_server.bulk.ndjson import read_lines

Resource = dict[str, Any]
Format = Literal["json", "ndjson", "xml"]
Tick = Callable[[int], None]

FORMATS: dict[str, Format] = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".xml": "xml"}
UNPACKERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw)),
    ".bz2": lambda raw: cast(IO[bytes], bz2.BZ2File(raw)),
}
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Source:
    """One stream of resources: a file, or the member `member` of an archive, or standard input (`path` is None).

    `count` is how many resources a manifest promises in it.
    """

    name: str
    format: Format
    path: Path | None
    member: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A resource (or Bundle) with the place that it came from: `line 3`, or '' for a whole file; or why there is none."""

    source: str
    place: str
    content: Resource | FhirError


def find_sources(paths: Iterable[str]) -> tuple[list[Source], list[str]]:
    """The sources below `paths` (`-` is standard input as NDJSON) in order of name, and the files passed over.

    A folder is searched in depth; where it has a manifest, the manifest says which files are loaded. Files whose names do not say one of the formats are passed over there, and refused
    when they are named themselves. Raises InvalidRequest for what does not exist or cannot be read.
    """
    sources: list[Source] = []
    passed_over: list[str] = []
    for name in paths:
        if name == "-":
            sources.append(Source("-", "ndjson", None))
        elif Path(name).is_dir():
            files = sorted(p for p in Path(name).rglob("*") if p.is_file())
            manifests = [p for p in files if p.name == manifest.NAME]
            listed = manifest.governed(manifests)
            for file in [*manifests, *(p for p in files if p not in listed)]:
                found = _sources_of(file)
                sources += found
                if not found:
                    passed_over.append(str(file))
        else:
            sources += _named(Path(name))
    return sources, passed_over


def _named(file: Path) -> list[Source]:
    if not file.exists():
        raise InvalidRequest(f"There is no file {file}.")
    found = _sources_of(file)
    if not found:
        known = ", ".join((*FORMATS, ".zip"))
        raise InvalidRequest(
            f"{file} is no source of resources: expected {known}, the first also with .gz or .bz2."
        )
    return found


def _sources_of(file: Path) -> list[Source]:
    if file.suffix.lower() == ".zip":
        return _members(file)
    if file.name == manifest.NAME:
        return [Source(str(o.file), "ndjson", o.file, count=o.count) for o in manifest.read_manifest(file)]
    form = _format(file)
    return [Source(str(file), form, file)] if form is not None else []


def _members(file: Path) -> list[Source]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = sorted(archive.namelist())
    except BROKEN as error:
        raise InvalidRequest(f"{file} cannot be opened as a ZIP archive: {error}.") from error
    forms = ((name, _format(Path(name))) for name in names)
    return [Source(f"{file}!{name}", form, file, name) for name, form in forms if form is not None]


def _format(file: Path) -> Format | None:
    suffixes = [s.lower() for s in file.suffixes]
    if suffixes and suffixes[-1] in UNPACKERS:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def total_size(sources: Iterable[Source]) -> int | None:
    """The bytes on disk of all files behind `sources`; None when standard input is among them."""
    files = {s.path for s in sources}
    return None if None in files else sum(f.stat().st_size for f in files if f is not None)


def read_items(sources: Iterable[Source], stdin: IO[bytes], tick: Tick = lambda _: None) -> Iterator[Item]:
    """What `sources` hold, in order; `tick` is told of the bytes read from disk since it was called last."""
    for source in sources:
        try:
            yield from _read(source, stdin, tick)
        except BROKEN as error:
            yield Item(source.name, "", MalformedJson(f"The file cannot be read: {error}."))


def _read(source: Source, stdin: IO[bytes], tick: Tick) -> Iterator[Item]:
    with _opened(source, stdin) as (stream, position):
        told = 0
        if source.format == "ndjson":
            found = 0
            for number, content in read_lines(stream):
                found += 1
                yield Item(source.name, f"line {number}", content)
                tick(position() - told)
                told = position()
            if source.count not in (None, found):
                fault = f"The manifest promises {source.count} resources in this file; {found} were found."
                yield Item(source.name, "", InvalidRequest(fault))
        else:
            body = stream.read()
            yield Item(source.name, "", _whole(body, source.format))
        tick(position() - told)


def _whole(body: bytes, form: Format) -> Resource | FhirError:
    try:
        if form == "json":
            return decode_object(body)
        from fhir_r4.xmlio import from_xml  # lxml is heavy and XML is rare

        return from_xml(body)
    except FhirError as error:
        return error


@contextmanager
def _opened(source: Source, stdin: IO[bytes]) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """The unpacked stream of a source, and the position that has been reached in the file as it lies on disk."""
    if source.path is None:
        yield stdin, lambda: 0
        return
    unpack = UNPACKERS.get(Path(source.member or source.path).suffix.lower())
    if source.member is None:
        with source.path.open("rb") as raw:
            yield (unpack(raw) if unpack is not None else raw), raw.tell
        return
    with zipfile.ZipFile(source.path) as archive, archive.open(source.member) as packed:
        size = archive.getinfo(source.member).compress_size
        done = [0]
        yield (unpack(packed) if unpack is not None else packed), lambda: done[0]
        done[0] = size
