"""The commands do what they say, end with the right code and tell the reason on standard error."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fhir_server import maintenance
from fhir_server.app import compose
from fhir_server.bulk.conformance import publish_conformance
from fhir_server.bulk.files import Item
from fhir_server.bulk.imports import Loader
from fhir_server.cli import app
from fhir_server.settings import Settings

PATIENT = '{"resourceType":"Patient","id":"a","gender":"female"}'


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/data/osler.db"


@pytest.fixture
def osler(store: str, monkeypatch: pytest.MonkeyPatch):
    """Runs a command on the store of the test."""
    monkeypatch.setenv("OSLER_STORE", store)

    def run(*arguments: object, stdin: str = "") -> Result:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def test_version_names_osler_and_fhir(osler) -> None:
    result = osler("version")
    assert result.exit_code == 0
    assert result.stdout.startswith("osler ")
    assert "FHIR 4.0.1" in result.stdout
    assert re.search(r"time zones \d{4}[a-z]", result.stdout)


def test_load_tells_what_was_done(osler, tmp_path: Path) -> None:
    file = tmp_path / "p.ndjson"
    file.write_text(f"{PATIENT}\n")
    first, second = osler("load", file), osler("load", file)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "1 created, 0 updated, 0 unchanged, 0 refused" in first.stdout
    assert "0 created, 0 updated, 1 unchanged, 0 refused" in second.stdout


def test_load_ends_with_1_and_the_reason_when_something_was_refused(osler, tmp_path: Path) -> None:
    file = tmp_path / "p.ndjson"
    file.write_text(f'{PATIENT}\n{{"resourceType":"Patient","id":"b","gender":"no such"}}\n')
    report = tmp_path / "refused.ndjson"
    result = osler("load", file, "--report", report)
    assert result.exit_code == 1
    assert "1 created" in result.stdout
    assert f"refused: {file}, line 2, Patient/b" in result.stdout
    assert "Patient.gender" in result.stdout
    (line,) = report.read_text().splitlines()
    assert json.loads(line)["place"] == "line 2"
    assert json.loads(line)["issue"][0]["expression"] == ["Patient.gender"]


def test_load_reads_standard_input(osler) -> None:
    result = osler("load", "-", stdin=f"{PATIENT}\n")
    assert result.exit_code == 0
    assert "1 created" in result.stdout


def test_a_strict_load_stops(osler) -> None:
    result = osler("load", "-", "--strict", stdin=f"nonsense\n{PATIENT}\n")
    assert result.exit_code == 1
    assert "0 created, 0 updated, 0 unchanged, 1 refused" in result.stdout


def test_load_tells_what_it_passed_over(osler, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text(PATIENT)
    (folder / "notes.txt").write_text("x")
    result = osler("load", folder)
    assert result.exit_code == 0
    assert "notes.txt" in result.stderr


def test_what_cannot_begin_ends_with_2_and_the_reason(osler, tmp_path: Path) -> None:
    for arguments, reason in (
        (("load", tmp_path / "absent.json"), "no file"),
        (("export", tmp_path / "out", "--since", "yesterday"), "yesterday"),
        (("demo", "--anchor", "soon"), "soon"),
        (("check", "--store", "memory:"), "memory:"),
        (("check", "--store", "redis://x"), "redis://x"),
        (("check",), "no store"),
        (("restore", tmp_path / "absent.db"), "absent.db"),
        (("serve", "--port", "99999"), "port"),
        (("serve", "--auth", "on"), "auth"),
        (("serve", "--host", "0.0.0.0"), "Access control is off"),
        (("serve", "--store", "memory:", "--workers", "2"), "memory"),
    ):
        result = osler(*arguments)
        assert result.exit_code == 2, arguments
        assert reason in result.stderr, arguments
        assert "Traceback" not in result.output


def test_export_and_load_are_a_round_trip(osler, tmp_path: Path) -> None:
    osler("load", "-", stdin=f"{PATIENT}\n")
    result = osler("export", tmp_path / "out", "--gz", "--type", "Patient")
    assert result.exit_code == 0
    text = gzip.decompress((tmp_path / "out" / "Patient.ndjson.gz").read_bytes())
    assert json.loads(text)["id"] == "a"
    assert "1 unchanged" in osler("load", tmp_path / "out").stdout
    assert osler("export", "-", "--type", "Patient").stdout.encode() == text
    assert osler("export", "-", "--since", "2100-01-01").stdout == ""


def test_demo_is_loaded_once(osler) -> None:
    first = osler("demo", "--once", "--quiet")
    assert first.exit_code == 0
    assert " 0 refused" in first.stdout
    second = osler("demo", "--once", "--quiet")
    assert second.exit_code == 0
    assert "not loaded" in second.stdout
    checked = osler("check", "--quiet")
    assert checked.exit_code == 0
    assert "all agree" in checked.stdout


async def test_what_the_server_publishes_itself_is_no_reason_to_leave_the_demo_out(store: str) -> None:
    services = compose(Settings(store=store))
    await services.store.open()
    try:
        assert await publish_conformance(services) > 0
        assert not await maintenance.has_records(services)
        item = Item("given", "", {"resourceType": "Patient", "id": "a"})
        await Loader(services, maintenance.bundle_door(services)).load([item])
        assert await maintenance.has_records(services)
    finally:
        await services.store.close()


def test_a_backup_can_be_restored(osler, store: str, tmp_path: Path) -> None:
    file = Path(store.removeprefix("sqlite:///"))
    osler("load", "-", stdin=f"{PATIENT}\n")
    assert "verified" in osler("backup", tmp_path / "copy.db").stdout
    osler("load", "-", stdin='{"resourceType":"Patient","id":"later"}\n')
    refused = osler("restore", tmp_path / "copy.db")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    restored = osler("restore", tmp_path / "copy.db", "--force")
    assert restored.exit_code == 0
    assert file.with_name("osler.db.replaced-1").exists()
    assert '"id":"later"' not in osler("export", "-").stdout
    assert '"id":"a"' in osler("export", "-").stdout
    assert osler("check").exit_code == 0


def test_a_damaged_backup_is_not_restored_and_the_store_stays(osler, tmp_path: Path) -> None:
    osler("load", "-", stdin=f"{PATIENT}\n")
    (tmp_path / "copy.db").write_bytes(b"SQLite format 3\0" + b"\0" * 5000)
    assert osler("restore", tmp_path / "copy.db", "--force").exit_code == 2
    assert '"id":"a"' in osler("export", "-").stdout


def test_check_finds_a_lost_index_entry_and_reindex_mends_it(osler, store: str) -> None:
    import sqlite3

    osler(
        "load", "-", stdin='{"resourceType":"Patient","id":"a","gender":"female","birthDate":"1980-01-01"}\n'
    )
    connection = sqlite3.connect(store.removeprefix("sqlite:///"))
    connection.execute("DELETE FROM ix_date")
    connection.commit()
    connection.close()
    found = osler("check")
    assert found.exit_code == 1
    assert "Patient/a" in found.stdout
    assert osler("reindex").exit_code == 0
    assert osler("check").exit_code == 0


def test_check_tells_of_a_lost_claim_and_reindex_makes_it_anew(osler, store: str) -> None:
    import sqlite3

    bed = '{"resourceType":"Location","id":"b","physicalType":{"coding":[{"code":"bd"}]}}'
    stay = (
        '{"resourceType":"Encounter","id":"e","status":"in-progress","class":{"code":"IMP"},'
        '"subject":{"reference":"Patient/p"},"location":[{"location":{"reference":"Location/b"},"status":"active"}]}'
    )
    osler("load", "-", stdin=f"{bed}\n{stay}\n")
    connection = sqlite3.connect(store.removeprefix("sqlite:///"))
    connection.execute("DELETE FROM claim")
    connection.commit()
    connection.close()
    found = osler("check")
    assert found.exit_code == 1
    assert "osler reindex" in found.stdout
    assert "claims of 1 resources changed" in osler("reindex").stdout
    assert osler("check").exit_code == 0
