"""What a device or a laboratory tells, whatever it was written in: HL7 v2 segments and ASTM records become the same events.

An invariant to keep: an event holds what was told, as it was told; what it means is decided by `observations` and `reports`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from hl7_bridge.message import Delimiters, Segment, Value

EMPTY = Value("", Delimiters())


class Observed(Struct):
    """One result, of which a message may have hundreds: a Struct is made faster. `where` is where it stood (`OBX[3]`); `status` as in OBX-11; times as they were written."""

    code: Value
    kind: str
    values: tuple[Value, ...]
    unit: Value = EMPTY
    name: str = ""
    sub: str = ""
    flags: tuple[str, ...] = ()
    range: str = ""
    status: str = ""
    observed: str = ""
    analysed: str = ""
    run: str = ""
    producer: Value = EMPTY
    observers: tuple[Value, ...] = ()
    methods: tuple[Value, ...] = ()
    devices: tuple[Value, ...] = ()
    sites: tuple[Value, ...] = ()
    laboratory: Value = EMPTY
    identifier: Value = EMPTY
    notes: list[str] = []
    where: str = ""
    # the code by which the result is found again; '' until somebody asks
    key: str = ""


@dataclass(slots=True)
class Sampled:
    """A specimen. `number` is that by which it is known, `identifiers` all that were told (placer, filler, container)."""

    number: str = ""
    identifiers: tuple[str, ...] = ()
    kind: Value = EMPTY
    collected: tuple[str, str] = ("", "")
    received: str = ""
    role: str = ""
    condition: tuple[Value, ...] = ()
    container: Value = EMPTY
    site: Value = EMPTY
    quantity: Value = EMPTY
    method: Value = EMPTY
    accession: Value = EMPTY
    notes: list[str] = field(default_factory=list)
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """The result that a report goes on from, such as the organism of susceptibilities; `number` '' is that of the report."""

    code: str
    sub: str
    said: str
    number: str = ""


@dataclass(slots=True)
class Reported:
    """An order or a panel with its results. `control` as in ORC-1, `status` as in OBR-25, times as they were written."""

    placer: Value = EMPTY
    filler: Value = EMPTY
    # those of ORC where OBR tells its own
    beside: tuple[Value, Value] = (EMPTY, EMPTY)
    service: Value = EMPTY
    parent: Parent | None = None
    control: str = ""
    status: str = ""
    section: str = ""
    collected: tuple[str, str] = ("", "")
    reported: str = ""
    requesters: tuple[Value, ...] = ()
    interpreters: tuple[Value, ...] = ()
    technicians: tuple[Value, ...] = ()
    reasons: tuple[Value, ...] = ()
    specimens: list[Sampled] = field(default_factory=list)
    results: list[Observed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    order: Segment | None = None
    request: Segment | None = None


@dataclass(slots=True)
class Subject:
    """The patient as the sender knows them: identifiers as CX, and PID for whoever must make a patient of it.

    `number` is what stands where the profile says that the patient's number stands, when it says so.
    """

    identifiers: tuple[Value, ...] = ()
    number: str = ""
    segment: Segment | None = None
    visit: Value = EMPTY


@dataclass(slots=True)
class Results:
    """What one message tells of one patient. `sent` is when, as it was written."""

    subject: Subject
    reports: list[Reported]
    sent: str = ""
    delimiters: Delimiters = field(default_factory=Delimiters)
