"""The bridge as a whole: what comes by the connections goes into the journal, is answered, and then mapped.

An invariant to keep: a message is acknowledged after it is durable, whatever the record store or the mapping do meanwhile; it is
refused only when it could not be kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import structlog

from hl7_bridge.acks import STORED, Outcome, answers
from hl7_bridge.batch import is_batch, split
from hl7_bridge.config import Address, Config, Connection, resolve, sender_of, unregistered
from hl7_bridge.delivery import FhirServer, Unreachable
from hl7_bridge.devices.profile import Profile
from hl7_bridge.handling import Classify, Handled, Rules, Understood
from hl7_bridge.journal import (
    MICROSECONDS_OF_DAY,
    Journal,
    JournalEntry,
    Received,
    State,
    first_status,
)
from hl7_bridge.mapping.draft import Held, Problem
from hl7_bridge.mapping.records import Context, Map, Receipt
from hl7_bridge.message import Message, NotHl7, parse
from hl7_bridge.pipeline import Pace, Pipeline
from hl7_bridge.queries import replies
from hl7_bridge.tallies import Tallies

log = structlog.get_logger("osler.hl7")

# so long is waited for the mapping, for a sender that wants to hear of it; devices wait 10 seconds or more
MAPPED_WITHIN = 8.0
TIDY_SECONDS = 600.0
_NOT_TEXT = "some bytes are no text"
GENERIC = Profile()


@dataclass(frozen=True, slots=True)
class Known:
    """What messages are understood by. `profiles` are the device profiles by name."""

    maps: Mapping[tuple[str, str], Map]
    classify: Classify
    profiles: Mapping[str, Profile]
    zone: tzinfo = UTC


@dataclass(slots=True)
class _Kept:
    """A message on its way to its answer. `received` is None when it was not kept."""

    name: str
    profile: Profile
    said: bytes | Message
    received: Received | None = None
    answers: tuple[bytes, ...] = ()
    understood: Understood | None = None

    def refuse(self, outcome: Outcome, now: int) -> None:
        self.answers = answers(self.said, outcome, self.profile.answering, self.name, now)


class Bridge:
    """Takes what arrives. `owner` is this process's own name."""

    def __init__(
        self,
        server: FhirServer,
        journal: Journal,
        config: Config,
        known: Known,
        clock: Callable[[], int],
        owner: str,
        pace: Pace = Pace(),
    ) -> None:
        self.config = config
        self.journal = journal
        self.tallies = Tallies()
        self.known = known
        self.server = server
        self._clock = clock
        rules = Rules(known.maps, known.classify, self.profile_of, known.zone)
        self.pipeline = Pipeline(server, journal, rules, clock, owner, self.keep, pace, self._became)

    # what arrives

    async def arrived(
        self, sharing: Sequence[Connection], raw: bytes, address: str = ""
    ) -> tuple[bytes, ...]:
        """Keep a message that came by one of the connections and give its answers, without framing."""
        began = time.perf_counter()
        with self.pipeline.precedence.answer():
            kept = await self._kept(sharing, raw, address)
        received, made, profile = kept.received, kept.answers, kept.profile
        if received is None:
            return made
        if profile.answering.when == "mapped":
            receipt = received.receipt
            outcome = await self._mapped(kept)
            made += answers(kept.said, outcome, profile.answering, receipt.id, receipt.received, "mapped")
        else:
            self._submit(received, understood=kept.understood)
        self.tallies.answered(kept.name, time.perf_counter() - began)
        return made

    async def _kept(self, sharing: Sequence[Connection], raw: bytes, address: str) -> _Kept:
        """Read and keep a message, and make the answers that are due at once."""
        batch = is_batch(raw)
        message = _read(raw, batch)
        name, profile = self._source(sharing, message, address)
        if message is not None and profile.transport.charsets and not batch:
            message = parse(raw, profile.transport.charsets)
        kept = _Kept(name, profile, raw if message is None or batch else message)
        if message is not None and profile.transport.strict_charset and _NOT_TEXT in message.warnings:
            self.tallies.refused(name)
            kept.refuse(
                Outcome("error", "102", "Some bytes are no text in the character set."), self._clock()
            )
            return kept
        try:
            kept.received = await self.keep(name, raw)
        except Unreachable as error:
            log.error("a message was not kept", connection=name, reason=str(error)[:200])
            self.tallies.refused(name)
            outcome = Outcome("error", "207", "The message cannot be kept just now; send it again.")
            kept.refuse(outcome, self._clock())
            return kept
        receipt = kept.received.receipt
        kept.answers = answers(kept.said, STORED, profile.answering, receipt.id, receipt.received)
        if isinstance(kept.said, Message):
            await self._reply(kept, kept.said, receipt)
        return kept

    async def broken(
        self, sharing: Sequence[Connection], raw: bytes, reason: str, address: str = ""
    ) -> tuple[bytes, ...]:
        """Keep what began as a message and did not end as one, and why (`framing.Broken`); it is not answered. Raises Unreachable."""
        name, _ = self._source(sharing, _read(raw, is_batch(raw)), address)
        received = await self.journal.receive(name, raw, self._clock(), broken=reason)
        self.tallies.arrived(name, self._clock(), duplicate=received.duplicate, complete=False)
        self._submit(received, broken=reason)
        return ()

    async def keep(self, connection: str, raw: bytes) -> Received:
        """Keep a message; it is durable when this returns. Raises Unreachable."""
        now = self._clock()
        received = await self.journal.receive(connection, raw, now)
        self.tallies.arrived(connection, now, duplicate=received.duplicate)
        return received

    def _submit(self, received: Received, *, broken: str = "", understood: Understood | None = None) -> None:
        if not received.duplicate:
            status = first_status(broken, received.version)
            self.pipeline.submit(JournalEntry(received.receipt, status), understood)

    async def _mapped(self, kept: _Kept) -> Outcome:
        """What became of a message, for a sender that wants to know; what takes too long is stored."""
        assert kept.received is not None
        id = kept.received.receipt.id
        waiting = self.pipeline.handled(id, MAPPED_WITHIN)
        self._submit(kept.received, understood=kept.understood)
        handled = await waiting
        if handled is None:
            entry = await self.journal.read(id)
            state: State = "received" if entry is None else entry.status.state
        else:
            state = handled.state
        if state in ("held", "dead-letter"):
            return Outcome("error", "207", "The message is kept and waits for a person.")
        return STORED

    async def _reply(self, kept: _Kept, message: Message, receipt: Receipt) -> None:
        """Answer a query: what was asked for takes the place of the acknowledgement by the application."""
        profile = kept.profile
        try:
            classified = self.known.classify(message, profile)
            kept.understood = message, classified
            if classified.kind not in ("query", "order"):
                return
            context = Context(profile, receipt, ZoneInfo(profile.zone) if profile.zone else self.known.zone)
            async with asyncio.timeout(MAPPED_WITHIN):
                found = await replies(message, self.server, context)
        except Exception as error:
            # the device asks again; what it hears is that the query has arrived
            log.warning("a query has no answer", receipt=receipt.id, exception=type(error).__qualname__)
            return
        if found.answer is not None:
            accepted = [one for one in kept.answers if parse(one).get("MSA-1").startswith("C")]
            kept.answers = (*accepted, found.answer)
        kept.answers = (*kept.answers, *found.messages)

    async def tidy(self, days: int, seconds: float = TIDY_SECONDS, others: Sequence[Journal] = ()) -> None:
        """Let go of the messages that are done and older than so many days, for ever; the process that maps does it.

        `others` are where messages of this journal have come to be kept too.
        """
        while True:
            await asyncio.sleep(seconds)
            before = self._clock() - days * MICROSECONDS_OF_DAY
            for journal in (self.journal, *others):
                try:
                    forgotten = 1
                    while self.pipeline.owns and forgotten:
                        forgotten = await journal.forget(before)
                except Unreachable as error:
                    log.warning("old messages are kept for now", reason=str(error)[:200])

    # who has sent it

    def _source(
        self, sharing: Sequence[Connection], message: Message | None, address: str
    ) -> tuple[str, Profile]:
        """The name of the connection and the profile by which a message is answered."""
        application, facility = ("", "") if message is None else sender_of(message)
        try:
            connection = resolve(sharing, application, facility, address)
        except Held:
            if len(sharing) == 1 and message is None:
                return sharing[0].name, self.profile_named(sharing[0].profile)
            return unregistered(sharing[0].address if sharing else Address("", 0)), GENERIC
        return connection.name, self.profile_named(connection.profile)

    def profile_named(self, name: str) -> Profile:
        """The device profile, or the generic one."""
        return self.known.profiles.get(name, GENERIC)

    def profile_of(self, receipt: Receipt, message: Message) -> Profile:
        """The profile of a message in the journal. Raises Held when nobody is registered who could have sent it."""
        connection = self.config.connection(receipt.connection)
        if connection is None:
            port = receipt.connection.removeprefix("unregistered-")
            sharing = [c for c in self.config.connections if str(c.address.port) == port]
            connection = resolve(sharing, *sender_of(message))
        profile = self.known.profiles.get(connection.profile)
        if profile is None:
            raise Held(
                Problem(
                    "unregistered-source",
                    f"There is no device profile {connection.profile!r}.",
                    value=connection.profile,
                    holds=True,
                )
            )
        return profile

    def _became(self, entry: JournalEntry, handled: Handled) -> None:
        reasons = tuple(dict.fromkeys(p.reason for p in handled.problems))
        self.tallies.became(entry.receipt.connection, handled.state, reasons)
        self.tallies.depth = self.pipeline.depth


def _read(raw: bytes, batch: bool) -> Message | None:
    """The message, the first one of a batch; None for what is none."""
    try:
        if batch:
            raw = next(iter(split(raw).messages), raw)
        return parse(raw)
    except NotHl7:
        return None
