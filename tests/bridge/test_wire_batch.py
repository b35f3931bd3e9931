"""Files and batches of messages."""

from __future__ import annotations

import pytest

from hl7_bridge.batch import is_batch, split
from hl7_bridge.message import NotHl7

ONE = b"MSH|^~\\&|A|B|||||ADT^A01|1|P|2.4\rPID|1||1\r"
TWO = "MSH|^~\\&|A|B|||||ADT^A01|2|P|2.4||||||8859/1\nPID|1||2||Müller\n".encode("iso-8859-1")


def test_the_messages_of_a_batch_keep_their_bytes():
    found = split(b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + TWO + b"BTS|2\rFTS|1\r")
    assert found.messages == (ONE, TWO)
    assert [header.name for header in found.headers] == ["FHS", "BHS"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("batch", "warning"),
    [
        (b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + b"BTS|2\rFTS|1\r", "BTS-1 tells 2, there are 1 messages"),
        (b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + b"BTS|1\rFTS|3\r", "FTS-1 tells 3, there are 1 batches"),
        (b"BHS|^~\\&|A\r" + ONE, "there are 1 BHS and 0 BTS"),
        (b"BHS|^~\\&|A\rPID|1\r" + ONE + b"BTS|x\r", "PID stands before the first message"),
    ],
)
def test_what_does_not_add_up_is_told_and_stops_nothing(batch, warning):
    found = split(batch)
    assert found.messages == (ONE,)
    assert warning in found.warnings


def test_each_batch_of_a_file_is_counted_on_its_own():
    file = b"FHS|^~\\&\rBHS|^~\\&\r" + ONE + b"BTS|1\rBHS|^~\\&\r" + ONE + TWO + b"BTS|2\rFTS|2\r"
    assert split(file).warnings == ()


def test_a_message_is_no_batch():
    assert not is_batch(ONE)
    with pytest.raises(NotHl7):
        split(ONE)
