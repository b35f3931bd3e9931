"""`osler hl7 validate | explain | send`, and the files that they read."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from hl7_bridge.batch import messages_in
from hl7_bridge.explaining import explain, validate
from hl7_bridge.framing import wrap
from hl7_bridge.message import parse
from tests.bridge.wire import Kept, listening, oru

VALID = oru().replace(b"Muster^Max", b"Muster^Max&x")


def run(*arguments: object, given: bytes | None = None):
    return CliRunner().invoke(app, ["hl7", *map(str, arguments)], input=given)


def test_a_valid_message_has_no_problems(tmp_path):
    (tmp_path / "one.hl7").write_bytes(oru())
    found = run("validate", tmp_path / "one.hl7")
    assert (found.exit_code, found.stdout.strip()[-5:]) == (0, "valid")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (oru().replace(b"|2.5.1", b"|9.9"), "no version"),
        (oru().replace(b"PID|1", b"PXX|1"), "PXX"),
        (b"hello", "does not begin with MSH"),
        (oru().replace(b"GLU^Glucose\r", b"\r"), "OBR_4"),
    ],
)
def test_what_breaks_the_rules_is_told(raw, problem):
    assert problem in "\n".join(validate(raw))


def test_validation_of_an_invalid_file_ends_with_1(tmp_path):
    (tmp_path / "two.hl7").write_bytes(oru() + oru(2).replace(b"|2.5.1", b"|9.9"))
    found = run("validate", tmp_path / "two.hl7")
    assert found.exit_code == 1
    assert "message 1: valid" in found.stdout
    assert "message 2: 1 problems" in found.stdout


def test_a_value_is_explained_by_its_name_and_type():
    rows = {row.path: row for row in explain(parse(oru(1, "OBX|2|ST|X||a~b\rZZZ|z\r")))}
    assert rows["PID-3.1"].name == "patient identifier list: id number"
    assert (rows["PID-3.1"].type, rows["PID-3.1"].text) == ("ST", "P1")
    assert rows["MSH-9.2"].table == "HL70003"
    assert rows["OBX(2)-5[2]"].text == "b"
    assert (rows["ZZZ-1"].name, rows["ZZZ-1"].text) == ("", "z")


def test_a_message_is_explained_on_the_screen():
    found = run("explain", "-", given=wrap("mllp", oru()))
    assert found.exit_code == 0
    assert "ORU^R01 2.5.1" in found.stdout
    assert "observation value" in found.stdout


def test_a_file_may_have_marks_batches_or_nothing_around_its_messages():
    both = [oru(1), oru(2)]
    batch = b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + oru(1) + oru(2) + b"BTS|2\rFTS|1\r"
    for raw in (oru(1) + oru(2), wrap("mllp", oru(1)) + wrap("mllp", oru(2)), batch):
        assert list(messages_in(raw)) == both
    assert list(messages_in(oru(1).rstrip(b"\r").replace(b"\r", b"\n"))) == [
        oru(1).rstrip(b"\r").replace(b"\r", b"\n")
    ]


def test_a_file_that_cannot_be_read_or_is_empty_ends_with_2(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert run("explain", tmp_path / "empty").exit_code == 2
    assert run("explain", tmp_path / "missing").exit_code == 2


async def test_messages_of_a_file_are_sent_one_by_one(tmp_path):
    (tmp_path / "two.hl7").write_bytes(oru(1) + oru(2))
    kept = Kept()
    async with listening(kept) as listener:
        found = await asyncio.to_thread(run, "send", tmp_path / "two.hl7", f"127.0.0.1:{listener.port}")
    assert found.exit_code == 0
    assert found.stdout.splitlines() == ["message 1: accepted", "message 2: accepted"]
    assert kept.messages == [oru(1), oru(2)]


def test_sending_to_nobody_ends_with_2(tmp_path):
    (tmp_path / "one.hl7").write_bytes(oru())
    assert run("send", tmp_path / "one.hl7", "127.0.0.1:1").exit_code == 2
    assert run("send", tmp_path / "one.hl7", "nowhere").exit_code == 2
