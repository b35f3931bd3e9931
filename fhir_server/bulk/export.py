"""Export the current resources as NDJSON, a file for each type or one stream.

Source: https://hl7.org/fhir/R4/nd-json.html. A page of bodies at a time is in memory, whatever the size of the store; a
file has its name only when it is complete.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from fhir_server.bulk.manifest import write_manifest
from fhir_server.bulk.ndjson import write_lines
from fhir_server.search.tree import Everything, Expression, SearchQuery, Updated
from fhir_server.store.protocol import Store

PAGE = 1000
Progress = Callable[[str, int], None]


def _silent(_type: str, _count: int) -> None:
    return


async def pages_of(store: Store, type: str, since: int | None = None) -> AsyncIterator[list[bytes]]:
    """The bodies of all current resources of `type`, in order of creation; `since` is microseconds, inclusive."""
    where: Expression = Everything() if since is None else Updated("ge", since, since + 1)
    cursor: str | None = None
    while True:
        page = await store.search(SearchQuery((type,), where, count=PAGE, cursor=cursor))
        if page.matches:
            yield [s.body for s in page.matches]
        cursor = page.next
        if cursor is None:
            return


async def wanted_types(store: Store, types: Iterable[str]) -> list[str]:
    """The types asked for, or all that the store has, sorted."""
    return sorted(set(types)) or sorted(t for t, n in (await store.counts()).items() if n)


async def export_stream(
    store: Store, stream: IO[bytes], types: Iterable[str] = (), since: int | None = None
) -> int:
    """Write everything to one stream; the number of resources."""
    count = 0
    for type_name in await wanted_types(store, types):
        async for bodies in pages_of(store, type_name, since):
            count += await asyncio.to_thread(write_lines, stream, bodies)
    stream.flush()
    return count


async def export_files(
    store: Store,
    folder: Path,
    types: Iterable[str] = (),
    since: int | None = None,
    *,
    compress: bool = False,
    at: int = 0,
    on_progress: Progress = _silent,
) -> dict[str, int]:
    """Write `Patient.ndjson` and so on into `folder`; the number of resources by type (a type without any has no file).

    A manifest names the files and their counts; `at` is its time in microseconds. `on_progress` is told the type and how many more were written.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for type_name in await wanted_types(store, types):
        name = names[type_name] = f"{type_name}.ndjson.gz" if compress else f"{type_name}.ndjson"
        count = await _export_file(store, folder / name, type_name, since, compress, on_progress)
        if count:
            counts[type_name] = count
    await asyncio.to_thread(write_manifest, folder, names, counts, at)
    return counts


async def _export_file(
    store: Store, file: Path, type: str, since: int | None, compress: bool, on_progress: Progress
) -> int:
    part = file.with_name(f".{file.name}.part")
    count = 0
    try:
        with part.open("wb") as raw:
            stream = _packed(raw) if compress else raw
            async for bodies in pages_of(store, type, since):
                count += await asyncio.to_thread(write_lines, stream, bodies)
                on_progress(type, len(bodies))
            if stream is not raw:
                stream.close()
            raw.flush()
            os.fsync(raw.fileno())
        if count:
            part.replace(file)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return count


def _packed(raw: IO[bytes]) -> IO[bytes]:
    """A gzip stream without name and time, so that equal content gives equal files."""
    return cast(IO[bytes], gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0))
