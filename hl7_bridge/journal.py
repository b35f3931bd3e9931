"""The journal: what was received, and what became of it. An invariant to keep: what `receive` has given is durable.

An entry is a FHIR Binary with the bytes as they came (https://hl7.org/fhir/R4/binary.html); its tags say the rest. The receipt's id
is made of the connection and the bytes, so the same bytes again are a resend; MSH-10 is trusted for nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.draft import Entry
from hl7_bridge.mapping.records import Receipt

State = Literal["received", "mapped", "held", "dead-letter", "administrative", "incomplete", "discarded"]
STATES: tuple[State, ...] = (
    "received",
    "mapped",
    "held",
    "dead-letter",
    "administrative",
    "incomplete",
    "discarded",
)
# what a person has to look at
STUCK: tuple[State, ...] = ("held", "dead-letter", "incomplete")

OSLER = "https://osler.health/fhir/CodeSystem/hl7-"
STATE, CONNECTION, MESSAGE, PARTITION = (
    OSLER + "state",
    OSLER + "connection",
    OSLER + "message",
    OSLER + "partition",
)
# the Task that an entry waits for; the decision of a person about it; how often it was replayed
WAITS_FOR, DECISION, ATTEMPT = OSLER + "waits-for", OSLER + "decision", OSLER + "attempt"
MOST_TEXT = 1000
# the decision of the listener about what was broken off, and how
BROKEN_OFF = "broken-off"
# the role of a Binary that this journal keeps, where others may keep Binaries too
HL7, ASTM = "x-application/hl7-v2+er7", "text/x-astm"
MICROSECONDS_OF_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Received:
    """What `receive` gives; `duplicate` says that the same bytes had come by this connection already.

    `receipt.received` is the instant that was kept, so it is the same for the same bytes; `version` is that of the entry.
    """

    receipt: Receipt
    duplicate: bool
    version: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Where an entry stands. `version` is '' where the journal has no versions; `attempt` counts replays."""

    state: State = "received"
    partition: str = ""
    waits_for: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    attempt: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    receipt: Receipt
    status: Status = field(default_factory=Status)

    @property
    def id(self) -> str:
        return self.receipt.id


class Journal(Protocol):
    """What receives and remembers. Raises Unreachable when nothing can be kept just now; then nothing was.

    `apart`: it is not in the server's own store, so a message may have been delivered that it does not know of as such.
    """

    apart: bool

    async def receive(self, connection: str, raw: bytes, now: int, *, broken: str = "") -> Received:
        """Keep the bytes; durable when it returns. `broken` says how a message was broken off (`framing.Broken`), '' when it was not."""

    async def waiting(self, limit: int, known: Container[str] = ()) -> Sequence[JournalEntry]:
        """The first entries in the state received, in the order in which they came; those not told whose ids are `known`."""

    async def read(self, id: str) -> JournalEntry | None: ...

    def change(self, entry: JournalEntry, status: Status) -> tuple[Entry, ...]:
        """What goes into the transaction so that the entry has another status with it, if it stands where it stood."""

    async def settle(self, entry: JournalEntry, status: Status) -> None:
        """Note what a transaction with `change` in it has come to, for a journal that is not in the server's own store."""

    async def waiting_for(self, task: str) -> Sequence[str]:
        """The ids of the entries that wait for a Task, in the order in which they came."""

    async def stuck(self) -> Sequence[JournalEntry]:
        """The entries that wait for Tasks, in the order in which they came."""

    async def replay(self, ids: Collection[str], task: str = "", decision: str = "") -> int:
        """Let entries be mapped again, in the order in which they came; how many were.

        With a `task` only those that wait for it when they are written; what is waiting to be mapped already stays so.
        """

    async def discard(self, ids: Collection[str], task: str) -> int:
        """Let entries wait for a Task no more; those that were not mapped are given up. How many."""

    async def forget(self, before: int) -> int:
        """Retention: let go of the bytes of entries that are done and came before an instant; how many."""

    async def counts(self) -> Mapping[tuple[str, State], int]:
        """The number of entries by connection and state."""

    async def last(self, connection: str) -> int | None:
        """When the last message of a connection was received that was none before; None without any."""

    async def news(self) -> int:
        """A number that grows when an entry or a Task was written, by whomever."""

    async def own(self, owner: str, seconds: float) -> bool:
        """Be the one who maps, for so long; False while another is."""


def receipt_id(connection: str, raw: bytes, number: int = 1, *, complete: bool = True) -> str:
    """The id of the first receipt of these bytes, or of a later one when the window of resends has passed.

    What was broken off is never taken for the whole message, though it may lack nothing but the end mark.
    """
    who = connection.encode() + (b"" if complete else b"\0broken off")
    digest = hashlib.sha256(who + b"\0" + raw).hexdigest()[:40]
    return digest if number == 1 else f"{digest}-{number}"


def message_type(raw: bytes) -> str:
    """MSH-9.1 and MSH-9.2 as far as they can be seen at once, '' when not."""
    start = raw.find(b"MSH")
    if start < 0 or len(raw) < start + 8:
        return ""
    header = raw[start : start + 1000].split(b"\r", 1)[0].split(b"\n", 1)[0]
    fields = header.split(header[3:4], 9)
    if len(fields) < 9:
        return ""
    parts = fields[8].split(header[4:5])[:2]
    text = "^".join(p.decode("ascii", "replace").strip() for p in parts)
    return text if 0 < len(text) <= 20 and text.isprintable() else ""


def first_status(broken: str = "", version: str = "") -> Status:
    """Where an entry stands when it is made; `broken` as in `Journal.receive`."""
    return Status(decisions=(f"{BROKEN_OFF} {broken}",) if broken else (), version=version)


def broken_off(status: Status) -> str | None:
    """How the message of an entry was broken off; None when it was not."""
    if not status.decisions:
        return None
    found = (d for d in status.decisions if d.partition(" ")[0] == BROKEN_OFF)
    return next((d.partition(" ")[2] for d in found), None)


def discarded(status: Status, task: str) -> Status:
    """The status of an entry after it was decided that nothing is done about what a Task says."""
    waits_for = tuple(one for one in status.waits_for if one != task)
    return replace(status, state="discarded" if status.state in STUCK else status.state, waits_for=waits_for)


def replayed(status: Status, decision: str) -> Status:
    """The status of an entry that is to be mapped again, with what was decided about it."""
    decisions = status.decisions
    if decision and decision not in decisions:
        decisions = (*decisions, decision)
    return replace(status, state="received", decisions=decisions, attempt=status.attempt + 1)


def plain(text: str) -> str:
    """The text as a FHIR string can have it: bytes that were no text are shown, control characters are spaces."""
    if text.isprintable():
        return text[:MOST_TEXT].strip()
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else " " for c in shown)[:MOST_TEXT].strip()


def tag(system: str, code: str) -> dict[str, str]:
    """A tag; a code has single spaces only."""
    return {"system": system, "code": " ".join(plain(code).split())}


def binary_of(receipt: Receipt, status: Status) -> Resource:
    """The entry as a Binary."""
    tags = [tag(STATE, status.state), tag(CONNECTION, receipt.connection)]
    kind = message_type(receipt.raw)
    tags += [tag(MESSAGE, kind)] if kind else []
    if status.partition:
        tags += [tag(PARTITION, key) for key in status.partition.split("\n") if plain(key)]
    tags += [tag(WAITS_FOR, task) for task in status.waits_for]
    tags += [tag(DECISION, decision) for decision in status.decisions]
    tags += [tag(ATTEMPT, str(status.attempt))] if status.attempt else []
    return {
        "resourceType": "Binary",
        "id": receipt.id,
        "meta": {"tag": tags},
        "contentType": HL7 if receipt.raw.lstrip()[:3] in (b"MSH", b"FHS", b"BHS") else ASTM,
        "data": base64.b64encode(receipt.raw).decode(),
    }


def status_of(binary: Mapping[str, Any]) -> Status | None:
    """Where the entry stands that a Binary is; None for one that is none."""
    meta = binary.get("meta", {})
    found: dict[str, list[str]] = {}
    for one in meta.get("tag", ()):
        found.setdefault(one.get("system", ""), []).append(one.get("code", ""))
    state = next((s for s in STATES if s == found.get(STATE, [""])[0]), None)
    if state is None:
        return None
    attempt = found.get(ATTEMPT, ["0"])[0]
    return Status(
        state,
        "\n".join(found.get(PARTITION, ())),
        tuple(found.get(WAITS_FOR, ())),
        tuple(found.get(DECISION, ())),
        int(attempt) if attempt.isdigit() else 0,
        meta.get("versionId", ""),
    )


def connection_of(binary: Mapping[str, Any]) -> str:
    tags = binary.get("meta", {}).get("tag", ())
    return next((str(t.get("code", "")) for t in tags if t.get("system") == CONNECTION), "")


def entry_of(binary: Mapping[str, Any], received: int) -> JournalEntry | None:
    """The entry that a Binary is, received at an instant; None for a Binary that is none."""
    status = status_of(binary)
    if status is None:
        return None
    raw = base64.b64decode(binary.get("data", ""))
    return JournalEntry(Receipt(binary["id"], connection_of(binary), received, raw), status)
