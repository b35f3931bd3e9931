"""`osler hl7 validate | explain | send`, and the files that they read."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from hl7_bridge.astm.frames import frames
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
        (oru().replace(b"GLU^Glucose\r", b"\r"), "OBR-4 is required"),
        (oru().replace(b"PID|1|", b"PID|1&2|"), "a value has parts that its data type SI has not"),
        (oru().replace(b"|2.5.1", b"|2.5.1||||||||||||||||||||x"), "MSH has"),
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


ASTM = b"H|\\^&|||XN-1000^00-01||||||||LIS2-A2|20260105080000\rP|1||P%d\rO|1|S-%d^^1||^^^WBC|R\rR|1|^^^WBC|6.1|10*3/uL||N||F\rL|1|N\r"


def test_a_file_may_hold_messages_of_astm_as_records_or_as_frames():
    both = [ASTM % (1, 1001), ASTM % (2, 1002)]
    framed = b"".join(b"\x05" + b"".join(frames(one)) + b"\x04" for one in both)
    for raw in (b"".join(both), b"\r\n".join(both).replace(b"\r", b"\r\n"), framed):
        assert [parse(one).get("SPM-2") for one in messages_in(raw)] == ["S-1001", "S-1002"]
    assert list(messages_in(b"".join(both))) == both


def test_empty_lines_between_messages_are_no_part_of_them():
    assert list(messages_in(oru(1) + b"\r\n\r\n" + oru(2) + b"\r\r")) == [oru(1), oru(2)]
    assert validate(messages_in(oru(1) + b"\r" + oru(2))[0]) == []


def test_a_profile_is_drafted_from_standard_input_and_for_astm(tmp_path):
    drafted = run("onboard", "-", "--name", "counter", given=ASTM % (1, 1001))
    assert drafted.exit_code == 0
    assert "framing: astm" in drafted.stdout
    (tmp_path / "counter.yaml").write_text(drafted.stdout)
    assert run("profiles", tmp_path / "counter.yaml").exit_code == 0
    assert run("onboard").exit_code == 2
    (tmp_path / "empty").write_bytes(b"")
    assert run("onboard", tmp_path / "empty").exit_code == 2


def test_a_draft_that_was_worked_on_gets_its_samples_filled_in_anew(tmp_path):
    file = tmp_path / "counter.yaml"
    file.write_text(run("onboard", "-", "--name", "counter", given=ASTM % (1, 1001)).stdout)
    changed = file.read_text().replace("- code: WBC\n", "- code: WBC\n  loinc: 6690-2\n")
    file.write_text(changed)
    assert run("profiles", file).exit_code == 1
    more = run("onboard", "-", "--continue", file, given=ASTM % (2, 1002))
    assert more.exit_code == 0
    assert more.stdout.count("loinc: 6690-2") == 3
    assert "unmapped-code" not in more.stdout
    file.write_text(more.stdout)
    assert "2 samples pass" in run("profiles", file).stdout
    file.write_text("name: 1")
    assert run("onboard", "--continue", file).exit_code == 2
    assert run("onboard", "--continue", tmp_path / "missing").exit_code == 2


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


def test_sending_with_a_certificate_that_is_not_there_ends_with_2(tmp_path):
    (tmp_path / "one.hl7").write_bytes(oru())
    found = run("send", tmp_path / "one.hl7", "127.0.0.1:1", "--certificate", tmp_path / "missing.pem")
    assert found.exit_code == 2
    assert "missing.pem: No such file" in found.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("127.0.0.1:1", "--framing", "bogus"), "--framing is one of"),
        (("127.0.0.1:99999",), "is no HOST:PORT"),
        (("127.0.0.1:1", "--framing", "astm"), "these are messages of HL7"),
        (("127.0.0.1:1", "--framing", "astm", "--tls"), "without TLS"),
    ],
)
def test_sending_what_cannot_be_sent_ends_with_2(tmp_path, arguments, told):
    (tmp_path / "one.hl7").write_bytes(oru())
    found = run("send", tmp_path / "one.hl7", *arguments)
    assert (found.exit_code, told in found.output) == (2, True)


async def test_records_of_astm_are_sent_as_a_device_sends_them(tmp_path):
    file, kept = tmp_path / "two.astm", Kept()
    file.write_bytes(ASTM % (1, 1001) + ASTM % (2, 1002))
    async with listening(kept, framing="astm") as listener:
        found = await asyncio.to_thread(run, "send", file, f"127.0.0.1:{listener.port}", "--framing", "astm")
    assert found.exit_code == 0
    assert "message 2: accepted" in found.stdout
    assert kept.messages == [ASTM % (1, 1001), ASTM % (2, 1002)]
    nobody = await asyncio.to_thread(run, "send", file, "127.0.0.1:1", "--framing", "astm")
    assert nobody.exit_code == 2


async def test_a_message_that_asks_for_no_answer_is_not_waited_for(tmp_path):
    class Silent(Kept):
        async def receive(self, link, raw):
            await super().receive(link, raw)
            return ()

    file, kept = tmp_path / "one.hl7", Silent()
    file.write_bytes(oru().replace(b"|2.5.1\r", b"|2.5.1|||NE|NE\r"))
    async with listening(kept) as listener:
        found = await asyncio.to_thread(run, "send", file, f"127.0.0.1:{listener.port}")
    assert (found.exit_code, found.stdout.strip()) == (0, "message 1: sent; it asks for no answer")
    assert len(kept.messages) == 1
