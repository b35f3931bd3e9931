"""What becomes of one message: it is read, classified and mapped, and what follows is one transaction.

The effect, the state of the journal's entry, the Provenance and the Tasks of a message stand or fall together. An invariant to
keep: a message that was taken from the journal leaves it in another state, or stays where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from fhir_r4.temporal import format_instant
from hl7_bridge.batch import is_batch, split
from hl7_bridge.delivery import FhirServer, Overtaken, Refused, Resource
from hl7_bridge.devices.profile import Profile
from hl7_bridge.journal import Journal, JournalEntry, State, status_of
from hl7_bridge.mapping.classification import tells_of_people
from hl7_bridge.mapping.draft import Draft, Entry, Held, Problem
from hl7_bridge.mapping.records import Classified, Context, Map, Receipt
from hl7_bridge.mapping.results.codes import by_field, codes_url, concept_map
from hl7_bridge.message import Message, NotHl7, parse
from hl7_bridge.work import (
    GOING_ON,
    OF_RESULTS,
    OPEN,
    field_of,
    state_for,
    task_id,
    task_of,
    with_status,
)

log = structlog.get_logger("osler.hl7")

ASSEMBLER = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
LONGEST_MAPPING = 120.0
UNKNOWN = Profile()
ADMINISTRATIVE = Classified("administrative", "")
_NOT_TEXT = "some bytes are no text"

Classify = Callable[[Message, Profile], Classified]
# a message as its own profile reads it, and what it is
Understood = tuple[Message, Classified]
# the profile of a message, by what it came by and what it says; raises Held when there is none, or several
ProfileOf = Callable[[Receipt, Message], Profile]
# keeps a message that came by a connection
Keep = Callable[[str, bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Read:
    """A message as it was read, or why it could not be."""

    message: Message | None = None
    profile: Profile = UNKNOWN
    classified: Classified = ADMINISTRATIVE
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How messages are understood. `zone` is that of times without one, where the profile names none."""

    maps: Mapping[tuple[str, str], Map]
    classify: Classify
    profile_of: ProfileOf
    zone: tzinfo = UTC

    def read(self, receipt: Receipt, understood: Understood | None = None) -> Read:
        """Read and classify a message, as far as that was not done when it was answered; never fails."""
        try:
            message = parse(receipt.raw) if understood is None else understood[0]
            profile = self.profile_of(receipt, message)
            if understood is not None:
                classified = understood[1]
            else:
                if profile.transport.charsets:
                    message = parse(receipt.raw, profile.transport.charsets)
                classified = self.classify(message, profile)
        except Held as held:
            return Read(problem=held.problem)
        except NotHl7 as error:
            return Read(problem=Problem("dead-letter", str(error), holds=True))
        except Exception as error:
            # the text of the error may hold what the message says
            log.error("message could not be read", receipt=receipt.id, exception=type(error).__qualname__)
            told = f"The message could not be read ({type(error).__qualname__})."
            return Read(problem=Problem("dead-letter", told, holds=True))
        if _NOT_TEXT in message.warnings:
            problem = Problem(
                "undecodable", "Some bytes are no text in any character set of the device.", holds=True
            )
            return Read(message, profile, classified, problem)
        return Read(message, profile, classified)

    def map_of(self, message: Message) -> Map | None:
        key = (message.type, message.trigger)
        return self.maps.get(key) or self.maps.get((message.type, ""))


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a message."""

    state: State
    problems: tuple[Problem, ...] = ()


class Handler:
    """Maps one message after another. `clock` gives microseconds since 1970 UTC."""

    def __init__(
        self, server: FhirServer, journal: Journal, rules: Rules, clock: Callable[[], int], keep: Keep
    ) -> None:
        self._server = server
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self._keep = keep

    async def handle(self, entry: JournalEntry, read: Read) -> Handled:
        """Map the message and write what follows. Raises Overtaken, Refused, Unreachable, or what a mapping raises."""
        draft = Draft(self._server, entry.id, decisions=frozenset(entry.status.decisions))
        if read.problem is not None:
            return await self._put_aside(entry, read, [read.problem])
        assert read.message is not None
        if is_batch(entry.receipt.raw):
            batch = split(entry.receipt.raw)
            for raw in batch.messages:
                await self._keep(entry.receipt.connection, raw)
            if batch.warnings:
                # each message is kept; that some may be missing is for a person to see
                draft.problem("incomplete-batch", "; ".join(batch.warnings)[:500], "BTS-1")
            return await self._finish(entry, read, draft, "administrative")
        mapping = self._rules.map_of(read.message)
        if mapping is None or read.classified.kind == "administrative":
            if mapping is None and tells_of_people(read.message, read.classified.kind):
                told = "^".join(part for part in (read.message.type, read.message.trigger) if part)
                text = (
                    f"Messages of type {told} are kept, and not mapped."
                    if told
                    else "The message has no type."
                )
                draft.problem("unmapped-type", text, "MSH-9", told or "no type")
            return await self._finish(entry, read, draft, "administrative")
        zone = ZoneInfo(read.profile.zone) if read.profile.zone else self._rules.zone
        context = Context(read.profile, entry.receipt, zone, await self._was_mapped(entry))
        held: Held | None = None
        if read.profile.results.asks:
            draft.codes = await self._codes(read.profile, draft)
        while True:
            held = None
            try:
                async with asyncio.timeout(LONGEST_MAPPING):
                    await mapping(read.message, draft, context)
            except Held as problem:
                held = problem
            asked = {(field_of(p.path), p.value) for p in draft.problems if p.reason == "unmapped-code"}
            if draft.codes or not any(field not in OF_RESULTS for field, _ in asked):
                break
            # people may have mapped it: that is looked up only when it is needed, and then the message is read anew
            codes = await self._codes(read.profile, draft)
            if not asked & codes.keys():
                break
            draft = replace(draft, entries=[], problems=[], codes=codes, _addresses=set())
        if held is not None:
            return await self._put_aside(entry, read, [*draft.problems, held.problem])
        if any(problem.holds for problem in draft.problems):
            return await self._put_aside(entry, read, draft.problems)
        return await self._finish(entry, read, draft, "mapped")

    async def _codes(self, profile: Profile, draft: Draft) -> Mapping[tuple[str, str], Resource]:
        """What people have mapped of the codes of single fields."""
        return by_field(await concept_map(codes_url(profile), draft))

    async def _was_mapped(self, entry: JournalEntry) -> bool:
        """Whether what a message says was written once, before it was replayed."""
        return entry.status.attempt > 0 and await self._server.read("Provenance", entry.id) is not None

    async def delivered(self, entry: JournalEntry) -> bool:
        """Whether the server has had what follows from this entry already; then it is noted. Raises Unreachable.

        That is in doubt after a server or a connection to it has died in the middle of a delivery.
        """
        binary = await self._server.read("Binary", entry.id)
        there = None if binary is None else status_of(binary)
        if there is None or there.state == "received" or there.attempt != entry.status.attempt:
            return False
        await self._journal.settle(entry, there)
        return True

    async def give_up(self, entry: JournalEntry, read: Read, problem: Problem) -> Handled:
        """Put a message aside that cannot be mapped or written."""
        return await self._put_aside(entry, read, [problem])

    async def _put_aside(self, entry: JournalEntry, read: Read, problems: Sequence[Problem]) -> Handled:
        """Nothing of the message is written but that it waits, and what for."""
        worst = next((p for p in problems if p.holds), problems[-1])
        draft = Draft(self._server, entry.id, problems=list(problems))
        return await self._finish(entry, read, draft, state_for(worst))

    async def _finish(self, entry: JournalEntry, read: Read, draft: Draft, state: State) -> Handled:
        now = self._clock()
        tasks, ids = await self._tasks(entry, read, draft.problems, now)
        status = replace(
            entry.status,
            state=state,
            partition=read.classified.partition,
            waits_for=ids,
        )
        more = [*tasks, *self._journal.change(entry, status)]
        if state == "mapped" and draft.entries:
            more.append(_provenance(entry.receipt, draft.entries, read, now))
        if more or draft.entries:
            await self._server.deliver(draft.bundle(more))
        await self._journal.settle(entry, status)
        await self._see_to(entry, ids, now)
        return Handled(state, tuple(draft.problems))

    async def _tasks(
        self, entry: JournalEntry, read: Read, problems: Sequence[Problem], now: int
    ) -> tuple[list[Entry], tuple[str, ...]]:
        """The Tasks to be written, and the ids of all that the message waits for."""
        made: dict[str, Entry | None] = {}
        for problem in problems:
            id = task_id(problem, entry.receipt, read.profile.name)
            if id not in made:
                made[id] = await self._task(task_of(problem, entry.receipt, read.profile.name, now))
        return [one for one in made.values() if one is not None], tuple(made)

    async def _task(self, task: Resource) -> Entry | None:
        """The write of a Task, None when it is there and open, or is being resolved."""
        address = f"Task/{task['id']}"
        known = await self._server.read("Task", task["id"])
        if known is None:
            return Entry("PUT", address, address, task, if_none_match="*")
        if known.get("status") in GOING_ON:
            return None
        # it was resolved, and is met again
        version = known.get("meta", {}).get("versionId", "")
        return Entry("PUT", address, address, task, if_match=f'W/"{version}"')

    async def _see_to(self, entry: JournalEntry, waits_for: Sequence[str], now: int) -> None:
        """After the commit: what was resolved meanwhile is replayed, and Tasks that nobody waits for any more end."""
        for id in waits_for:
            task = await self._server.read("Task", id)
            if task is not None and task.get("status") not in GOING_ON:
                await self._journal.replay([entry.id], id)
        for id in entry.status.waits_for:
            if id in waits_for or await self._journal.waiting_for(id):
                continue
            task = await self._server.read("Task", id)
            if task is not None and task.get("status") in OPEN:
                await end(self._server, task, "cancelled", now, "Nothing waits for it any more.")


async def end(server: FhirServer, task: Resource, status: str, now: int, why: str = "") -> None:
    """Bring a Task to an end, unless somebody else has changed it. Raises Unreachable."""
    draft = Draft(server, task["id"])
    draft.update(with_status(task, status, now, why))
    try:
        await server.deliver(draft.bundle())
    except (Overtaken, Refused):
        log.info("task was changed by somebody else", task=task["id"])


def _provenance(receipt: Receipt, entries: Sequence[Entry], read: Read, now: int) -> Entry:
    """What was written because of a message. https://hl7.org/fhir/R4/provenance.html"""
    address = f"Provenance/{receipt.id}"
    targets = [e.full_url for e in entries if e.method in ("POST", "PUT")]
    resource: dict[str, Any] = {
        "resourceType": "Provenance",
        "id": receipt.id,
        "target": [{"reference": target} for target in dict.fromkeys(targets)],
        "recorded": format_instant(now),
        "agent": [
            {
                "type": {"coding": [{"system": ASSEMBLER, "code": "assembler"}]},
                "who": {"display": receipt.connection},
            }
        ],
        "entity": [{"role": "source", "what": {"reference": f"Binary/{receipt.id}"}}],
    }
    if read.profile.digest:
        resource["policy"] = [f"urn:osler:hl7:profile:{read.profile.name}:{read.profile.digest}"]
    return Entry("PUT", address, address, resource)
