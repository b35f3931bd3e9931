"""Where messages begin and end on a connection, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7_bridge.framing import Broken, Event, Frame, Framing, Noise, framing, wrap

MESSAGE = b"MSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.5.1\rPID|1||7\r"
OTHER = b"MSH|^~\\&|A|B|C|D|20260101||ORU^R01|2|P|2.5.1\rPID|1||8\r"
NAMES = ("mllp", "length", "none")


def joined(events: list[Event]) -> list[Event]:
    """The events with noise that stands together in one."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, Noise) and isinstance(last, Noise):
            found[-1] = Noise(last.data + event.data)
        else:
            found.append(Noise(event.data) if isinstance(event, Noise) else event)
    return found


def events(machine: Framing, *chunks: bytes, end: bool = True) -> list[Event]:
    found = [event for chunk in chunks for event in machine.feed(chunk)]
    return joined(found + (machine.end() if end else []))


def frames(name: str, *chunks: bytes) -> list[bytes]:
    return [event.payload for event in events(framing(name), *chunks) if isinstance(event, Frame)]


PIECES = st.sampled_from(
    [
        b"\x0b",
        b"\x1c",
        b"\x1c\r",
        b"\x1c\n",
        b"\r",
        b"\n",
        b"\x02",
        b"MSH",
        b"MS",
        b"M",
        b"FHS",
        b"BHS",
        b"|^~\\&|x\r",
        b"abc",
        b"\x00\x00\x00\x05",
        b"\x00\x00",
        MESSAGE,
        wrap("mllp", MESSAGE),
        wrap("length", MESSAGE),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(NAMES), st.lists(PIECES, max_size=12).map(b"".join), st.data(), st.sampled_from([12, 500])
)
def test_any_cutting_gives_the_same_events_and_every_byte_is_in_one(name, stream, data, most):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = events(framing(name, most), stream)
    assert events(framing(name, most), *chunks) == whole
    assert events(framing(name, most), *(stream[n : n + 1] for n in range(len(stream)))) == whole
    assert sum(event.size for event in whole) == len(stream)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), st.lists(PIECES, max_size=8))
def test_what_is_held_and_what_came_out_is_what_was_fed(name, chunks):
    machine = framing(name)
    fed = out = 0
    for chunk in chunks:
        fed += len(chunk)
        out += sum(event.size for event in machine.feed(chunk))
        assert out + machine.held == fed
        out += sum(event.size for event in machine.silence())
        assert out + machine.held == fed


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40).map(lambda tail: MESSAGE + tail.replace(b"\x1c", b"").replace(b"\x0b", b"")),
        max_size=5,
    )
)
def test_what_is_wrapped_comes_out_again(payloads):
    for name in ("mllp", "length"):
        assert frames(name, b"".join(wrap(name, payload) for payload in payloads)) == payloads


def test_several_frames_in_one_chunk_and_one_frame_in_many():
    both = wrap("mllp", MESSAGE) + wrap("mllp", OTHER)
    assert frames("mllp", both) == [MESSAGE, OTHER]
    assert frames("mllp", *(both[n : n + 7] for n in range(0, len(both), 7))) == [MESSAGE, OTHER]


def test_a_frame_without_its_last_carriage_return_ends_at_the_next_one():
    assert frames("mllp", b"\x0b" + MESSAGE + b"\x1c" + wrap("mllp", OTHER)) == [MESSAGE, OTHER]


def test_a_frame_without_its_last_carriage_return_ends_with_silence():
    machine = framing("mllp")
    assert machine.feed(b"\x0b" + MESSAGE + b"\x1c") == []
    assert machine.ends_with_silence
    assert machine.silence() == [Frame(MESSAGE, len(MESSAGE) + 2)]
    assert machine.feed(b"\r") == [Noise(b"\r")]


def test_silence_within_a_message_ends_nothing():
    machine = framing("mllp")
    machine.feed(b"\x0b" + MESSAGE)
    assert machine.silence() == []
    assert machine.begun


def test_file_separators_in_the_place_of_carriage_returns_are_content():
    payload = MESSAGE.replace(b"\r", b"\x1c")
    assert frames("mllp", b"\x0b" + payload + b"\r") == [payload[:-1]]


def test_a_start_byte_within_a_message_begins_another_one():
    found = events(framing("mllp"), b"\x0b" + MESSAGE[:30] + wrap("mllp", OTHER))
    assert found == [Broken(MESSAGE[:30], 31, "restarted"), Frame(OTHER, len(OTHER) + 3)]


def test_a_start_byte_that_no_header_follows_is_content():
    payload = MESSAGE + b"NTE|1||a\x0bb\r"
    assert frames("mllp", wrap("mllp", payload)) == [payload]


def test_a_connection_that_ends_within_a_message_leaves_it_broken():
    assert events(framing("mllp"), b"\x0b" + MESSAGE[:30]) == [Broken(MESSAGE[:30], 31, "cut-off")]


def test_a_message_without_a_start_byte_is_kept_and_is_no_message():
    assert events(framing("mllp"), b"\r" + MESSAGE + b"\x1c\r" + wrap("mllp", OTHER)) == [
        Noise(b"\r"),
        Broken(MESSAGE, len(MESSAGE) + 2, "not-started"),
        Frame(OTHER, len(OTHER) + 3),
    ]


def test_heartbeats_are_told_from_other_noise():
    machine = framing("mllp", heartbeat=b"\x02")
    assert machine.feed(b"\x02\x02" + wrap("mllp", MESSAGE) + b"\x02") == [
        Noise(b"\x02\x02", heartbeat=True),
        Frame(MESSAGE, len(MESSAGE) + 3),
        Noise(b"\x02", heartbeat=True),
    ]
    assert machine.feed(b"?") == [Noise(b"?")]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_too_long_is_cut_and_what_follows_it_is_noise(name):
    most = len(MESSAGE)
    long = wrap(name, MESSAGE + b"x")
    assert frames(name, wrap(name, MESSAGE)) == [MESSAGE]
    found = events(framing(name, most), long, b"more")
    assert [event.reason for event in found if isinstance(event, Broken)] == ["too-long"]
    assert not any(isinstance(event, Frame) for event in found)
    assert framing(name, most).feed(long + b"m" * most)


def test_after_what_is_too_long_the_next_message_is_read():
    found = events(framing("mllp", 60), wrap("mllp", MESSAGE + b"x" * 300) + wrap("mllp", OTHER))
    assert isinstance(found[0], Broken)
    assert found[-1] == Frame(OTHER, len(OTHER) + 3)


def test_a_flood_of_start_bytes_holds_nothing():
    machine = framing("mllp")
    for _ in range(100):
        machine.feed(b"\x0b" * 65536)
    assert machine.held == 1


def test_unframed_messages_end_where_the_next_one_begins_or_with_silence():
    machine = framing("none")
    assert machine.feed(MESSAGE + OTHER[:10]) == [Frame(MESSAGE, len(MESSAGE))]
    assert not machine.ends_with_silence
    assert machine.silence() == []
    assert machine.feed(OTHER[10:]) == []
    assert machine.silence() == [Frame(OTHER, len(OTHER))]


def test_marks_of_mllp_around_what_is_said_to_be_unframed_are_left_away():
    both = wrap("mllp", MESSAGE) + wrap("mllp", OTHER)
    assert frames("none", both) == [MESSAGE, OTHER]


def test_an_unframed_batch_stays_together():
    batch = b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + MESSAGE + OTHER + b"BTS|2\rFTS|1\r"
    assert frames("none", batch) == [batch]


def test_an_unframed_message_that_is_cut_within_a_line_is_broken():
    assert events(framing("none"), MESSAGE[:40]) == [Broken(MESSAGE[:40], 40, "cut-off")]


def test_there_is_no_other_framing():
    with pytest.raises(ValueError, match="no framing"):
        framing("morse")
