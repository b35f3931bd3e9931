"""The listener, on real sockets: messages, their answers, and what senders do wrong."""

from __future__ import annotations

import asyncio
from itertools import cycle

import pytest

from hl7_bridge.framing import wrap
from hl7_bridge.link import Limits
from hl7_bridge.listener import Dialer, Listener, Unsafe, Wire
from hl7_bridge.message import parse
from tests.bridge.wire import Device, Kept, device, listening, oru, until


def control_id(answer: bytes) -> str:
    return parse(answer).get("MSA-2")


async def test_a_message_is_taken_and_answered():
    kept = Kept()
    async with listening(kept) as listener, device(listener) as analyser:
        await analyser.send(oru(7))
        assert control_id(await analyser.answer()) == "7"
    assert kept.messages == [oru(7)]
    assert kept.links[0].name == "lab"
    assert kept.links[0].address == "127.0.0.1"


async def test_several_messages_in_one_chunk_are_answered_in_order():
    kept = Kept()
    async with listening(kept) as listener, device(listener) as analyser:
        await analyser.write(b"".join(wrap("mllp", oru(n)) for n in range(50)))
        assert [control_id(await analyser.answer()) for _ in range(50)] == [str(n) for n in range(50)]


async def test_a_message_that_comes_byte_by_byte_is_one():
    kept = Kept()
    async with listening(kept) as listener, device(listener) as analyser:
        for byte in wrap("mllp", oru()):
            await analyser.write(bytes([byte]))
        assert control_id(await analyser.answer()) == "1"
    assert kept.messages == [oru()]


async def test_nothing_is_answered_before_it_is_kept():
    kept = Kept(gate=asyncio.Event())
    async with listening(kept) as listener, device(listener) as analyser:
        await analyser.send(oru())
        await until(lambda: listener.figures.received == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(analyser.reader.read(1), 0.05)
        kept.gate.set()
        assert control_id(await analyser.answer()) == "1"


async def test_what_could_not_be_kept_is_not_answered_and_the_sender_is_disconnected():
    kept = Kept(refuses=b"F2")
    async with listening(kept) as listener, device(listener) as analyser:
        await analyser.write(b"".join(wrap("mllp", oru(n)) for n in (1, 2, 3)))
        assert control_id(await analyser.answer()) == "1"
        with pytest.raises(EOFError):
            await analyser.answer()
    assert kept.messages == [oru(1)]
    assert listener.figures.failed == 2


async def test_one_that_waits_keeps_nobody_else_waiting():
    slow, quick = Kept(gate=asyncio.Event()), Kept()

    class Both(Kept):
        async def receive(self, link, raw):
            return await (slow if b"|F1|" in raw else quick).receive(link, raw)

    async with listening(Both()) as listener, device(listener) as one, device(listener) as other:
        await one.send(oru(1))
        for number in range(2, 30):
            await other.send(oru(number))
            assert control_id(await other.answer()) == str(number)
        slow.gate.set()
        assert control_id(await one.answer()) == "1"


async def test_a_flood_keeps_nobody_waiting_and_ends():
    kept = Kept()
    async with listening(kept) as listener, device(listener) as flood, device(listener) as analyser:

        async def pour() -> None:
            try:
                while True:
                    await flood.write(b"\x0b" * 65536)
            except ConnectionError:
                pass

        pouring = asyncio.create_task(pour())
        for number in range(20):
            await analyser.send(oru(number))
            assert control_id(await analyser.answer()) == str(number)
        await asyncio.wait_for(pouring, 20)
    assert listener.figures.held_bytes == 0


async def test_a_message_that_never_ends_is_ended_after_its_time():
    kept = Kept()
    async with listening(kept, Limits(frame_seconds=0.1)) as listener, device(listener) as loris:
        await loris.write(b"\x0bMSH|^~\\&|A")
        assert await loris.closed()
    assert kept.broken == [(b"MSH|^~\\&|A", "timed-out")]


async def test_trickling_does_not_prolong_the_time_of_a_message():
    kept = Kept()
    async with listening(kept, Limits(frame_seconds=0.2)) as listener, device(listener) as loris:
        await loris.write(b"\x0bMSH|^~\\&|A")

        async def trickle() -> None:
            try:
                for byte in cycle((b"\x1c", b"x")):
                    await loris.write(byte)
                    await asyncio.sleep(0.01)
            except ConnectionError:
                pass

        trickling = asyncio.create_task(trickle())
        await until(lambda: kept.broken or kept.messages)
        trickling.cancel()


async def test_a_disconnect_within_a_message_leaves_it_incomplete():
    kept = Kept()
    async with listening(kept) as listener:
        async with device(listener) as analyser:
            await analyser.write(wrap("mllp", oru(1)) + wrap("mllp", oru(2))[:40])
            await analyser.answer()
        await until(lambda: kept.broken)
    assert kept.messages == [oru(1)]
    assert kept.broken == [(oru(2)[:39], "cut-off")]
    assert listener.figures.incomplete == 1


async def test_what_is_too_long_is_rejected_and_its_sender_disconnected():
    kept = Kept()
    async with listening(kept, Limits(message_bytes=500)) as listener, device(listener) as analyser:
        await analyser.send(oru(5, "NTE|1||" + "x" * 500 + "\r"))
        answer = parse(await analyser.answer())
        assert (answer.get("MSA-1"), answer.get("MSA-2")) == ("AR", "5")
        assert await analyser.closed()
    assert kept.messages == []
    assert kept.broken[0][1] == "too-long"


async def test_who_does_not_take_its_answers_is_disconnected():
    class Verbose(Kept):
        async def receive(self, link, raw):
            return (b"x" * 1_000_000,)

    async with listening(Verbose(), Limits(write_seconds=0.1)) as listener, device(listener) as deaf:
        deaf.writer.transport.pause_reading()
        for number in range(100):
            await deaf.send(oru(number))
        await until(lambda: listener.figures.opened and not listener.figures.open)
        assert listener.figures.received < 100


async def test_a_message_without_its_last_byte_is_answered_after_a_silence():
    kept = Kept()
    async with listening(kept, Limits(silence_seconds=0.05)) as listener, device(listener) as analyser:
        await analyser.write(b"\x0b" + oru() + b"\x1c")
        assert control_id(await analyser.answer()) == "1"


@pytest.mark.parametrize("framed", ["length", "none"])
async def test_other_framings_are_spoken(framed):
    kept = Kept()
    limits = Limits(silence_seconds=0.05)
    async with listening(kept, limits, framing=framed) as listener, device(listener, framed) as analyser:
        await analyser.send(oru(1))
        await until(lambda: kept.messages)
        await analyser.send(oru(2))
        await until(lambda: len(kept.messages) == 2)
    assert kept.messages == [oru(1), oru(2)]


async def test_heartbeats_are_counted_and_mean_nothing():
    kept = Kept()
    async with (
        listening(kept, Limits(noise_bytes=10), heartbeat=b"\x02") as listener,
        device(listener) as analyser,
    ):
        await analyser.write(b"\x02" * 100)
        await analyser.send(oru())
        await analyser.answer()
    assert listener.figures.heartbeat_bytes == 100
    assert kept.messages == [oru()]


async def test_who_talks_something_else_is_disconnected():
    async with listening(Kept(), Limits(noise_bytes=1000)) as listener, device(listener) as stranger:
        await stranger.write(b"GET / HTTP/1.1\r\n" * 100)
        assert await stranger.closed()
    assert listener.figures.noise_bytes == 1600


async def test_who_says_nothing_is_disconnected_when_that_is_wanted():
    async with listening(Kept(), Limits(idle_seconds=0.05)) as listener, device(listener) as silent:
        assert await silent.closed()


async def test_there_are_no_more_connections_than_allowed():
    async with listening(Kept(), Limits(connections=2)) as listener:
        async with device(listener) as one, device(listener) as two, device(listener) as three:
            assert await three.closed()
            for analyser in (one, two):
                await analyser.send(oru())
                await analyser.answer()
        await until(lambda: listener.figures.open == 0)
        async with device(listener) as again:
            await again.send(oru())
            await again.answer()
    assert listener.figures.refused == 1


async def test_what_unfinished_messages_hold_together_is_bounded():
    kept = Kept()
    limits = Limits(held_bytes=100_000)
    async with listening(kept, limits) as listener, device(listener) as one, device(listener) as two:
        for loris in (one, two):
            await loris.write(b"\x0bMSH|" + b"x" * 70_000)
        await until(lambda: kept.broken)
        await until(lambda: listener.figures.held_bytes <= 100_000)


async def test_closing_answers_what_is_being_received_and_disconnects():
    kept = Kept(gate=asyncio.Event())
    async with listening(kept) as listener, device(listener) as busy, device(listener) as idle:
        await busy.send(oru())
        await until(lambda: listener.figures.received == 1)
        closing = asyncio.create_task(listener.close())
        assert await idle.closed()
        kept.gate.set()
        assert control_id(await busy.answer()) == "1"
        assert await busy.closed()
        await closing
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", listener.port)


async def test_every_byte_is_accounted_for():
    kept = Kept()
    async with listening(kept) as listener:
        stream = b"\r\n" + wrap("mllp", oru(1)) + b"?" + wrap("mllp", oru(2)) + b"\x0b" + oru(3)[:50]
        async with device(listener) as analyser:
            await analyser.write(stream)
            await analyser.answer()
            await analyser.answer()
            await until(lambda: listener.figures.held_bytes == 51)
        await until(lambda: kept.broken)
    figures = listener.figures
    marks = 3 * len(kept.messages) + len(kept.broken)
    told = sum(map(len, kept.messages)) + sum(len(raw) for raw, _ in kept.broken)
    assert figures.bytes == len(stream) == told + marks + figures.noise_bytes
    assert (figures.received, figures.incomplete, figures.answered, figures.held_bytes) == (2, 1, 2, 0)
    assert figures.last_message > 0
    assert 0 < figures.answer_seconds.quantile(0.99) < 20


async def test_we_send_messages_of_our_own_on_the_same_link():
    kept = Kept()
    async with listening(kept) as listener, device(listener) as analyser:
        await analyser.send(oru())
        await analyser.answer()
        await kept.links[0].send(b"MSH|^~\\&|OURS\r")
        assert await analyser.answer() == b"MSH|^~\\&|OURS\r"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "lab.example.org"])
def test_nobody_beyond_this_machine_is_listened_to_without_being_known(host):
    with pytest.raises(Unsafe):
        Listener(Wire("lab", host, 2575), Kept())
    Listener(Wire("lab", host, 2575, allow=("10.0.0.0/8",)), Kept())


async def test_only_addresses_that_are_allowed_may_connect():
    kept = Kept()
    async with listening(kept, allow=("10.1.0.0/16",)) as listener, device(listener) as stranger:
        assert await stranger.closed()
        assert listener.figures.refused == 1
    async with listening(kept, allow=("127.0.0.0/8",)) as listener, device(listener) as friend:
        await friend.send(oru())
        await friend.answer()


async def test_a_device_that_is_a_server_is_connected_to_again_and_again():
    kept, calls = Kept(), asyncio.Queue()

    async def called(reader, writer) -> None:
        await calls.put(Device(reader, writer))

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dialer = Dialer(Wire("lab", "127.0.0.1", port), kept, first_wait=0.01)
    await dialer.start()
    for number in (1, 2):
        analyser = await asyncio.wait_for(calls.get(), 20)
        await analyser.send(oru(number))
        assert control_id(await analyser.answer()) == str(number)
        await analyser.close()
    last = await asyncio.wait_for(calls.get(), 20)
    await dialer.close()
    assert await last.closed()
    await last.close()
    server.close()
    assert kept.messages == [oru(1), oru(2)]


async def test_a_dialer_waits_for_a_device_that_is_not_there():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    dialer = Dialer(Wire("lab", "127.0.0.1", port), Kept(), first_wait=0.01, longest_wait=0.02)
    await dialer.start()
    await until(lambda: dialer.figures.refused > 2)
    await dialer.close()
