"""Encounters as stays: which beds they hold, what they need, and what they claim.

https://hl7.org/fhir/R4/encounter.html. Pure. A stay in a bed holds it without end; a reservation holds it for its period, and
when it has a hold time, until then. An invariant to keep: a stay that has ended holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fhir_r4.references import local_id
from fhir_r4.temporal import OPEN_HIGH, OPEN_LOW, parse_interval
from fhir_server.context import Resource
from fhir_server.resources.beds.places import OSLER, parts_of, says_bed
from fhir_server.store.records import Claim

HOLD_EXPIRES = OSLER + "hold-expires"
EXPECTED_DISCHARGE = OSLER + "expected-discharge"
NEEDS = OSLER + "bed-requirements"
OVERRIDE = OSLER + "ward-rule-override"
REVERSAL = OSLER + "encounter-reversal"

INPATIENT = frozenset({"IMP", "ACUTE", "NONAC"})
PRESENT = frozenset({"arrived", "triaged", "in-progress", "onleave"})
LIVE = PRESENT | {"planned"}
ENDED = frozenset({"finished", "cancelled", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of Encounter.location that names a Location of this server.

    `state` is `active`, `reserved` or `over`; instants in microseconds, None where they are open.
    """

    index: int
    location: str
    state: str
    start: int | None
    end: int | None
    says_bed: bool
    expires: int | None = None

    @property
    def interval(self) -> tuple[int, int]:
        return (
            OPEN_LOW if self.start is None else self.start,
            OPEN_HIGH if self.end is None else self.end,
        )

    def holds(self, now: int) -> bool:
        """Whether the place is taken, or kept from now on or later."""
        if self.state == "reserved":
            return self.interval[1] > now and (self.expires is None or self.expires > now)
        return self.state == "active"


def is_inpatient(encounter: Resource) -> bool:
    return encounter.get("class", {}).get("code") in INPATIENT


def status(encounter: Resource | None) -> str:
    """The status; `entered-in-error` for what does not exist."""
    return "entered-in-error" if encounter is None else str(encounter.get("status"))


def is_lying(encounter: Resource | None) -> bool:
    """Whether this is an inpatient who has come and not gone."""
    return encounter is not None and status(encounter) in PRESENT and is_inpatient(encounter)


def places_of(encounter: Resource | None, bases: Sequence[str] = ()) -> tuple[Place, ...]:
    """The places of a stay, in their order."""
    return () if encounter is None else tuple(_places(encounter, bases))


def _places(encounter: Resource, bases: Sequence[str]) -> Iterator[Place]:
    stay_status = status(encounter)
    for index, entry in enumerate(encounter.get("location", ())):
        id = local_id(entry.get("location"), "Location", bases)
        if id is None:
            continue
        period = entry.get("period") or {}
        state = _state(stay_status, entry.get("status"), "end" in period)
        if state == "reserved" and not period:
            period = encounter.get("period") or {}
        yield Place(
            index,
            id,
            state,
            start_of(period.get("start")),
            end_of(period.get("end")),
            says_bed(entry.get("physicalType")),
            _instant(entry, HOLD_EXPIRES),
        )


def _state(stay: str, said: str | None, ended: bool) -> str:
    if stay not in LIVE or said == "completed" or (said is None and ended):
        return "over"
    if said in ("reserved", "planned") or (said is None and stay == "planned"):
        return "reserved"
    return "active"


def start_of(text: str | None) -> int | None:
    return None if text is None else parse_interval(text)[0]


def end_of(text: str | None) -> int | None:
    """The end of a Period: what is written to the second or finer is that instant, a day lasts until midnight."""
    if text is None:
        return None
    low, high = parse_interval(text)
    return low if "T" in text else high


def _instant(element: Resource, url: str) -> int | None:
    for extension in element.get("extension", ()):
        if extension.get("url") == url:
            return start_of(extension.get("valueInstant", extension.get("valueDateTime")))
    return None


def expected_discharge(encounter: Resource) -> int | None:
    """When the patient is expected to leave, microseconds; None when it is not known."""
    return _instant(encounter, EXPECTED_DISCHARGE)


def patient_of(encounter: Resource, bases: Sequence[str] = ()) -> str | None:
    return local_id(encounter.get("subject"), "Patient", bases)


def claims_of_stay(
    encounter: Resource, beds: Iterable[Place], bases: Sequence[str] = (), *, here: bool = True
) -> tuple[Claim, ...]:
    """What a stay holds: `beds` are those of its places that are beds, `here` says that it is a stay in this house.

    A patient has one stay in this house; a stay elsewhere, of which there may be a record, keeps nobody from it.
    `bed:` is held by who lies there, `bed-time:` by who lies there until the expected discharge and by who has reserved it,
    so that a bed can be reserved for after the discharge and is still never given away under a patient.
    """
    claims: dict[Claim, None] = {}
    patient = patient_of(encounter, bases)
    if here and is_lying(encounter) and patient is not None:
        claims[Claim(f"inpatient:Patient/{patient}")] = None
    for place in beds:
        low, high = place.interval
        if place.state == "active":
            claims[Claim(f"bed:Location/{place.location}")] = None
            leaves = expected_discharge(encounter)
            high = OPEN_HIGH if leaves is None or leaves <= low else leaves
        if place.state != "over" and low < high:
            claim = Claim(f"bed-time:Location/{place.location}", interval=(low, high), expires=place.expires)
            claims[claim] = None
    return tuple(claims)


def overridden(entry: Resource) -> frozenset[str] | None:
    """The rules that an override of a place names (empty: all of them); None when there is none with a reason."""
    parts = parts_of(entry, OVERRIDE)
    if not any(p["url"] == "reason" for p in parts):
        return None
    return frozenset(p["valueCode"] for p in parts if p["url"] == "rule")


def reversals(encounter: Resource | None) -> int:
    """How many times something was taken back, with a reason."""
    if encounter is None:
        return 0
    return sum(
        any(p.get("url") == "reason" for p in e.get("extension", ()))
        for e in encounter.get("extension", ())
        if e.get("url") == REVERSAL
    )
