"""An export has every current resource once, as it is stored, in files that are complete or absent."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from fhir_server.bulk import export
from fhir_server.bulk.export import export_files, export_stream
from fhir_server.context import Services
from fhir_server.interactions.writing import commit, deletion
from tests.bulk.conftest import Load, patient

Resource = dict[str, Any]


async def test_files_hold_the_stored_bytes(load: Load, services: Services, tmp_path: Path) -> None:
    await load(
        *(patient(f"p{n}") for n in range(7)), {"resourceType": "Basic", "id": "b", "code": {"text": "x"}}
    )
    assert await export_files(services.store, tmp_path / "out", ["Patient", "Basic", "Flag"]) == {
        "Patient": 7,
        "Basic": 1,
    }
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "Basic.ndjson",
        "Patient.ndjson",
        "manifest.json",
    ]
    stored = await services.store.read_many([("Patient", f"p{n}") for n in range(7)])
    lines = (tmp_path / "out" / "Patient.ndjson").read_bytes().splitlines()
    assert sorted(lines) == sorted(s.body for s in stored.values())


async def test_pages_are_followed_to_the_end(
    load: Load, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 3)
    await load(*(patient(f"p{n}") for n in range(10)))
    told: list[int] = []
    counts = await export_files(services.store, tmp_path, on_progress=lambda _, n: told.append(n))
    assert counts == {"Patient": 10}
    assert told == [3, 3, 3, 1]
    assert len(set((tmp_path / "Patient.ndjson").read_bytes().splitlines())) == 10


async def test_deleted_resources_are_not_exported(load: Load, services: Services) -> None:
    await load(patient("a"), patient("b"))
    await commit(services, [deletion("Patient", "a")])
    stream = io.BytesIO()
    assert await export_stream(services.store, stream) == 1
    assert b'"id":"b"' in stream.getvalue()


async def test_compressed_files_are_equal_for_equal_content(
    load: Load, services: Services, tmp_path: Path
) -> None:
    await load(patient("a"))
    for folder in ("one", "two"):
        await export_files(services.store, tmp_path / folder, compress=True)
    one, two = ((tmp_path / f / "Patient.ndjson.gz").read_bytes() for f in ("one", "two"))
    assert one == two
    assert gzip.decompress(one).count(b"\n") == 1


async def test_since_leaves_out_what_did_not_change(load: Load, services: Services) -> None:
    await load(patient("old"))
    stored = await services.store.read("Patient", "old")
    assert stored is not None
    after = io.BytesIO()
    assert await export_stream(services.store, after, since=stored.updated + 1000) == 0
    assert await export_stream(services.store, io.BytesIO(), since=stored.updated) == 1


async def test_a_failed_export_leaves_no_file(load: Load, services: Services, tmp_path: Path) -> None:
    await load(patient("a"))

    def fail(_type: str, _count: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await export_files(services.store, tmp_path / "out", on_progress=fail)
    assert list((tmp_path / "out").iterdir()) == []


async def test_what_is_exported_can_be_loaded_unchanged(
    load: Load, services: Services, tmp_path: Path
) -> None:
    await load(*(patient(f"p{n}", meta={"profile": ["http://x"]}) for n in range(5)))
    await export_files(services.store, tmp_path / "out")
    assert (await load(tmp_path / "out")).unchanged == 5
