"""Ward rules: who may lie where. Rules are data on Locations; judging them is one pure function.

The rules of a bed are those of itself, its room, its ward and so on upwards: each kind of rule is taken from the nearest
place that says something of it. An invariant to keep: finding a bed and admitting into it ask the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from fhir_r4.temporal import DAY, parse_interval
from fhir_server.context import Resource
from fhir_server.resources.beds.places import OSLER, parts_of
from fhir_server.resources.beds.stays import NEEDS

RULES = OSLER + "ward-rules"
RULE_SYSTEM = "https://osler.health/fhir/CodeSystem/ward-rule"
BY_CONTACT = frozenset({"contact", "droplet"})
# isolation for which the beds beside must be kept empty
BLOCKING = BY_CONTACT | {"airborne", "protective"}
# what no reason can override
ABSOLUTE = frozenset({"bed-closed", "bed-contaminated"})

_MONTHS = {"a": 12, "mo": 1}
_DAYS = {"wk": 7, "d": 1}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a place asks of those who lie in it; None and empty where it asks nothing.

    `gender` is male, female, mixed or by-room; ages are UCUM quantities; `isolation` has what can be isolated here, None
    for no statement.
    """

    gender: str | None = None
    minimum_age: Resource | None = None
    maximum_age: Resource | None = None
    isolation: frozenset[str] | None = None
    specialty: frozenset[str] | None = None
    equipment: frozenset[str] = frozenset()
    maximum_weight: Decimal | None = None

    def below(self, upper: Rules) -> Rules:
        """These rules, and of the place above what these do not speak of; equipment adds up."""
        return Rules(
            self.gender if self.gender is not None else upper.gender,
            self.minimum_age if self.minimum_age is not None else upper.minimum_age,
            self.maximum_age if self.maximum_age is not None else upper.maximum_age,
            self.isolation if self.isolation is not None else upper.isolation,
            self.specialty if self.specialty is not None else upper.specialty,
            self.equipment | upper.equipment,
            self.maximum_weight if self.maximum_weight is not None else upper.maximum_weight,
        )


@dataclass(frozen=True, slots=True)
class Needs:
    """What a patient brings and needs; `born` is the birth date as far as it is known."""

    gender: str | None = None
    born: date | None = None
    isolation: frozenset[str] = frozenset()
    organism: frozenset[str] = frozenset()
    specialty: frozenset[str] = frozenset()
    equipment: frozenset[str] = frozenset()
    weight: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """The room of a bed: how many beds it has, and who lies in the others."""

    beds: int = 1
    others: tuple[Needs, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is broken: its code, and what was found and expected; `stay` is the id of an Encounter that `text` names."""

    rule: str
    text: str
    stay: str | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """A bed as somebody would come to lie in it: its state (v2-0116), the rules there, the room."""

    status: str = "U"
    rules: Rules = field(default_factory=Rules)
    room: Room = field(default_factory=Room)


def rules_of(location: Resource) -> Rules:
    """The rules that a Location itself has."""
    parts = parts_of(location, RULES)
    if not parts:
        return Rules()
    isolation = frozenset(str(v) for v in _all(parts, "isolation"))
    specialty = tokens(_all(parts, "specialty"))
    weight = _one(parts, "maximum-weight")
    return Rules(
        gender=_one(parts, "gender"),
        minimum_age=_one(parts, "minimum-age"),
        maximum_age=_one(parts, "maximum-age"),
        isolation=isolation - {"none"} if isolation else None,
        specialty=specialty or None,
        equipment=tokens(_all(parts, "equipment")),
        maximum_weight=None if weight is None else Decimal(weight["value"]),
    )


def needs_of(encounter: Resource | None, patient: Resource | None) -> Needs:
    """What a stay's patient needs; the specialty is that of the requirements, else the service type."""
    parts = [] if encounter is None else parts_of(encounter, NEEDS)
    specialty = tokens(_all(parts, "specialty"))
    if not specialty and encounter is not None and "serviceType" in encounter:
        specialty = tokens([encounter["serviceType"]])
    weight = _one(parts, "weight")
    return Needs(
        gender=None if patient is None else patient.get("gender"),
        born=None if patient is None else birth_date(patient.get("birthDate")),
        isolation=frozenset(str(v) for v in _all(parts, "isolation")),
        organism=tokens(_all(parts, "organism")),
        specialty=specialty,
        equipment=tokens(_all(parts, "equipment")),
        weight=None if weight is None else Decimal(weight["value"]),
    )


def requirements(
    isolation: Sequence[str] = (),
    organism: Resource | None = None,
    specialty: Resource | None = None,
    equipment: Sequence[Resource] = (),
    weight: Resource | None = None,
) -> Resource | None:
    """The extension of an Encounter that says what is needed; None when nothing is."""
    parts: list[Resource] = [{"url": "isolation", "valueCode": code} for code in isolation]
    if organism is not None:
        parts.append({"url": "organism", "valueCodeableConcept": organism})
    if specialty is not None:
        parts.append({"url": "specialty", "valueCodeableConcept": specialty})
    parts += [{"url": "equipment", "valueCodeableConcept": one} for one in equipment]
    if weight is not None:
        parts.append({"url": "weight", "valueQuantity": weight})
    return {"url": NEEDS, "extension": parts} if parts else None


def violations(needs: Needs, bed: Situation, today: date) -> tuple[Violation, ...]:
    """Every rule against `needs` in this bed; none: it suits."""
    return tuple(
        found
        for found in (
            _state(needs, bed),
            _gender(needs, bed),
            _age(needs, bed.rules, today),
            _isolation(needs, bed),
            _specialty(needs, bed.rules),
            _equipment(needs, bed.rules),
            _weight(needs, bed.rules),
        )
        if found is not None
    )


def _state(needs: Needs, bed: Situation) -> Violation | None:
    match bed.status:
        case "H":
            return Violation("bed-not-ready", "The bed waits for housekeeping.")
        case "K":
            return Violation("bed-contaminated", "The bed is contaminated.")
        case "C":
            return Violation("bed-closed", "The bed is closed.")
        case "I" if not _cohort(needs, bed.room):
            return Violation("bed-isolated", "The bed is kept empty for the isolation of a neighbour.")
        case _:
            return None


def _gender(needs: Needs, bed: Situation) -> Violation | None:
    policy, found = bed.rules.gender, needs.gender or "unknown"
    if policy in ("male", "female") and found != policy:
        return Violation("gender-policy", f"The ward takes {policy} patients; this patient is {found}.")
    if policy == "by-room":
        others = {other.gender or "unknown" for other in bed.room.others} - {found}
        if others:
            lying = ", ".join(sorted(others))
            return Violation(
                "gender-policy", f"A room has patients of one gender: {lying}; this patient is {found}."
            )
    return None


def _age(needs: Needs, rules: Rules, today: date) -> Violation | None:
    if rules.minimum_age is None and rules.maximum_age is None:
        return None
    if needs.born is None:
        return Violation("age-band", "The ward asks for an age and the birth date is not known.")
    low, high = rules.minimum_age, rules.maximum_age
    if low is not None and birthday(needs.born, low) > today:
        return Violation("age-band", f"The ward takes patients from the age of {told_age(low)}.")
    if high is not None and birthday(needs.born, high) <= today:
        return Violation("age-band", f"The ward takes patients below the age of {told_age(high)}.")
    return None


def _isolation(needs: Needs, bed: Situation) -> Violation | None:
    wanted = needs.isolation & BLOCKING
    if not wanted:
        return None
    if bed.rules.isolation is not None and not wanted <= bed.rules.isolation:
        missing = ", ".join(sorted(wanted - bed.rules.isolation))
        return Violation("isolation", f"The place cannot isolate: {missing}.")
    if bed.room.beds > 1 and not (wanted <= BY_CONTACT and (not bed.room.others or _cohort(needs, bed.room))):
        if wanted <= BY_CONTACT:
            return Violation("isolation", "Others who lie in the room do not have the same organism.")
        needed = ", ".join(sorted(wanted - BY_CONTACT))
        return Violation("isolation", f"A single room is needed ({needed}).")
    return None


def _cohort(needs: Needs, room: Room) -> bool:
    """Whether all who lie in the room are isolated for the same reason: they may lie together."""
    return bool(room.others and needs.organism) and all(
        other.isolation == needs.isolation and other.organism & needs.organism for other in room.others
    )


def _specialty(needs: Needs, rules: Rules) -> Violation | None:
    if rules.specialty is None or not needs.specialty or needs.specialty & rules.specialty:
        return None
    taken = ", ".join(sorted(t.rpartition("|")[2] for t in rules.specialty))
    return Violation("specialty", f"The ward is for the specialties {taken}.")


def _equipment(needs: Needs, rules: Rules) -> Violation | None:
    missing = needs.equipment - rules.equipment
    if not missing:
        return None
    return Violation(
        "equipment", "The place lacks " + ", ".join(sorted(t.rpartition("|")[2] for t in missing))
    )


def _weight(needs: Needs, rules: Rules) -> Violation | None:
    if needs.weight is None or rules.maximum_weight is None or needs.weight <= rules.maximum_weight:
        return None
    return Violation("weight", f"The bed bears {rules.maximum_weight} kg.")


def tokens(concepts: Iterable[Resource]) -> frozenset[str]:
    """`system|code` of every coding; the text of a concept that has none."""
    found: set[str] = set()
    for concept in concepts:
        codings = concept.get("coding", ())
        found.update(f"{c.get('system', '')}|{c['code']}" for c in codings if "code" in c)
        if not codings and "text" in concept:
            found.add(concept["text"])
    return frozenset(found)


def _all(parts: Iterable[Resource], name: str) -> list[Any]:
    return [v for p in parts if p["url"] == name for k, v in p.items() if k.startswith("value")]


def _one(parts: Iterable[Resource], name: str) -> Any:
    return next(iter(_all(parts, name)), None)


def birth_date(text: str | None) -> date | None:
    """The first day that a birth date of any precision can mean."""
    if text is None:
        return None
    return date(1970, 1, 1) + timedelta(days=parse_interval(text)[0] // DAY)


def birthday(born: date, age: Resource) -> date:
    """The day on which somebody born then is so old."""
    value, unit = Decimal(age["value"]), str(age.get("code", age.get("unit", "a")))
    if unit in _DAYS:
        return born + timedelta(days=int(value * _DAYS[unit]))
    months = born.month - 1 + int(value * _MONTHS.get(unit, 12))
    year, month = born.year + months // 12, months % 12 + 1
    try:
        return date(year, month, born.day)
    except ValueError:  # there is no such day in that month: the day after it
        return date(year + month // 12, month % 12 + 1, 1)


def told_age(age: Resource) -> str:
    """An age as people say it."""
    names = {"a": "years", "mo": "months", "wk": "weeks", "d": "days"}
    code = str(age.get("code", age.get("unit", "a")))
    return f"{age['value']} {names.get(code, code)}"
