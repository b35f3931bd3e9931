"""Messages to other systems: what changes in the record is told, in order, until the other side has it. docs/bridge.md

Two consumers of the change feed for each destination. One keeps the messages of each change; the other sends what is kept, one at
a time. Both stand where their durable cursors are, and one server at a time does each. Invariants to keep: a change leads to its
messages once; the messages about a patient reach a destination in order; what was not accepted is never forgotten.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, quote

import structlog

from fhir_r4.errors import FhirError, InvalidRequest, Unavailable
from fhir_r4.jsonio import decode_object
from fhir_server.bridge.telling import TYPES, Telling
from fhir_server.context import Resource, Services
from fhir_server.interactions.writing import commit, prepare
from fhir_server.search.match import Candidate, NoLookup, matches
from fhir_server.search.parse import parse_search
from fhir_server.search.tree import Expression, RefersTo, TokenIs, all_of
from fhir_server.store.feed import LEASE_SECONDS, Handle, consume
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored, VersionIs
from hl7_bridge.config import Destination
from hl7_bridge.outgoing import (
    DESTINATION,
    Outgoing,
    behind,
    binary_of,
    bytes_of,
    communication_of,
    destination_of,
    ended,
    entry_id,
    is_behind,
    is_replay,
    number_of,
    released,
    replayed,
    task_of,
    written,
)
from hl7_bridge.sender import Sender, Sent, Target
from hl7_bridge.serializer import Route
from hl7_bridge.tls import client_tls
from hl7_bridge.work import resolution_of, with_status

log = structlog.get_logger("osler.hl7")

# built only for a destination that asks for them by name
ASKED_FOR = frozenset(("OML^O33",))
MOST_BEHIND = 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: the first pause after a message without an answer, the longest, and the lease of the consumers."""

    first: float = 5.0
    longest: float = 600.0
    lease: float = LEASE_SECONDS


class Sends(Protocol):
    """What sends to a destination."""

    async def send(self, payload: bytes) -> Sent:
        """Send a message and wait for its answer."""

    async def close(self) -> None:
        """Let go of the connection."""


class Outbox:
    """The outbox of all destinations. `owner` is this process's own name."""

    def __init__(
        self, services: Services, destinations: Sequence[Destination], owner: str, pace: Pace = Pace()
    ) -> None:
        self.destinations = tuple(_Destination(services, one, owner, pace) for one in destinations)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin: a destination that is new is told what changes from now on."""
        for one in self.destinations:
            await one.begin()
            self._tasks += [asyncio.create_task(one.collect()), asyncio.create_task(one.deliver())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for one in self.destinations:
            with suppress(OSError):
                await one.sender.close()


class _Destination:
    """What is done for one destination."""

    def __init__(self, services: Services, config: Destination, owner: str, pace: Pace) -> None:
        self.name = config.name
        self.sender: Sends = Sender(_target(config))
        self._services = services
        self._config = config
        self._owner = owner
        self._pace = pace
        self._filters = {type: _criteria(services, type, text) for type, text in _filters(config).items()}

    # the two consumers

    async def begin(self) -> None:
        """Set new cursors to where the record stands. What is sent begins no later than what is kept."""
        for name in (self._sent, self._kept):
            cursor = await self._services.store.take_feed(name, self._owner, self._pace.lease)
            if cursor == 0:
                last = max(1, await self._services.store.last_sequence())
                await self._services.store.keep_feed(name, self._owner, last, self._pace.lease)

    async def collect(self) -> None:
        """Keep the messages of every change; never ends."""
        await self._consume(self._kept, self.keep)

    async def deliver(self) -> None:
        """Send what is kept; never ends."""
        await self._consume(self._sent, self.see_to)

    @property
    def _kept(self) -> str:
        return f"hl7-out-{self.name}"

    @property
    def _sent(self) -> str:
        return f"hl7-sent-{self.name}"

    async def _consume(self, name: str, handle: Handle) -> None:
        while True:
            try:
                await consume(self._services.store, name, self._owner, handle, lease=self._pace.lease)
            except Exception as error:
                log.error(
                    "the outbox failed and begins anew", destination=self.name, error=type(error).__qualname__
                )
            await asyncio.sleep(self._pace.first)

    # keeping

    async def keep(self, stored: Stored) -> None:
        """Keep the messages of a change, in one commit. A change that was handled before is left as it is."""
        if stored.type not in TYPES or stored.deleted or not self._concerns(stored):
            return
        try:
            wanted = [one for one in await Telling(self._services, stored).messages() if self._wants(one)]
        except Unavailable:
            raise
        except Exception as error:
            log.error("a message was not built", destination=self.name, error=type(error).__qualname__)
            await self._not_built(stored, error)
            return
        if not wanted:
            return
        resources: list[Resource] = []
        for n, one in enumerate(wanted):
            id = entry_id(self.name, stored.sequence, n)
            route, options = _route(self._config), self._config.options
            raw = written(
                one, id, stored.updated, route, options.get("accept", ""), options.get("application", "")
            )
            number = f"{stored.sequence:015d}.{n}"
            resources += [binary_of(id, raw), communication_of(one, id, self.name, number)]
        absent = [VersionIs(one["resourceType"], one["id"], None) for one in resources]
        with suppress(Stale):
            await self._write(resources, absent)

    async def _not_built(self, stored: Stored, error: Exception) -> None:
        """Tell a person, and go on with what comes after."""
        id = entry_id(self.name, stored.sequence, 0)
        about = {"id": id, "meta": {"tag": [{"system": DESTINATION, "code": self.name}]}}
        task = task_of(about, "dead-letter", f"No message was built: {type(error).__qualname__}", self._now)
        task["focus"] = {"reference": f"{stored.type}/{stored.id}"}
        with suppress(Stale):
            await self._write([task], [VersionIs("Task", id, None)])

    def _concerns(self, stored: Stored) -> bool:
        """Whether the destination is told of this change: not when it comes from there, and only what its filter lets pass."""
        resource = decode_object(stored.body)
        source = resource.get("meta", {}).get("source", "")
        senders = self._config.options.get("not_from", [self.name])
        if source in {f"urn:osler:hl7:{quote(one, safe='')}" for one in senders}:
            return False
        where = self._filters.get(stored.type)
        if where is None:
            return True
        entries = self._services.extractor.extract(resource)
        candidate = Candidate(stored.type, stored.id, stored.updated, stored.sequence, entries)
        return matches(where, candidate, NoLookup())

    def _wants(self, outgoing: Outgoing) -> bool:
        if outgoing.name in self._config.messages:
            return True
        if outgoing.name in ASKED_FOR:
            return False
        return not self._config.messages or outgoing.type[0] in self._config.messages

    # sending

    async def see_to(self, stored: Stored) -> None:
        """Send a message that waits, whenever its Communication says so; carry out what a person has decided."""
        if stored.type not in ("Communication", "Task") or stored.deleted:
            return
        told = decode_object(stored.body)
        if destination_of(told) != self.name:
            return
        current = await self._current(stored.type, stored.id)
        if current is None or current[1] != stored.version:
            return
        if stored.type == "Task":
            await self._resolve(*current)
        elif told["status"] == "preparation":
            await self._send(*current)
        elif told["status"] in ("completed", "not-done"):
            await self._let_go(told)

    async def _send(self, entry: Resource, version: int) -> None:
        held = await self._held_before(entry)
        if held is not None:
            await self._change(entry, version, behind(entry, held))
            return
        binary = await self._current("Binary", entry["id"])
        if binary is None:
            await self._change(entry, version, ended(entry, "not-done", "The message is gone.", self._now))
            return
        raw = bytes_of(binary[0])
        if is_replay(entry):
            entry, raw = replayed(entry, raw)
            more = [VersionIs("Binary", entry["id"], binary[1])]
            version = await self._change(entry, version, entry, [binary_of(entry["id"], raw)], more)
            if not version:
                return
        await self._until_answered(entry, version, raw)

    async def _until_answered(self, entry: Resource, version: int, raw: bytes) -> None:
        pause = self._pace.first
        while True:
            sent = await self.sender.send(raw)
            if sent.result == "accepted":
                await self._ended(entry, version, "completed", "")
                return
            if sent.result == "error":
                await self._ended(
                    entry, version, "on-hold", sent.text or "answered with an error", "not-taken"
                )
                return
            if sent.result == "rejected":
                await self._ended(entry, version, "not-done", sent.text or "rejected", "rejected")
                return
            wait = pause * random.uniform(0.8, 1.2)
            log.warning(
                "a message was not answered", destination=self.name, result=sent.result, pause=round(wait, 1)
            )
            await asyncio.sleep(wait)
            pause = min(pause * 2, self._pace.longest)
            current = await self._current("Communication", entry["id"])
            if current is None or current[1] != version:
                # somebody has decided about it; the feed tells of that
                return

    async def _ended(self, entry: Resource, version: int, status: str, why: str, reason: str = "") -> None:
        after = ended(entry, status, why, self._now)
        more = [task_of(after, reason, why, self._now)] if reason else []
        task = await self._current("Task", entry["id"])
        if not reason and task is not None and task[0]["status"] not in ("completed", "cancelled"):
            more = [with_status(task[0], "completed", self._now)]
        await self._change(entry, version, after, more)

    # what is held, and what waits behind it

    async def _held_before(self, entry: Resource) -> str | None:
        """The id of an earlier message about the same patient that is held."""
        for one in await self._on_hold(entry):
            if number_of(one) < number_of(entry):
                return str(one["id"])
        return None

    async def _let_go(self, entry: Resource) -> None:
        """The next message that has waited behind this one waits no more."""
        for one in sorted(await self._on_hold(entry), key=number_of):
            if not is_behind(one):
                return
            current = await self._current("Communication", one["id"])
            if current is not None:
                await self._change(*current, released(current[0]))
            return

    async def _on_hold(self, entry: Resource) -> list[Resource]:
        subject = entry.get("subject", {}).get("reference", "")
        if not subject:
            return []
        where: list[Expression] = [
            TokenIs("_tag", DESTINATION, self.name),
            TokenIs("status", None, "on-hold"),
            RefersTo("subject", "Patient", subject.partition("/")[2]),
        ]
        ids = await self._services.store.matching_ids("Communication", all_of(where), MOST_BEHIND)
        found = await self._services.store.read_many([("Communication", id) for id in ids])
        return [decode_object(one.body) for one in found.values()]

    async def _resolve(self, task: Resource, version: int) -> None:
        """Carry out the resolution of a Task: `discard` gives the message up, all else sends it again."""
        how, _ = resolution_of(task)
        if not how or task["status"] not in ("accepted", "completed"):
            return
        current = await self._current("Communication", task["id"])
        done = [with_status(task, "completed", self._now)] if task["status"] == "accepted" else []
        wanted = "not-done" if how == "discard" else "preparation"
        if current is not None and current[0]["status"] in ("on-hold", "not-done"):
            await self._change(*current, {**current[0], "status": wanted}, done)
        elif done:
            await self._change(task, version, done[0])

    # reading and writing

    @property
    def _now(self) -> int:
        return self._services.clock()

    async def _current(self, type: str, id: str) -> tuple[Resource, int] | None:
        stored = await self._services.store.read(type, id)
        if stored is None or stored.deleted:
            return None
        return decode_object(stored.body), stored.version

    async def _change(
        self,
        before: Resource,
        version: int,
        after: Resource,
        more: Sequence[Resource] = (),
        conditions: Sequence[VersionIs] = (),
    ) -> int:
        """Write a resource that has not changed since, and others with it; its new version, 0 when somebody was faster."""
        was = VersionIs(before["resourceType"], before["id"], version)
        try:
            return (await self._write([after, *more], [was, *conditions]))[0].version
        except Stale:
            return 0

    async def _write(
        self, resources: Sequence[Resource], conditions: Sequence[VersionIs]
    ) -> tuple[Stored, ...]:
        ops = [prepare(self._services, "PUT", one, one["id"]) for one in resources]
        stored, _ = await commit(self._services, ops, conditions, resources)
        return stored


def _target(config: Destination) -> Target:
    tls = config.tls
    context = None if tls is None else client_tls(tls.certificate, tls.key, tls.authority)
    options = config.options
    return Target(
        config.address.host,
        config.address.port,
        context,
        framing=options.get("framing", "mllp"),
        answer_seconds=float(options.get("answer_seconds", 30.0)),
        connect_seconds=float(options.get("connect_seconds", 10.0)),
    )


def _route(config: Destination) -> Route:
    told: Mapping[str, str] = config.options.get("route", {})
    return Route(
        told.get("sending_application", "OSLER"),
        told.get("sending_facility"),
        told.get("receiving_application"),
        told.get("receiving_facility"),
    )


def _filters(config: Destination) -> Mapping[str, str]:
    found: Mapping[str, str] = config.options.get("filter", {})
    return found


def _criteria(services: Services, type: str, text: str) -> Expression:
    """The expression of a filter, `class=IMP&status=finished`. Raises InvalidRequest for what is no search."""
    try:
        zone = services.settings.default_timezone
        parsed = parse_search([type], parse_qsl(text), services.parameters, now=services.clock(), zone=zone)
    except FhirError as error:
        raise InvalidRequest(f"The filter {type}?{text} of a destination: {error}") from error
    return parsed.query.where
