"""Sending, to destinations that answer well, wrongly, late or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hl7_bridge.message import NotHl7, parse
from hl7_bridge.sender import Sender, Target
from tests.bridge.wire import Device, oru, until

Script = Callable[[Device, bytes], Awaitable[None]]


def ack(code: str, control_id: object, text: str = "") -> bytes:
    return f"MSH|^~\\&|||||2026||ACK^R01^ACK|x|P|2.5.1\rMSA|{code}|{control_id}|{text}\r".encode()


@asynccontextmanager
async def destination(script: Script, seconds: float = 10.0, **target: object) -> AsyncIterator[Sender]:
    """A sender to a destination that does what the script says with each message."""

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Device(reader, writer)
        try:
            while True:
                await script(peer, await peer.answer())
        except (EOFError, ConnectionError):
            pass
        finally:
            await peer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = Sender(Target("127.0.0.1", port, answer_seconds=seconds, **target))
    try:
        yield sender
    finally:
        await sender.close()
        server.close()


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("AA", "accepted"),
        ("CA", "accepted"),
        ("AE", "error"),
        ("CE", "error"),
        ("AR", "rejected"),
        ("CR", "rejected"),
    ],
)
async def test_the_answer_says_what_became_of_a_message(code, result):
    async def script(peer, raw):
        await peer.send(ack(code, parse(raw).control_id, "why"))

    async with destination(script) as sender:
        for number in (1, 2):
            sent = await sender.send(oru(number))
            assert (sent.result, sent.text, sent.strays) == (result, "why", ())
            assert sent.answer == ack(code, number, "why")


async def test_an_answer_to_another_message_is_not_taken():
    async def script(peer, raw):
        await peer.send(ack("AR", "other"))
        await peer.send(b"nonsense")
        await peer.send(b"MSH|^~\\&|no MSA\r")
        await peer.send(ack("XX", parse(raw).control_id))
        await peer.send(ack("AA", parse(raw).control_id))

    async with destination(script) as sender:
        sent = await sender.send(oru(1))
        assert sent.result == "accepted"
        assert len(sent.strays) == sender.strays == 4


async def test_without_an_answer_the_socket_is_closed_and_a_late_one_reaches_nobody():
    peers: list[Device] = []

    async def script(peer, raw):
        peers.append(peer)
        number = parse(raw).control_id
        if number != "1":
            await peer.send(ack("AA", number))

    async with destination(script, 0.1) as sender:
        first = await sender.send(oru(1))
        assert (first.result, first.answer) == ("no-answer", b"")
        assert "0.1 s" in first.text
        assert (await sender.send(oru(2))).result == "accepted"
        assert peers[0] is not peers[1]


async def test_a_late_answer_does_not_answer_the_next_message():
    async def script(peer, raw):
        await peer.send(ack("AA", parse(raw).control_id))
        await peer.send(ack("AR", parse(raw).control_id))

    async with destination(script) as sender:
        assert [(await sender.send(oru(n))).result for n in (1, 2, 3)] == ["accepted"] * 3


async def test_a_destination_that_hangs_up_has_not_answered():
    async def script(peer, raw):
        raise EOFError

    async with destination(script) as sender:
        assert (await sender.send(oru(1))).result == "no-answer"


async def test_a_destination_that_has_hung_up_meanwhile_is_connected_to_again():
    async def script(peer, raw):
        await peer.send(ack("AA", parse(raw).control_id))
        raise EOFError

    async with destination(script) as sender:
        assert (await sender.send(oru(1))).result == "accepted"
        # whether the end is noticed before or after the next message: it is never taken for an answer
        results = {(await sender.send(oru(2))).result, (await sender.send(oru(2))).result}
        assert results <= {"accepted", "no-answer"}


async def test_nobody_there_is_unreachable():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert (await Sender(Target("127.0.0.1", port)).send(oru(1))).result == "unreachable"


async def test_one_message_is_on_its_way_at_a_time():
    seen, release = [], asyncio.Event()

    async def script(peer, raw):
        seen.append(parse(raw).control_id)
        await release.wait()
        await peer.send(ack("AA", parse(raw).control_id))

    async with destination(script) as sender:
        both = asyncio.gather(sender.send(oru(1)), sender.send(oru(2)))
        await until(lambda: seen)
        assert seen == ["1"]
        release.set()
        assert [sent.result for sent in await both] == ["accepted", "accepted"]


async def test_after_the_acceptance_the_application_is_waited_for_when_the_message_asks_for_it():
    async def script(peer, raw):
        await peer.send(ack("CA", parse(raw).control_id))
        await peer.send(ack("AE", parse(raw).control_id))

    wants_both = oru(1).replace(b"|P|2.5.1", b"|P|2.5.1|||AL|AL")
    async with destination(script) as sender:
        assert (await sender.send(wants_both)).result == "error"
    async with destination(script, waits_for_application=False) as sender:
        assert (await sender.send(wants_both)).result == "accepted"


async def test_who_has_accepted_a_message_has_it_although_no_more_is_heard_of_it():
    async def script(peer, raw):
        await peer.send(ack("CA", parse(raw).control_id))

    async with destination(script, 0.1) as sender:
        sent = await sender.send(oru(1).replace(b"|P|2.5.1", b"|P|2.5.1|||AL|AL"))
        assert sent.result == "accepted"
        assert "no answer within" in sent.text


async def test_what_is_no_message_is_not_sent():
    with pytest.raises(NotHl7):
        await Sender(Target("127.0.0.1", 1)).send(b"hello")
