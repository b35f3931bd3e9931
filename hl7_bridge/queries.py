"""What devices ask, and what is answered and sent: the orders that wait for a specimen.

Sources: IHE LAB LAB-27 and LAB-28 (QBP^Q11: the query is acknowledged by RSP^K11, and the orders are *sent* by OML^O33, or one that says DC
where there is no work); HL7 v2.5.1 chapter 5 for RSP^K11, 2.3.1 for QRY/QCK/DSR; the bedside queries Z01 and Z03. Invariants to keep: a query
changes nothing; the same query of the same receipt is answered by the same bytes as long as the orders are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hl7_bridge.delivery import FhirServer
from hl7_bridge.devices.conditions import picked
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results.worklist import Work, find_all_work, find_work
from hl7_bridge.message import NULL, Message
from hl7_bridge.serializer import Field, One, Route, Segment, build, header, segment, timestamp

# what means something in a search parameter
_SPECIAL = re.compile(r"[\\,|$]")
WOS = ("WOS", "Work Order Step", "IHE_LABTF")


@dataclass(frozen=True, slots=True)
class Replies:
    """What a query calls for: the answer on the same connection, and messages that we send next, each of our own accord.

    `answer` takes the place of the acknowledgement by the application; None: the ordinary one says all there is to say.
    """

    answer: bytes | None = None
    messages: tuple[bytes, ...] = ()


NOTHING = Replies()


async def replies(message: Message, server: FhirServer, context: Context) -> Replies:
    """What is answered to a query, and sent. Raises Refused, Unreachable."""
    asker = _Asker(message, server, context)
    kind = (message.type, message.trigger)
    if message.type == "QBP" and message.trigger in ("Z01", "Z03"):
        return await _bedside(asker)
    if message.type == "QBP":
        return await (
            _law(asker) if context.profile.orders in ("law", "broadcast", "none") else _in_response(asker)
        )
    if kind in (("QRY", "Q02"), ("QRY", "Q01"), ("QRY", "")):
        return await _display(asker)
    if kind == ("ORM", "O01"):
        return await _by_order(asker)
    return NOTHING


class _Asker:
    """A query with what its answers have in common."""

    def __init__(self, message: Message, server: FhirServer, context: Context) -> None:
        self.message = message
        self.context = context
        self.draft = Draft(server, context.receipt.id)
        self.zone = context.zone
        self.at = datetime.fromtimestamp(context.receipt.received // 1_000_000, UTC).astimezone(self.zone)
        self._count = 0

    @property
    def profile(self) -> Profile:
        return self.context.profile

    def header(
        self, *type: str, accept: str = "", application: str = "", profiles: Sequence[One] = ()
    ) -> Segment:
        """MSH of an answer: back to whom it came from, in the version that was asked in."""
        head = self.message.header
        self._count += 1
        old = self.message.version < "2.4"
        return header(
            Route(_whole(head, 5), _whole(head, 6), _whole(head, 3), _whole(head, 4)),
            type[:2] if old else type,
            f"{self.context.receipt.id[:16]}-{self._count}",
            self.at.replace(tzinfo=None) if old else self.at,
            self.message.version or "2.5.1",
            accept,
            application,
            profiles,
            head.text(11) or "P",
            head.text(18) or "UNICODE UTF-8",
        )

    def build(self, *segments: Segment) -> bytes:
        """The bytes, in the character set that was asked in."""
        try:
            return build(segments, self.message.delimiters, self.message.charset)
        except UnicodeEncodeError:
            return build(segments, self.message.delimiters)

    def accepted(self, code: str = "AA", *more: Field) -> Segment:
        return segment("MSA", code, self.message.control_id, *more)

    def echo(self, name: str) -> list[Segment]:
        """A segment of the query, as it was."""
        found = self.message.first(name)
        if found is None:
            return []
        fields: dict[int, Field] = {
            n: [value.components() for value in found.values(n)] or None for n in range(1, found.length + 1)
        }
        return [Segment(name, fields)]

    async def work(self, number: str) -> list[Work]:
        return await find_work(number, self.draft, self.context) if number not in ("", NULL) else []


def _whole(head: Any, field: int) -> One:
    parts: tuple[str, ...] = head.value(field).components()
    return parts if any(parts) else None


# IHE LAW


async def _law(asker: _Asker) -> Replies:
    """LAB-27: the query is acknowledged as such; then a LAB-28 for each specimen, with orders or with DC.

    A query for everything (WOS_ALL) is told of each specimen with work. One by a place in a rack (QPD-4, QPD-5) or a tray (QPD-6, QPD-7)
    is told DC for that place: where a device has put a specimen is known to the device alone. One by an isolate names it and the specimen
    that it is of (QPD-3 and QPD-9) and is told of the isolate, with the other as its parent.
    """
    message = asker.message
    query = message.first("QPD")
    tag = query.text(2) if query is not None else ""
    numbers = _numbers(query, 3) if query is not None else []
    parents = _numbers(query, 9) if query is not None else []
    answer = asker.build(
        asker.header("RSP", "K11", "RSP_K11", accept="NE", application="NE", profiles=[("LAB-27", "IHE")]),
        asker.accepted(),
        segment("QAK", tag, "OK", query.value(1).components() if query is not None else WOS),
        *asker.echo("QPD"),
    )
    if parents:
        isolate, parent = await _isolate(asker, *numbers[:1], *parents[:1])
        return Replies(answer, (_law_order(asker, isolate, await asker.work(isolate), parent=parent),))
    sent = [_law_order(asker, number, await asker.work(number)) for number in numbers]
    if not numbers and query is not None:
        sent = await _law_without_number(asker, query)
    return Replies(answer, tuple(sent))


def _numbers(query: Any, field: int) -> list[str]:
    return [one for value in query.values(field) if (one := value.text(1).strip()) not in ("", NULL)]


async def _isolate(asker: _Asker, first: str, second: str = "") -> tuple[str, str]:
    """The number of an isolate, and that of the specimen it is of.

    Analysers do not agree on which field of the query has which: the records tell (Specimen.parent). Where they do not, QPD-3 has the
    container that is asked about, as in every query, and QPD-9 its parent, unless there is work for that one alone.
    """
    if not second:
        return first, ""
    found: dict[str, str] = {}
    of: dict[str, list[str]] = {}
    for number in (first, second):
        for one in await asker.draft.find("Specimen", [("identifier", _SPECIAL.sub(r"\\\g<0>", number))], 2):
            found[f"Specimen/{one['id']}"] = number
            of[number] = [parent.get("reference", "") for parent in one.get("parent", [])]
    for child, parent in ((first, second), (second, first)):
        if any(found.get(reference) == parent for reference in of.get(child, ())):
            return child, parent
    if not await asker.work(first) and await asker.work(second):
        return second, first
    return first, second


async def _law_without_number(asker: _Asker, query: Any) -> list[bytes]:
    """What is sent to a query that names no specimen: all work there is, or that there is none at a place."""
    places = {
        mine: query.value(theirs).components() for theirs, mine in _PLACES if not query.value(theirs).empty
    }
    if places:
        return [_law_order(asker, NULL, (), places)]
    found: dict[str, list[Work]] = {}
    for one in await find_all_work(asker.draft, asker.context):
        found.setdefault(one.specimen, []).append(one)
    return [_law_order(asker, *each) for each in found.items()] or [_law_order(asker, NULL, ())]


# where a specimen stands: the field of QPD, and that of SAC
_PLACES = ((4, 10), (5, 11), (6, 13), (7, 14), (8, 15))


def _law_order(
    asker: _Asker,
    number: str,
    work: Sequence[Work],
    places: Mapping[int, tuple[str, ...]] = {},
    parent: str = "",
) -> bytes:
    """LAB-28: OML^O33 of one specimen; `places` are fields of SAC that say where it stands, `parent` is what an isolate is of."""
    head = asker.header("OML", "O33", "OML_O33", accept="NE", application="AL", profiles=[("LAB-28", "IHE")])
    first = work[0] if work else None
    specimen = segment(
        "SPM",
        "1",
        ((number,),),
        ((parent,),) if parent else None,
        _kind(first),
        None,
        None,
        None,
        None,
        None,
        None,
        ("P", "Patient", "HL70369"),
    )
    container = Segment("SAC", {3: (number,), **({4: (parent,)} if parent else {}), **places})
    time = timestamp(asker.at)
    if first is None:
        order = segment("ORC", "DC", None, None, None, None, None, None, None, time)
        return asker.build(head, specimen, container, order)
    parts = [head, *_patient(first.patient), specimen, container]
    for n, one in enumerate(work, 1):
        parts += [
            segment("ORC", "NW", one.number, None, None, None, None, None, None, time),
            Segment("TQ1", {1: "1", 9: (one.priority, "", "HL70485")}),
            segment("OBR", str(n), one.number, None, one.code),
        ]
    return asker.build(*parts)


# orders in the response, as older devices want them


async def _in_response(asker: _Asker) -> Replies:
    """RSP^K11 with the orders in it."""
    query = asker.message.first("QPD")
    tag = query.text(2) if query is not None else ""
    number = query.text(3) if query is not None else ""
    work = await asker.work(number)
    name = query.value(1).components() if query is not None else None
    parts = [
        asker.header("RSP", "K11", "RSP_K11"),
        asker.accepted(),
        segment("QAK", tag, "OK" if work else "NF", name, str(len(work)), str(len(work)), "0"),
        *asker.echo("QPD"),
    ]
    return Replies(asker.build(*parts, *_orders(asker, work)))


async def _bedside(asker: _Asker) -> Replies:
    """Z01 asks for all orders, Z03 for those of a specimen (QPD-4) or patient (QPD-3): RSP^Z02."""
    query = asker.message.first("QPD")
    tag = query.text(2) if query is not None else ""
    everything = asker.message.trigger == "Z01" or (query is not None and query.text(3).upper() == "ALL")
    if everything or query is None:
        work = await find_all_work(asker.draft, asker.context)
    else:
        work = await asker.work(query.text(4).strip() or query.text(3).strip())
    name = query.value(1).components() if query is not None else None
    parts = [
        asker.header("RSP", "Z02", accept="NE", application="NE"),
        asker.accepted(),
        segment("QAK", tag, "OK" if work else "NF", name),
        *asker.echo("QPD"),
    ]
    for one in work:
        time = timestamp(asker.at.replace(tzinfo=None))
        parts += _patient(one.patient) or [segment("PID", "1", one.patient.get("id", ""))]
        parts += [
            segment("ORC", "NW", one.number, None, None, None, None, None, None, time),
            Segment("OBR", {1: "1", 4: one.code, 11: "A"}),
            Segment("TQ1", {9: one.priority}),
            segment(
                "SPM",
                "1",
                (one.specimen, ""),
                None,
                one.kind or "ORH",
                None,
                None,
                None,
                None,
                None,
                None,
                "P",
            ),
        ]
    return Replies(asker.build(*parts))


def _orders(asker: _Asker, work: Sequence[Work]) -> list[Segment]:
    parts: list[Segment] = []
    for n, one in enumerate(work, 1):
        if n == 1:
            parts += _patient(one.patient)
            parts.append(
                segment(
                    "SPM", "1", ((one.specimen,),), None, _kind(one), None, None, None, None, None, None, "P"
                )
            )
        parts += [
            segment("ORC", "NW", one.number, None, None, None, None, None, None, timestamp(asker.at)),
            segment("OBR", str(n), one.number, None, one.code),
        ]
    return parts


# queries of 2.3.1


async def _display(asker: _Asker) -> Replies:
    """QRY^Q02: QCK^Q02, then DSR^Q03 with what the device shows, line by line; QRY^Q01: DSR^Q01 at once."""
    message = asker.message
    number = message.get("QRD-8").strip()
    work = await asker.work(number)
    status = segment("QAK", "SR", "OK" if work else "NF")
    told = asker.accepted("AA", "Message accepted", None, None, "0")
    if message.trigger == "Q01":
        lines = _lines(number, work)
        return Replies(
            asker.build(
                asker.header("DSR", "Q01"), told, status, *asker.echo("QRD"), *asker.echo("QRF"), *lines
            )
        )
    answer = asker.build(asker.header("QCK", "Q02"), told, segment("ERR", "0"), status)
    if not work:
        return Replies(answer)
    sent = asker.build(
        asker.header("DSR", "Q03"),
        told,
        segment("ERR", "0"),
        status,
        *asker.echo("QRD"),
        *asker.echo("QRF"),
        *_lines(number, work),
        segment("DSC"),
    )
    return Replies(answer, (sent,))


def _lines(number: str, work: Sequence[Work]) -> list[Segment]:
    """DSP lines as chemistry analysers read them: 1 patient, 3 name, 4 birth date, 5 sex, 21 barcode, 24 urgent, 26 specimen, tests from 29."""
    if not work:
        return []
    first = work[0]
    patient = first.patient
    told: dict[int, One] = dict.fromkeys(range(1, 29), "")
    told[1] = _number(patient)
    told[3] = _name(patient)
    told[4] = (
        str(patient.get("birthDate", "")).replace("-", "").ljust(14, "0") if patient.get("birthDate") else ""
    )
    told[5] = {"male": "M", "female": "F"}.get(str(patient.get("gender", "")), "O")
    told[21] = number
    told[22] = first.number
    told[24] = "Y" if first.priority in ("S", "A") else "N"
    told[26] = first.kind_name or "serum"
    for n, one in enumerate(work):
        told[29 + n] = (one.code[0], one.code[1], "", "")
    return [segment("DSP", str(n), None, line) for n, line in told.items()]


async def _by_order(asker: _Asker) -> Replies:
    """ORM^O01 of a device that asks (ORC-1 is RF): ORR^O02 with the patient and the order, AR where there is none."""
    at_hand = {one.name: one for one in asker.message.segments}
    number = (
        picked(asker.profile.specimen.paths, at_hand)
        or asker.message.get("ORC-3")
        or asker.message.get("ORC-2")
    )
    work = await asker.work(number)
    head = asker.header("ORR", "O02")
    if not work:
        return Replies(asker.build(head, asker.accepted("AR", "Unknown key identifier", None, None, "204")))
    parts = [head, asker.accepted(), *_patient(work[0].patient)]
    for n, one in enumerate(work, 1):
        parts += [segment("ORC", "AF", number), segment("OBR", str(n), number, None, one.code)]
    return Replies(asker.build(*parts))


# parts


def _patient(patient: Mapping[str, Any]) -> list[Segment]:
    number = _number(patient)
    if not number:
        return []
    names = patient.get("name", [])
    name: Mapping[str, Any] = names[0] if names else {}
    given = name.get("given", [])
    fields: dict[int, Field] = {
        1: "1",
        3: (number, "", "", "", "MR"),
        # PID-5 is required; U is a name of which nothing is known (table 0200)
        5: (name.get("family", ""), given[0] if given else "") if name else ("", "", "", "", "", "", "U"),
        7: str(patient.get("birthDate", "")).replace("-", "") or None,
        8: {"male": "M", "female": "F", "other": "O"}.get(str(patient.get("gender", "")), "U"),
    }
    return [Segment("PID", fields)]


def _number(patient: Mapping[str, Any]) -> str:
    """The record number, or the first that the patient has."""
    identifiers: list[dict[str, Any]] = [one for one in patient.get("identifier", []) if "value" in one]

    def is_record(one: Mapping[str, Any]) -> bool:
        return any(coding.get("code") == "MR" for coding in one.get("type", {}).get("coding", []))

    found = next((one for one in identifiers if is_record(one)), identifiers[0] if identifiers else {})
    return str(found.get("value", ""))


def _name(patient: Mapping[str, Any]) -> str:
    names = patient.get("name", [])
    if not names:
        return ""
    return " ".join([*names[0].get("given", [])[:1], names[0].get("family", "")]).strip()


def _kind(work: Work | None) -> One:
    """SPM-4, which must be told; NULL where nobody knows."""
    if work is None or not work.kind:
        return NULL
    return (work.kind, work.kind_name, "HL70487")
