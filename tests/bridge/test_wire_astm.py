"""ASTM: frames and their dialogue, records and the HL7 messages that they are."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7_bridge.acks import STORED, Outcome, answers
from hl7_bridge.astm.frames import ATTEMPTS, E1381, checksum, frames
from hl7_bridge.astm.writing import as_astm
from hl7_bridge.devices.profile import Answering
from hl7_bridge.framing import Broken, Event, Frame, Noise, Reply
from hl7_bridge.link import Limits
from hl7_bridge.message import NotHl7, is_astm, parse
from tests.bridge.wire import Kept, device, listening, until

RESULT = (
    b"H|\\^&|||XN-1000^00-01||||||||LIS2-A2|20260105080000\r"
    b"P|1|PRACTICE7|LAB7||Muster^Max||19700101|M\r"
    b"O|1|S-1||^^^WBC\\^^^HGB|R||20260105075500||||N||||BLOOD||||||||||F\r"
    b"R|1|^^^WBC|6.5|10*3/uL|4.0 to 10.0|N||F||||20260105080000\r"
    b"R|2|^^^HGB|<3|g/L||L||P\r"
    b"C|1|I|look here|G\r"
    b"L|1|N\r"
)
HL7 = b"MSH|^~\\&|GX|||LIS|2026||ORU^R01|1|P|2.5\rPID|1||7\r"


def said(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Reply))


def payloads(events: list[Event]) -> list[bytes]:
    return [event.payload for event in events if isinstance(event, Frame)]


def session(payload: bytes) -> bytes:
    return b"\x05" + b"".join(frames(payload)) + b"\x04"


def test_a_frame_has_its_number_and_the_sum_of_its_bytes():
    first, second = frames(b"H|\\^&\rL|1|N\r")
    assert first == b"\x021H|\\^&\r\x03E5\r\n"
    assert second[1:2] == b"2"
    assert second[-4:-2] == checksum(second[1:-4])


def test_a_record_that_is_long_is_cut_and_put_together_again():
    long = RESULT.replace(b"look here", b"x" * 1000)
    made = frames(long)
    assert max(len(one) for one in made) == 247
    assert payloads(E1381().feed(session(long))) == [long]


def test_frames_are_numbered_to_seven_and_begin_again_at_nought():
    assert [one[1:2] for one in frames(b"H|\\^&\r" + b"C|1\r" * 9)][6:10] == [b"7", b"0", b"1", b"2"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1200), max_size=20), st.integers(1, 3))
def test_any_cutting_gives_the_same_messages_and_answers(cuts, messages):
    stream = b"\r\n" + session(RESULT) * messages + b"?\x05" + frames(RESULT)[0][:20]
    machine = E1381()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = [event for a, b in pairwise(edges) for event in machine.feed(stream[a:b])]
    assert payloads(events) == [RESULT] * messages
    assert said(events) == b"\x06" * (messages * 8 + 1)
    assert sum(event.size for event in events) + machine.held == len(stream)
    ended = machine.end()
    assert sum(event.size for event in [*events, *ended]) == len(stream)


def test_the_reply_to_the_last_frame_comes_after_the_message():
    machine = E1381()
    *most, last = frames(RESULT)
    machine.feed(b"\x05" + b"".join(most))
    assert machine.feed(last) == [Frame(RESULT, 0), Reply(b"\x06", len(last))]


def test_a_frame_that_comes_twice_is_taken_once():
    made = frames(RESULT)
    events = E1381().feed(b"\x05" + b"".join(one + one for one in made) + b"\x04")
    assert payloads(events) == [RESULT]
    assert said(events) == b"\x06" * (1 + 2 * len(made))


def test_a_frame_that_is_damaged_or_out_of_order_is_asked_for_again():
    made = frames(RESULT)
    machine = E1381()
    machine.feed(b"\x05")
    assert said(machine.feed(made[1])) == b"\x15"
    assert said(machine.feed(made[0].replace(b"XN", b"XM"))) == b"\x15"
    assert said(machine.feed(made[0])) == b"\x06"
    assert payloads(machine.feed(b"".join(made[1:]))) == [RESULT]


def test_a_frame_before_its_enquiry_is_refused():
    assert said(E1381().feed(frames(RESULT)[0])) == b"\x15"


def test_a_frame_whose_line_does_not_end_is_taken_after_a_silence():
    machine = E1381()
    assert said(machine.feed(b"\x05" + frames(RESULT)[0][:-2])) == b"\x06"
    assert machine.ends_with_silence
    assert said(machine.silence()) == b"\x06"


def test_what_ends_before_its_last_record_is_broken():
    made = frames(RESULT)
    for ending in (b"\x04", b"\x05"):
        (broken,) = (
            one for one in E1381().feed(b"\x05" + b"".join(made[:3]) + ending) if isinstance(one, Broken)
        )
        assert broken.payload == b"\r".join(RESULT.split(b"\r")[:3]) + b"\r"


def test_hl7_in_frames_is_a_message():
    assert payloads(E1381().feed(session(HL7))) == [HL7]


def test_what_is_too_long_is_broken_and_refused():
    events = E1381(most=100).feed(session(RESULT))
    assert next(event.reason for event in events if isinstance(event, Broken)) == "too-long"
    assert payloads(events) == []
    assert b"\x15" in said(events)


def test_we_say_a_message_frame_by_frame():
    ours, theirs = E1381(), E1381()
    line, heard = said(ours.say(RESULT)), []
    while line:
        events = theirs.feed(line)
        heard += payloads(events)
        line = said(ours.feed(said(events)))
    assert heard == [RESULT]
    assert not ours.saying
    assert not ours.begun


def test_a_message_that_is_never_taken_is_given_up():
    ours = E1381()
    assert said(ours.say(RESULT)) == b"\x05"
    for _ in range(ATTEMPTS - 1):
        assert said(ours.feed(b"\x15")) == b"\x05"
    assert said(ours.feed(b"\x15")) == b"\x04"
    assert ours.refused == [RESULT]


ORDER = (
    b"MSH|^~\\&|OSLER|H|XN|LAB|20260105080000+0000||OML^O33^OML_O33|9|P|2.5.1\r"
    b"PID|1||P7^^^H^MR||Muster^Max||19700101|M\r"
    b"SPM|1|S-9||BLD\rORC|NW|O1\rTQ1|1||||||||R\rOBR|1|O1||WBC^Leukocytes\rORC|NW|O2\rOBR|2|O2||A&B|C^x\r"
).replace(b"A&B|C", b"A\\F\\B")


def test_orders_are_records():
    assert as_astm(ORDER) == (
        b"H|\\^&|||OSLER|||||XN||P|LIS2-A2|20260105080000\r"
        b"P|1|P7|||Muster^Max||19700101|M\r"
        b"O|1|S-9||^^^WBC\\^^^A&F&B|R||||||N||||||||||||||O\r"
        b"L|1|N\r"
    )


def test_that_there_is_no_work_is_told():
    for no_work in (ORDER.replace(b"ORC|NW", b"ORC|DC"), b"MSH|^~\\&|A\rMSA|AA|1\rQAK|1|NF\r"):
        assert as_astm(no_work).split(b"\r")[1:] == [b"L|1|I", b""]


def test_what_means_nothing_in_astm_is_not_said():
    accepted = b"MSH|^~\\&|A|B|C|D|2026||RSP^K11|1|P|2.5.1\rMSA|AA|1\rQAK|1|OK\r"
    assert as_astm(accepted) is None
    assert E1381().say(accepted) == []
    assert as_astm(RESULT) == RESULT


def test_orders_that_are_read_back_are_the_orders():
    message = parse(as_astm(ORDER))
    assert (message.get("SPM-2"), message.get("OBR-4.1"), message.get("PID-3.1")) == ("S-9", "WBC", "P7")


def test_when_both_want_to_speak_the_device_goes_first():
    ours = E1381()
    assert said(ours.say(ORDER)) == b"\x05"
    assert said(ours.feed(b"\x05")) == b"\x06"
    events = ours.feed(b"".join(frames(RESULT)) + b"\x04")
    assert payloads(events) == [RESULT]
    assert said(events).endswith(b"\x05")


def test_stray_bytes_are_noise():
    assert E1381().feed(b"abc\x06\x15") == [Noise(b"abc"), Noise(b"\x06"), Noise(b"\x15")]


# records


def test_results_are_a_message_of_hl7():
    message = parse(RESULT)
    assert (message.raw, message.type, message.trigger) == (RESULT, "OUL", "R22")
    assert [one.name for one in message.segments] == ["MSH", "PID", "SPM", "OBR", "OBX", "OBX", "NTE"]
    assert (message.get("MSH-3"), message.get("MSH-7")) == ("XN-1000", "20260105080000")
    assert (message.get("PID-3.1"), message.get("PID-3[2].1"), message.get("PID-5.2")) == (
        "PRACTICE7",
        "LAB7",
        "Max",
    )
    assert (message.get("PID-7"), message.get("PID-8")) == ("19700101", "M")
    assert (message.get("SPM-2.1"), message.get("SPM-4.1"), message.get("SPM-11"), message.get("SPM-17")) == (
        "S-1",
        "BLOOD",
        "P",
        "20260105075500",
    )
    assert (message.get("OBR-4.1"), message.get("OBR-25")) == ("WBC", "F")
    assert list(message.each("OBX-3.1")) == ["WBC", "HGB"]
    assert list(message.each("OBX-2")) == ["NM", "ST"]
    assert list(message.each("OBX-5")) == ["6.5", "<3"]
    assert list(message.each("OBX-11")) == ["F", "P"]
    assert (message.get("OBX-6"), message.get("OBX-7"), message.get("OBX-8")) == (
        "10*3/uL",
        "4.0 to 10.0",
        "N",
    )
    assert (message.get("OBX-19"), message.get("NTE-3")) == ("20260105080000", "look here")


def test_a_header_says_its_own_delimiters():
    raw = b"H|@^\\|||GX^1.0\rO|1|S,1;2||^^^FLU@^^^RSV\rR|1|^FLU^^A^Flu A^1|NEG ATIVE^35,2|\rL|1|N\r"
    message = parse(raw)
    assert (message.get("MSH-3"), message.get("SPM-2")) == ("GX", "S,1;2")
    assert (message.get("OBX-3.1"), message.get("OBX-3.2"), message.get("OBX-3.9")) == (
        "A",
        "FLU",
        "^FLU^^A^Flu A^1",
    )
    assert (message.get("OBX-5.1"), message.get("OBX-5.2")) == ("NEG ATIVE", "35,2")


def test_quality_control_is_told():
    assert parse(RESULT.replace(b"|N||||BLOOD", b"|Q||||BLOOD")).get("SPM-11") == "Q"


def test_the_same_code_twice_gets_two_numbers():
    message = parse(RESULT.replace(b"^^^HGB|<3", b"^^^WBC|<3"))
    assert list(message.each("OBX-4")) == ["", "2"]


def test_a_question_for_orders_is_a_query():
    message = parse(b"H|\\^&|||XN\rQ|1|^S-9||ALL\rL|1|N\r")
    assert (message.type, message.trigger) == ("QBP", "Q11")
    assert (message.get("QPD-1"), message.get("QPD-3")) == ("WOS", "S-9")


def test_records_that_hl7_does_not_know_stay():
    message = parse(RESULT.replace(b"C|1", b"M|1|x^y\\z|t\rC|1"))
    assert (message.get("ZAM-1"), message.get("ZAM-3.2"), message.get("ZAM-3[2]")) == ("M", "y", "z")


def test_a_message_that_the_sender_broke_off_says_so():
    assert parse(RESULT.replace(b"L|1|N", b"L|1|T")).warnings == ("the sender ended the message with 'T'",)


def test_delimiters_of_hl7_in_a_value_stay_what_they_are():
    message = parse(RESULT.replace(b"look here", b"a~b&S&c#d"))
    assert message.get("NTE-3") == "a~b^c#d"


@pytest.mark.parametrize("raw", [RESULT, b"\r\nH|\\^&|||x\r", b"\x02H|@^\\\r"])
def test_records_are_told_from_hl7(raw):
    assert is_astm(raw)
    assert not is_astm(HL7)
    assert not is_astm(b"Hello")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=10), st.sampled_from([b"|", b"\r", b"R|1", b"O|", b"P|1|", b"^", b"\\", b"&"])
        )
    )
)
def test_no_record_is_too_odd(pieces):
    raw = b"H|\\^&|" + b"".join(pieces)
    try:
        message = parse(raw)
    except NotHl7:
        return
    assert message.raw == raw
    assert message.segments[0].name == "MSH"


# on the wire


def test_records_are_not_acknowledged_by_messages():
    assert (
        answers(RESULT, STORED, Answering(), "r", 0)
        == answers(parse(RESULT), STORED, Answering(), "r", 0)
        == ()
    )
    assert answers(RESULT, Outcome("error"), Answering(), "r", 0) == (b"\x15",)


async def test_a_device_of_astm_is_listened_to():
    kept = Kept(gate=asyncio.Event())
    async with listening(kept, framing="astm") as listener, device(listener) as analyser:
        await analyser.write(b"\x05")
        assert await analyser.reader.readexactly(1) == b"\x06"
        for one in frames(RESULT)[:-1]:
            await analyser.write(one)
            assert await analyser.reader.readexactly(1) == b"\x06"
        await analyser.write(frames(RESULT)[-1])
        await until(lambda: listener.figures.received == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(analyser.reader.readexactly(1), 0.05)
        kept.gate.set()
        assert await analyser.reader.readexactly(1) == b"\x06"
        await analyser.write(b"\x04")
    assert kept.messages == [RESULT]


async def test_what_cannot_be_kept_is_not_acknowledged():
    kept = Kept(refuses=b"S-1")
    async with listening(kept, framing="astm") as listener, device(listener) as analyser:
        await analyser.write(session(RESULT))
        heard = await asyncio.wait_for(analyser.reader.read(), 20)
    assert heard == b"\x06" * len(frames(RESULT))
    assert kept.messages == []


async def test_a_device_that_falls_silent_in_its_session_is_disconnected():
    kept = Kept()
    async with (
        listening(kept, Limits(frame_seconds=0.1), framing="astm") as listener,
        device(listener) as analyser,
    ):
        await analyser.write(b"\x05" + b"".join(frames(RESULT)[:2]))
        await analyser.reader.readexactly(3)
        assert await analyser.closed()
    assert kept.broken == [(b"\r".join(RESULT.split(b"\r")[:2]) + b"\r", "timed-out")]


async def test_we_send_to_a_device_of_astm_in_its_own_way():
    kept = Kept()
    async with listening(kept, framing="astm") as listener, device(listener) as analyser:
        await until(lambda: listener.links)
        await listener.links[0].send(RESULT)
        dialogue, heard = E1381(), []
        while not heard:
            events = dialogue.feed(await asyncio.wait_for(analyser.reader.read(1000), 20))
            heard += payloads(events)
            await analyser.write(said(events))
    assert heard == [RESULT]
