"""What becomes of a folder of messages: read, told to a bridge once and again, and looked at afterwards.

The folder has `manifest.csv` with a column `file` (addresses below it). An invariant to keep: only counts leave this module, nothing
that a message says.
"""

from __future__ import annotations

import asyncio
import csv
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from importlib import import_module
from pathlib import Path
from typing import Any

from fhir_r4.jsonio import decode_object
from fhir_server.settings import Settings
from hl7_bridge.bridge import Bridge, Known
from hl7_bridge.config import Address, Connection
from hl7_bridge.devices.loading import library
from hl7_bridge.devices.profile import Profile
from hl7_bridge.journal import receipt_id
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.mapping.units import is_ucum, read_unit
from hl7_bridge.message import Message, NotHl7, parse
from hl7_bridge.pipeline import Pace
from tests.bridge.core import bridge_of, until
from tests.conftest import Client, start, stop

CONNECTION = "lab"
SENDERS = 4
QUIET_SECONDS = 300.0
# what says how often and when something was done, not what is known
BOOKKEEPING = ("Binary", "Provenance", "Task")
_NUMBER = re.compile(r"\d+(?:[.,' ]\d+)*(?:[eE][+-]?\d+)?|[.,]\d+")

Key = tuple[str, str]
State = dict[Key, dict[str, Any]]


def corpus(folder: Path) -> list[bytes]:
    """The messages of the folder."""
    with (folder / "manifest.csv").open(encoding="utf-8") as manifest:
        return [(folder / row["file"]).read_bytes() for row in csv.DictReader(manifest)]


# reading


@dataclass(slots=True)
class Reading:
    """How messages were read. `compared` is how many another parser could read too, `otherwise` how many it read otherwise."""

    messages: int = 0
    read: int = 0
    exact: int = 0
    lost: int = 0
    compared: int = 0
    fields: int = 0
    otherwise: Counter[str] = field(default_factory=Counter)
    peer: str = ""


def read_all(raws: Sequence[bytes]) -> Reading:
    """Read every message, write it again, and read it with python-hl7 where that is installed."""
    found = Reading(len(raws))
    try:
        peer = import_module("hl7")
    except ImportError:
        peer = None
    for raw in raws:
        try:
            message = parse(raw)
        except NotHl7:
            continue
        found.read += 1
        found.exact += message.encode() == raw
        lines = [line for line in re.split(rb"[\r\n]+", raw) if re.match(rb"[A-Z][A-Z0-9]{2}", line.strip())]
        found.lost += max(0, len(lines) - len(message.segments))
        if peer is not None:
            found.peer = "python-hl7"
            _compare(peer, raw, message, found)
    return found


def _compare(peer: Any, raw: bytes, message: Message, found: Reading) -> None:
    try:
        # it knows one end of a segment
        text = "\r".join(line for line in re.split(r"[\r\n]+", raw.decode(message.charset)) if line.strip())
        theirs = [[str(one) for one in segment] for segment in peer.parse(text)]
    except Exception:
        # what the other parser cannot read says nothing about ours
        return
    found.compared += 1
    # lines with nothing on them are kept here, and were left away there
    told_lines = [segment for segment in message.segments if segment.line.strip()]
    if len(theirs) != len(told_lines):
        found.otherwise["another number of segments"] += 1
        return
    for ours, fields in zip(told_lines, theirs, strict=True):
        found.fields += len(fields)
        for n, told in enumerate(fields):
            if ours.raw(n) != told.rstrip("\r\n"):
                found.otherwise["white space" if ours.raw(n).split() == told.split() else ours.name] += 1


# units, controls


@dataclass(slots=True)
class Units:
    """The distinct units of results. `wrong` have a code that is not UCUM."""

    told: int = 0
    coded: int = 0
    text: int = 0
    wrong: int = 0


def units_of(raws: Sequence[bytes]) -> Units:
    seen: set[tuple[str, str, str]] = set()
    for message in _messages(raws):
        for segment in message.all("OBX"):
            value = segment.value(6)
            if not value.empty:
                seen.add((value.text(1), value.text(2), value.text(3)))
    found = Units(len(seen))
    for one in seen:
        unit = read_unit(*one)
        found.coded += bool(unit.code)
        found.text += bool(not unit.code and unit.text)
        found.wrong += bool(unit.code) and not is_ucum(unit.code)
    return found


def is_control(message: Message) -> bool:
    """Whether the standard's own marks say that all of a message is about controls or calibrators."""
    roles = {segment.text(11) for segment in message.all("SPM")}
    marked = message.get("MSH-11") == "Q" or message.get("MSH-16") in ("1", "2")
    return message.type in ("ORU", "OUL") and (marked or (bool(roles) and roles <= {"Q", "C"}))


def _messages(raws: Iterable[bytes]) -> Iterator[Message]:
    for raw in raws:
        try:
            yield parse(raw)
        except NotHl7:
            continue


# telling them to a bridge


@dataclass(slots=True)
class Outcome:
    """What telling the messages came to.

    `looks` at random moments, of which `unbalanced` found a message in no state or in two. `written_again` are versions that
    a resend wrote, `changed_again` resources that are otherwise after every message was mapped anew.
    """

    sent: int = 0
    distinct: int = 0
    states: dict[str, int] = field(default_factory=dict)
    looks: int = 0
    unbalanced: int = 0
    written_again: int = 0
    mapped_again: int = 0
    known: int = 0
    changed_again: Counter[str] = field(default_factory=Counter)
    controls: int = 0
    observations_of_controls: int = 0
    quantities: int = 0
    invented: int = 0


async def tell(raws: Sequence[bytes], store: str = "memory:", again: bool = True) -> Outcome:
    """Tell messages to a bridge, tell them again, and let it map them again."""
    client = await start(Settings(store=store, log_level="error"))
    profiles = library()
    # results of people who are not known make them known here: so more is mapped
    open_to_all = replace(Profile(), patient=replace(Profile().patient, unmatched="create"))
    known = Known(MAPPINGS, classify, {**profiles, "generic": open_to_all})
    connection = Connection(CONNECTION, Address("127.0.0.1", 2575))
    bridge = bridge_of(client, known, Pace(look=0.02), connections=(connection,))
    bridge.pipeline.start()
    found = Outcome(len(raws), len(set(raws)))
    try:
        await _send(bridge, connection, raws, found)
        found.states = await _quiet(bridge)
        if sum(found.states.values()) < found.distinct:
            found.unbalanced += 1
        before = await state_of(client)
        _look_at(before, raws, found)
        if not again:
            return found
        since = await client.app.services.store.last_sequence()
        await _send(bridge, connection, raws, found)
        await _quiet(bridge)
        found.written_again = await _written(client, since)
        mapped = [
            id
            for (type, id), binary in before.items()
            if type == "Binary" and ("mapped" in _tags(binary)) and ("Provenance", id) in before
        ]
        found.mapped_again = await bridge.journal.replay(mapped)
        await _quiet(bridge)
        after = await state_of(client)
        kept = {key: one for key, one in before.items() if key[0] not in BOOKKEEPING}
        found.known = len(kept)
        later = {key: one for key, one in after.items() if key[0] not in BOOKKEEPING}
        found.changed_again.update(
            key[0] for key in kept.keys() | later.keys() if kept.get(key) != later.get(key)
        )
        return found
    finally:
        await bridge.pipeline.close()
        await stop(client)


async def _send(bridge: Bridge, connection: Connection, raws: Sequence[bytes], found: Outcome) -> None:
    """Several senders at once; the balance is looked at between whiles."""
    dice = random.Random(1)
    queue = iter(raws)
    already = sum((await bridge.journal.counts()).values())
    twice = bridge.tallies.of(connection.name).duplicates

    async def sends() -> None:
        for raw in queue:
            await bridge.arrived((connection,), raw)

    loads = asyncio.gather(*(sends() for _ in range(SENDERS)))
    while not loads.done():
        tally = bridge.tallies.of(connection.name)
        least = tally.received
        entries = sum((await bridge.journal.counts()).values())
        told_twice = tally.duplicates
        found.looks += 1
        # what a sender is being answered for may be in the journal and not yet be tallied; messages of batches are kept besides
        if not least <= entries + told_twice <= tally.received + SENDERS:
            found.unbalanced += 1
        await asyncio.sleep(dice.uniform(0, 0.02))
    await loads
    entries = sum((await bridge.journal.counts()).values())
    tally = bridge.tallies.of(connection.name)
    if entries - already + tally.duplicates - twice < len(raws):
        found.unbalanced += 1


async def _quiet(bridge: Bridge) -> dict[str, int]:
    async def states() -> dict[str, int]:
        found: Counter[str] = Counter()
        for (_, state), count in (await bridge.journal.counts()).items():
            found[state] += count
        return {state: count for state, count in found.items() if count}

    return await until(states, lambda found: "received" not in found, QUIET_SECONDS)  # type: ignore[no-any-return]


async def state_of(client: Client) -> State:
    """All resources without what the server says of their versions."""
    found: State = {}
    async for stored in client.app.services.store.changes(0):
        key = stored.type, stored.id
        if stored.deleted:
            found.pop(key, None)
            continue
        resource = dict(decode_object(stored.body))
        meta = {k: v for k, v in resource.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
        found[key] = {**resource, "meta": meta}
    return found


async def _written(client: Client, since: int) -> int:
    return len([stored async for stored in client.app.services.store.changes(since)])


def _tags(resource: Mapping[str, Any]) -> set[str]:
    return {one.get("code", "") for one in resource.get("meta", {}).get("tag", ())}


# looking at what is there


def _look_at(state: State, raws: Sequence[bytes], found: Outcome) -> None:
    by_receipt = {receipt_id(CONNECTION, raw): raw for raw in raws}
    of: dict[str, list[bytes]] = {}
    for (type, id), resource in state.items():
        if type != "Provenance" or id not in by_receipt:
            continue
        targets = [one["reference"] for one in resource["target"]]
        for target in targets:
            of.setdefault(target.partition("/_history")[0], []).append(by_receipt[id])
    controls = [message.raw for message in _messages(raws) if is_control(message)]
    found.controls = len(controls)
    for (type, id), resource in state.items():
        if type != "Observation":
            continue
        sources = of.get(f"{type}/{id}", [])
        found.observations_of_controls += any(raw in controls for raw in sources)
        told = {number for raw in sources for number in _numbers(raw)}
        for number in _quantities(resource):
            found.quantities += 1
            found.invented += number not in told


def _quantities(node: Any) -> Iterator[Decimal]:
    """The numbers of all quantities in a resource."""
    if isinstance(node, list):
        for one in node:
            yield from _quantities(one)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "value" and isinstance(value, Decimal | int) and not isinstance(value, bool):
                yield abs(Decimal(value))
            else:
                yield from _quantities(value)


def _numbers(raw: bytes) -> Iterator[Decimal]:
    """The numbers that are written in a message, in every way of writing numbers."""
    for one in _NUMBER.findall(raw.decode("utf-8", "replace")):
        ways = {one, one.replace(",", ""), one.replace(",", "."), one.replace(".", "").replace(",", ".")}
        for way in ways | {part for part in re.split(r"[, ']", one) if part}:
            try:
                yield abs(Decimal(way.replace(" ", "").replace("'", "")))
            except InvalidOperation:
                continue
