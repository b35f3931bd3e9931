"""Simulated devices against a real listener: nothing is lost that a patient device would not lose."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from hl7_bridge.framing import MOST_BYTES
from hl7_bridge.link import Limits
from hl7_bridge.message import parse
from hl7_bridge.simulator import BEHAVIOURS, Report, Simulator
from tests.bridge.wire import Kept, listening, until


async def simulated(
    name: str, kept: Kept, count: int, scale: float = 1.0, cut: int = 0
) -> tuple[Report, object]:
    behaviour = BEHAVIOURS[name]
    limits = Limits(silence_seconds=0.02)
    async with listening(kept, limits, framing=behaviour.framing, heartbeat=behaviour.heartbeat) as listener:
        report = await Simulator(behaviour, "127.0.0.1", listener.port, scale).run(count, cut)
        await until(lambda: listener.figures.open == 0)
    return report, listener.figures


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_every_message_of_every_device_arrives_as_it_was_sent(name):
    kept, behaviour = Kept(), BEHAVIOURS[name]
    report, figures = await simulated(name, kept, 5, 0.2 if behaviour.framing == "none" else 1.0)
    assert kept.messages == [behaviour.make(number) for number in range(1, 6)]
    assert report.answered == ([1, 2, 3, 4, 5] if behaviour.answer_seconds else [])
    assert (report.refused, report.dropped, report.sent_again, report.strays, figures.incomplete) == (
        [],
        [],
        0,
        0,
        0,
    )


class Slow(Kept):
    """Answers nothing before the device has given up so many times."""

    async def receive(self, link, raw):
        answers = await super().receive(link, raw)
        if self.messages.count(raw) <= self.late:
            await until(lambda: link._writer.is_closing() or link._reader.at_eof())
        return answers

    late = 1


async def test_a_mindray_goes_on_after_ten_seconds_and_the_result_is_stored_all_the_same():
    kept = Slow()
    report, _ = await simulated("mindray-bc", kept, 2, 0.01)
    assert report.dropped == [1, 2]
    assert report.sent_again == 0
    assert kept.messages == [BEHAVIOURS["mindray-bc"].make(n) for n in (1, 2)]


@pytest.mark.parametrize("name", ["genexpert", "cobas"])
async def test_a_device_that_is_answered_late_sends_again_and_is_then_content(name):
    kept = Slow()
    report, _ = await simulated(name, kept, 1, 0.005)
    assert report.answered == [1]
    assert report.sent_again == 1
    assert kept.messages == [BEHAVIOURS[name].make(1)] * 2


async def test_a_device_that_is_never_answered_gives_up_after_its_attempts():
    kept = Slow()
    kept.late = 9
    report, _ = await simulated("genexpert", kept, 1, 0.001)
    assert report.dropped == [1]
    assert len(kept.messages) == 3


async def test_a_genexpert_wants_its_acceptance_and_nothing_else():
    class Original(Kept):
        async def receive(self, link, raw):
            return [answer.replace(b"|CA|", b"|AA|") for answer in await super().receive(link, raw)]

    report, _ = await simulated("genexpert", Original(), 1)
    assert report.refused == [1]


async def test_heartbeats_come_between_messages():
    kept = Kept()
    _, figures = await simulated("mindray-bc-3600", kept, 200, 0.0001)
    assert figures.heartbeat_bytes > 0
    assert figures.noise_bytes == figures.heartbeat_bytes
    assert len(kept.messages) == 200


async def test_a_device_that_breaks_off_leaves_an_incomplete_message():
    kept = Kept()
    await simulated("mindray-bc", kept, 1, cut=60)
    assert kept.broken == [(BEHAVIOURS["mindray-bc"].make(2)[:59], "cut-off")]
    assert len(kept.messages) == 1


def test_the_control_ids_of_an_autobio_are_worth_nothing():
    make = BEHAVIOURS["autobio"].make
    assert {parse(make(number)).control_id for number in range(1, 20)} == {"5"}
    assert len({make(number) for number in range(1, 20)}) == 19
    assert all(len(make(1)) < MOST_BYTES for make in (one.make for one in BEHAVIOURS.values()))


async def test_a_device_is_simulated_from_the_command_line():
    kept = Kept()
    async with listening(kept) as listener:
        command = ["hl7", "simulate", "mindray-bc", f"127.0.0.1:{listener.port}", "--count", "3"]
        found = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("answered 3, refused 0, given up 0")


def test_the_devices_are_listed_and_a_device_that_is_none_is_refused():
    assert "genexpert" in CliRunner().invoke(app, ["hl7", "simulate", "list"]).stdout
    assert CliRunner().invoke(app, ["hl7", "simulate", "toaster"]).exit_code == 2
    assert CliRunner().invoke(app, ["hl7", "simulate", "cobas", "127.0.0.1:1"]).exit_code == 2
