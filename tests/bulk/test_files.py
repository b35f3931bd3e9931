"""Every form of file gives the same resources; what cannot be read is told with its place."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fhir_r4.errors import FhirError, InvalidRequest, MalformedJson
from fhir_server.bulk.files import Item, find_sources, read_items, total_size

ONE = b'{"resourceType":"Patient","id":"a","multipleBirthInteger":1}'
TWO = b'{"resourceType":"Patient","id":"b"}'
XML = b'<Patient xmlns="http://hl7.org/fhir"><id value="a"/><multipleBirthInteger value="1"/></Patient>'


def items(*paths: Path | str, stdin: bytes = b"") -> list[Item]:
    sources, _ = find_sources([str(p) for p in paths])
    return list(read_items(sources, io.BytesIO(stdin)))


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


FORMS: dict[str, bytes] = {
    "a.json": ONE,
    "a.JSON": b"\xef\xbb\xbf" + ONE,
    "a.json.gz": gzip.compress(ONE),
    "a.json.bz2": bz2.compress(ONE),
    "a.ndjson": ONE + b"\n",
    "a.ndjson.gz": gzip.compress(ONE + b"\n\n"),
    "a.ndjson.bz2": bz2.compress(ONE),
    "a.xml": XML,
    "a.xml.gz": gzip.compress(XML),
    "plain.zip": zipped(a__json=ONE),
    "lines.zip": zipped(a__ndjson=ONE, readme__txt=b"no resources"),
    "packed.zip": zipped(a__json__gz=gzip.compress(ONE)),
    "xml.zip": zipped(a__xml__bz2=bz2.compress(XML)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_resource(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(FORMS[name])
    assert [i.content for i in items(file)] == [json.loads(ONE)]


def test_standard_input_is_ndjson() -> None:
    found = items("-", stdin=ONE + b"\n" + TWO)
    assert [(i.source, i.place) for i in found] == [("-", "line 1"), ("-", "line 2")]
    assert found[1].content == json.loads(TWO)


def test_a_folder_is_read_in_depth_and_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "b.json").write_bytes(TWO)
    (tmp_path / "inner" / "c.ndjson").write_bytes(ONE)
    (tmp_path / "a.json").write_bytes(ONE)
    (tmp_path / "notes.txt").write_text("hello")
    sources, passed_over = find_sources([str(tmp_path)])
    assert [Path(s.name).name for s in sources] == ["a.json", "b.json", "c.ndjson"]
    assert passed_over == [str(tmp_path / "notes.txt")]


def test_members_of_an_archive_are_named(tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    file.write_bytes(zipped(b__ndjson=ONE + b"\n" + TWO, a__json=TWO))
    assert [(i.source, i.place) for i in items(file)] == [
        (f"{file}!a.json", ""),
        (f"{file}!b.ndjson", "line 1"),
        (f"{file}!b.ndjson", "line 2"),
    ]


def test_a_bad_line_is_told_with_its_number_and_the_rest_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_bytes(ONE + b'\n{"resourceType":\n[1]\n' + TWO + b"\n")
    found = items(file)
    assert [i.place for i in found] == ["line 1", "line 2", "line 3", "line 4"]
    assert [isinstance(i.content, MalformedJson) for i in found] == [False, True, True, False]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("a.ndjson.gz", lambda b: b[:-12]),
        ("a.json.gz", lambda b: b"no gzip"),
        ("a.json.bz2", lambda b: b[:20]),
        ("a.xml", lambda b: b[:30]),
    ],
)
def test_a_broken_file_is_one_fault_and_the_next_file_is_read(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    broken = tmp_path / name
    broken.write_bytes(damage(FORMS[name]))
    whole = tmp_path / "z.json"
    whole.write_bytes(TWO)
    found = items(broken, whole)
    assert isinstance(found[-2].content, FhirError)
    assert found[-2].source == str(broken)
    assert found[-1].content == json.loads(TWO)


def test_a_broken_archive_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK no archive")
    with pytest.raises(InvalidRequest, match=r"a\.zip"):
        find_sources([str(file)])


def test_a_file_of_unknown_form_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(InvalidRequest, match="no source of resources"):
        find_sources([str(tmp_path / "a.csv")])
    with pytest.raises(InvalidRequest, match="no file"):
        find_sources([str(tmp_path / "absent.json")])


def test_bytes_read_add_up_to_the_size_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress((ONE + b"\n") * 5000))
    (tmp_path / "b.ndjson").write_bytes((TWO + b"\n") * 500)
    (tmp_path / "c.json").write_bytes(ONE)
    sources, _ = find_sources([str(tmp_path)])
    ticks: list[int] = []
    assert len(list(read_items(sources, io.BytesIO(), ticks.append))) == 5501
    assert sum(ticks) == total_size(sources) == sum(f.stat().st_size for f in tmp_path.iterdir())


def test_a_million_lines_are_never_held_at_once(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        read_so_far = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            line = TWO + b"\n"
            buffer[: len(line)] = line
            self.read_so_far += 1
            return len(line)

    endless = Endless()
    sources, _ = find_sources(["-"])
    found = read_items(sources, io.BufferedReader(endless))
    for _ in range(100):
        next(found)
    assert endless.read_so_far < 1000
