"""Which acknowledgements a message gets, and their bytes."""

from __future__ import annotations

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7_bridge.acks import STORED, Outcome, answers
from hl7_bridge.devices.profile import Answering
from hl7_bridge.message import parse

RECEIPT = "0123456789abcdef0123456789abcdef01234567"
TIME = 1_767_225_600_000_000
DISK_FULL = Outcome("error", "207", "The disk is full.")
TOO_LONG = Outcome("rejected", "207", "The message is too long.")


def message(
    accept: str = "", application: str = "", kind: str = "ORU^R01^ORU_R01", version: str = "2.5.1"
) -> bytes:
    return f"MSH|^~\\&|A|B|C|D|20260101||{kind}|77|P|{version}|||{accept}|{application}\rPID|1||5\rOBX|3|NM\r".encode()


def codes(raw: bytes, outcome: Outcome = STORED, stage: str = "received", **how: object) -> list[str]:
    made = answers(raw, outcome, Answering(**how), RECEIPT, TIME, stage)
    return [parse(answer).get("MSA-1") for answer in made]


def one(raw: bytes, outcome: Outcome = STORED, **how: object):
    (made,) = answers(raw, outcome, Answering(**how), RECEIPT, TIME)
    return parse(made)


# what is due: (MSH-15, MSH-16, outcome) -> codes
@pytest.mark.parametrize(
    ("accept", "application", "stored", "not_stored", "rejected"),
    [
        ("", "", ["AA"], ["AE"], ["AR"]),
        ("AL", "NE", ["CA"], ["CE"], ["CR"]),
        ("AL", "", ["CA"], ["CE"], ["CR"]),
        ("NE", "AL", ["AA"], ["AE"], ["AR"]),
        ("", "AL", ["AA"], ["AE"], ["AR"]),
        ("AL", "AL", ["CA", "AA"], ["CE"], ["CR"]),
        ("NE", "NE", [], [], []),
        ("ER", "NE", [], ["CE"], ["CR"]),
        ("SU", "NE", ["CA"], [], []),
        ("NE", "ER", [], ["AE"], ["AR"]),
        ("NE", "SU", ["AA"], [], []),
        ("0", "1", ["AA"], ["AE"], ["AR"]),
    ],
)
def test_the_header_says_which_acknowledgements_are_due(accept, application, stored, not_stored, rejected):
    raw = message(accept, application)
    assert codes(raw) == stored
    assert codes(raw, DISK_FULL) == not_stored
    assert codes(raw, TOO_LONG) == rejected
    assert codes(raw, stage="mapped") == []


def test_a_profile_overrules_the_header():
    assert codes(message("NE", "NE"), mode="original") == ["AA"]
    assert codes(message("AL", "AL"), mode="none") == []
    assert codes(message(), mode="enhanced") == ["CA"]


def test_a_sender_that_wants_to_hear_of_the_mapping_is_answered_then():
    assert codes(message(), when="mapped") == []
    assert codes(message(), stage="mapped", when="mapped") == ["AA"]
    assert codes(message(), DISK_FULL, stage="mapped", when="mapped") == ["AE"]
    assert codes(message("AL", "AL"), when="mapped") == ["CA"]
    assert codes(message("AL", "AL"), stage="mapped", when="mapped") == ["AA"]


def test_what_was_not_stored_is_told_at_once_whatever_the_sender_waits_for():
    assert codes(message(), DISK_FULL, when="mapped") == ["AE"]


def test_an_acknowledgement_is_never_acknowledged():
    raw = message("AL", "AL", "ACK^R01^ACK") + b"MSA|AA|1\r"
    assert codes(raw) == codes(raw, mode="original") == codes(raw, mode="enhanced") == []


def test_a_response_is_acknowledged_only_when_it_asks_for_its_acceptance():
    assert codes(message("", "", "ORL^O34^ORL_O34") + b"MSA|AA|1\r") == []
    assert codes(message("AL", "AL", "ORL^O34^ORL_O34") + b"MSA|AA|1\r") == ["CA"]


def test_sender_and_receiver_change_places_and_the_control_id_is_told_again():
    answer = one(message())
    assert [answer.get(f"MSH-{n}") for n in (3, 4, 5, 6)] == ["C", "D", "A", "B"]
    assert answer.get("MSA-2") == "77"
    assert answer.get("MSH-7") == "20260101000000+0000"


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("2.2", "ACK"),
        ("2.3", "ACK^R01"),
        ("2.3.1", "ACK^R01^ACK"),
        ("2.5.1", "ACK^R01^ACK"),
        ("nonsense", "ACK^R01^ACK"),
    ],
)
def test_the_type_of_the_answer_is_that_of_the_version(version, kind):
    answer = one(message(version=version))
    assert answer.header.raw(9) == kind
    assert answer.version == ("2.5.1" if version == "nonsense" else version)
    assert one(message(version=version), type="ACK").header.raw(9) == "ACK"


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"])
@pytest.mark.parametrize("outcome", [STORED, DISK_FULL, TOO_LONG])
def test_answers_are_valid_at_the_strict_level(version, outcome):
    (made,) = answers(message(version=version), outcome, Answering(), RECEIPT, TIME)
    assert parse_message(made.decode(), validation_level=VALIDATION_LEVEL.STRICT).validate()


def test_an_error_says_why_in_the_way_of_the_version():
    new, old = one(message(), DISK_FULL), one(message(version="2.3.1"), DISK_FULL)
    assert (new.get("ERR-3"), new.get("ERR-4"), new.get("ERR-8")) == ("207", "E", "The disk is full.")
    assert (old.get("ERR-1.4"), old.get("MSA-3")) == ("207", "The disk is full.")


def test_fields_that_a_device_wants_to_see_again_are_echoed():
    raw = message(application="2")
    answer = one(raw, echo=(("OBX-1", "MSA-4"), ("MSH-16", "MSH-16")), accepted_text="Message accepted")
    assert (answer.get("MSA-3"), answer.get("MSA-4"), answer.get("MSH-16")) == ("Message accepted", "3", "2")


def test_the_same_receipt_gives_the_same_bytes_and_another_does_not():
    first = answers(message("AL", "AL"), STORED, Answering(), RECEIPT, TIME)
    assert answers(message("AL", "AL"), STORED, Answering(), RECEIPT, TIME) == first
    assert answers(message("AL", "AL"), STORED, Answering(), "other", TIME) != first
    assert len({parse(answer).control_id for answer in first}) == 2


def test_the_answer_speaks_with_the_delimiters_and_the_characters_of_the_sender():
    raw = "MSH$%~\\&$Ä$B$C$D$2026$$ORU%R01$7$P$2.5.1$$$$$$8859/1\r".encode("iso-8859-1")
    (made,) = answers(raw, STORED, Answering(), RECEIPT, TIME)
    assert made.startswith("MSH$%~\\&$C$D$Ä$B$".encode("iso-8859-1"))
    assert b"$8859/1\rMSA$AA$7\r" in made


@pytest.mark.parametrize(
    "raw", [b"", b"garbage", b"MSH", b"MSH\x01\x02\x03\x04\x05\x01A\x01", b"MSHAAAAAAAA", b"MSH|"]
)
def test_a_header_that_is_garbage_gets_a_readable_answer(raw):
    assert one(raw).get("MSA-1") == "AA"
    assert one(raw, DISK_FULL).get("MSA-1") == "AE"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"MSH|^~\\&|", b"MSH", b"FHS|^~\\&|A\rMSH|^~\\&", b""]),
    st.lists(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"|", b"^", b"\r", b"\\", b"MSH|^~\\&|", b"AL"])),
        max_size=30,
    ),
    st.sampled_from([STORED, DISK_FULL, TOO_LONG]),
)
def test_no_control_byte_is_ever_in_an_answer(start, pieces, outcome):
    for answer in answers(start + b"".join(pieces), outcome, Answering(mode="original"), RECEIPT, TIME):
        assert not [byte for byte in answer if byte < 32 and byte != 13]
        assert b"MSA" in answer
        assert answer.endswith(b"\r")
        assert len(answer) < 8_000 * max(1, answer.count(b"MSA"))


def test_control_bytes_of_the_control_id_are_left_away():
    raw = message().replace(b"|77|", b"|\x1b7\x0b\x1c7\x00|")
    assert one(raw).get("MSA-2") == "77"


def test_a_batch_is_answered_by_a_batch():
    batch = (
        b"FHS|^~\\&|A|B|C|D|||||F1\rBHS|^~\\&|A|B|C|D|||||B1\r" + message() + message() + b"BTS|2\rFTS|1\r"
    )
    (made,) = answers(batch, STORED, Answering(), RECEIPT, TIME)
    answer = parse(made)
    assert [segment.name for segment in answer.segments] == [
        "FHS",
        "BHS",
        "MSH",
        "MSA",
        "MSH",
        "MSA",
        "BTS",
        "FTS",
    ]
    assert (answer.get("FHS-12"), answer.get("BHS-12"), answer.get("BTS-1")) == ("F1", "B1", "2")
    (odd,) = answers(batch.replace(b"BTS|2", b"BTS|3"), STORED, Answering(), RECEIPT, TIME)
    assert parse(odd).get("BTS-2") == "BTS-1 tells 3, there are 2 messages"
    assert answers(b"BHS|^~\\&|A\r" + message("NE", "NE"), STORED, Answering(), RECEIPT, TIME) == ()
