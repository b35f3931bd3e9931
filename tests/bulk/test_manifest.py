"""The manifest of an export says what a load must find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_r4.errors import InvalidRequest
from fhir_server.bulk.export import export_files
from fhir_server.bulk.files import find_sources
from fhir_server.bulk.manifest import NAME
from fhir_server.context import Services
from tests.bulk.conftest import Load, patient


async def exported(load: Load, services: Services, folder: Path) -> Path:
    await load(*(patient(f"p{n}") for n in range(3)))
    await export_files(services.store, folder, ["Patient"], at=1_700_000_000_000_000)
    return folder


async def test_export_writes_a_manifest_that_a_load_obeys(
    load: Load, services: Services, tmp_path: Path
) -> None:
    folder = await exported(load, services, tmp_path / "out")
    manifest = json.loads((folder / NAME).read_text())
    assert manifest["transactionTime"] == "2023-11-14T22:13:20.000Z"
    assert manifest["output"] == [{"type": "Patient", "url": "Patient.ndjson", "count": 3}]
    tally = await load(folder)
    assert (tally.unchanged, tally.refused) == (3, 0)
    named = await load(folder / NAME)
    assert (named.unchanged, named.refused) == (3, 0)


async def test_a_file_that_is_shorter_than_promised_is_told(
    load: Load, services: Services, tmp_path: Path
) -> None:
    folder = await exported(load, services, tmp_path / "out")
    lines = (folder / "Patient.ndjson").read_bytes().splitlines(keepends=True)
    (folder / "Patient.ndjson").write_bytes(b"".join(lines[:2]))
    tally = await load(folder)
    assert (tally.unchanged, tally.refused) == (2, 1)
    assert "promises 3" in tally.refusals[0].issues[0].diagnostics


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ([], "object was expected"),
        ({}, "transactionTime"),
        ({"transactionTime": "2024-01-01T00:00:00Z", "output": [{"type": "Patient"}]}, "url"),
        (
            {"transactionTime": "2024-01-01T00:00:00Z", "output": [{"type": "x", "url": "x.ndjson"}]},
            "output[0].type",
        ),
        (
            {"transactionTime": "2024-01-01T00:00:00Z", "output": [{"type": "Patient", "url": "no.ndjson"}]},
            "not there",
        ),
        (
            {
                "transactionTime": "2024-01-01T00:00:00Z",
                "output": [{"type": "Patient", "url": "/etc/x.ndjson"}],
            },
            "url",
        ),
        (
            {
                "transactionTime": "2024-01-01T00:00:00Z",
                "output": [{"type": "Patient", "url": "../x.ndjson"}],
            },
            "outside",
        ),
        (
            {
                "transactionTime": "2024-01-01T00:00:00Z",
                "output": [{"type": "Patient", "url": "P.ndjson", "count": -1}],
            },
            "count",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_place(tmp_path: Path, manifest: Any, says: str) -> None:
    (tmp_path / NAME).write_text(json.dumps(manifest))
    with pytest.raises(InvalidRequest) as refused:
        find_sources([str(tmp_path)])
    assert says in str(refused.value)
