"""One result as an Observation.

https://hl7.org/fhir/R4/observation.html, and OBX to Observation of the v2-to-FHIR implementation guide. An invariant to keep: what
was told stays beside what it means: the local code and text, the status, the unit, the flag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct, structs

from hl7_bridge.delivery import Resource
from hl7_bridge.devices.profile import Test
from hl7_bridge.devices.value_rules import word_key
from hl7_bridge.mapping.datatypes.identifiers import authority, entity
from hl7_bridge.mapping.datatypes.people import organization, person
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results import codes
from hl7_bridge.mapping.results.events import Observed, Sampled
from hl7_bridge.mapping.results.surroundings import FILLERS, Surroundings
from hl7_bridge.mapping.tables.results import (
    CRITICAL,
    INTERPRETATION,
    INTERPRETATION_SPELLINGS,
    INTERPRETATIONS,
    OBSERVATION_STATUS,
    STATUS_OF_RESULTS,
)
from hl7_bridge.mapping.units import NONE, Unit, is_ucum
from hl7_bridge.mapping.values import Reading, absent_reason
from hl7_bridge.message import NULL, Value

SOURCE = "urn:osler:hl7:"
STATUS = "https://osler.health/fhir/StructureDefinition/hl7-status"
LABORATORY = [
    {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                "code": "laboratory",
                "display": "Laboratory",
            }
        ]
    }
]
# OBX-11 that say just what the status of FHIR says
_PLAIN_STATUSES = frozenset("FPCDA") | {""}


@dataclass(slots=True)
class Place:
    """Where a result belongs: references, and what its report says."""

    subject: Mapping[str, Any]
    encounter: Mapping[str, Any] | None
    specimen: Mapping[str, Any] | None
    sampled: Sampled | None
    status: str
    reported: str
    collected: tuple[str, str]
    category: Sequence[Mapping[str, Any]]


class Made(Struct):
    """An Observation that was made of a result, and what does not fit into one."""

    resource: Resource
    reading: Reading
    code: str
    critical: bool
    unmapped: bool
    told: Observed


def observation_status(told: str, report: str, default: str) -> str | None:
    """The status by OBX-11, else what that of the report says of its results, else the profile's; None: it is no result."""
    if told in OBSERVATION_STATUS:
        return OBSERVATION_STATUS[told]
    return STATUS_OF_RESULTS.get(report, default)


def observation_of(observed: Observed, place: Place, around: Surroundings) -> Made | None:
    """The Observation of a result; None when it is no result (OBX-11 is O)."""
    rules = around.profile.results
    status = observation_status(observed.status, place.status, rules.status)
    if status is None:
        return None
    if observed.status and observed.status not in OBSERVATION_STATUS:
        _tell(around, observed, "unreadable-value", "OBX-11 is not in table 0085.", "11", observed.status)
        status = "unknown"
    code, test, unmapped = _coded(observed, place.sampled, around)
    unit = _unit(observed, test, around)
    if test is None:
        reading = around.reader.read(observed.kind, observed.values, unit)
    else:
        reading = around.reader.read(observed.kind, observed.values, unit, test.words, test.decimals)
    if "OBX-5" in rules.asks and "valueCodeableConcept" in reading.members:
        reading = _mapped_value(reading, observed, around)
    if reading.problem:
        _tell(around, observed, "unreadable-value", reading.problem, "5", _shown(observed))
    made: Resource = {
        "resourceType": "Observation",
        "meta": {"source": SOURCE + around.context.receipt.connection},
        "status": reading.status or status,
        "category": place.category,
        "code": code,
        "subject": place.subject,
    }
    if not place.category:
        del made["category"]
    if observed.status not in _PLAIN_STATUSES:
        made["extension"] = [{"url": STATUS, "valueCode": observed.status}]
    if place.encounter is not None:
        made["encounter"] = place.encounter
    effective = around.time(observed.observed) if observed.observed else None
    if effective is None:
        sampled = place.sampled.collected[0] if place.sampled is not None else ""
        effective = around.first_time((sampled, place.collected[0]))
    if effective is not None:
        made["effectiveDateTime"] = effective
    made["issued"] = around.instant(place.reported, observed.analysed)
    _value_into(made, reading, observed)
    critical = _interpret_into(made, observed, around, test)
    _rest_into(made, observed, around)
    if place.specimen is not None:
        made["specimen"] = place.specimen
    if observed.range:
        made["referenceRange"] = around.memory.ranges(observed.range, unit)
    return Made(made, reading, key_code(observed), critical, unmapped, observed)


def key_code(observed: Observed) -> str:
    """The code by which a result is found again: what the device calls it."""
    if not observed.key:
        code = observed.code
        told = code.text(1) or code.text(2) or code.text(4) or observed.name or observed.sub
        observed.key = " ".join(told.split())
    return observed.key


def _tell(around: Surroundings, observed: Observed, reason: str, text: str, field: str, value: str) -> None:
    around.draft.problem(reason, text, f"{observed.where}-{field}", value)


def _coded(
    observed: Observed, sampled: Sampled | None, around: Surroundings
) -> tuple[dict[str, Any], Test | None, bool]:
    """The code with LOINC in front, the profile's row for it, and whether nobody has mapped it."""
    code = around.memory.code(observed.code)
    local = code.concept
    if code.has_loinc and local is not None and not around.profile.tests_by_code:
        return local, None, False
    if local is None:
        told = observed.name or observed.sub
        local = {"text": told or "unknown"}
        if not told:
            _tell(around, observed, "unreadable-value", "The result says no code.", "3", "")
    names = (*code.names[:1], observed.name, *code.names[1:]) if observed.name else code.names
    specimen = sampled.kind.text(1) if sampled is not None and sampled.kind.raw else ""
    test = None
    if around.profile.tests_by_code:
        test = next((row for name in names if (row := around.profile.test(name, specimen)) is not None), None)
    if code.has_loinc:
        return local, test, False
    found = codes.of_test(test) if test is not None else []
    if not found and around.code_map is not None:
        system = local["coding"][0]["system"] if "coding" in local else ""
        found = next(
            (one for name in names if (one := codes.mapped(around.code_map, name, system, specimen))), []
        )
    if found:
        return codes.with_codings(local, found), test, False
    if code.is_local and names:
        _tell(around, observed, "unmapped-code", f"No LOINC is known for {names[0]!r}.", "3", names[0])
        return local, test, True
    return local, test, False


def _mapped_value(reading: Reading, observed: Observed, around: Surroundings) -> Reading:
    """A coded value with what people have mapped it to; one that the profile knows needs nobody."""
    if not codes.is_local(reading.members["valueCodeableConcept"]):
        return reading
    concept = around.mapped(observed.values[0], "OBX-5", f"{observed.where}-5")
    if concept is None:
        return reading
    return structs.replace(reading, members={**reading.members, "valueCodeableConcept": concept})


def _unit(observed: Observed, test: Test | None, around: Surroundings) -> Unit:
    raw = observed.unit.raw
    unit, code = around.memory.unit(observed.unit) if raw else (NONE, "")
    if unit.code:
        return unit
    if unit is NONE and not raw.strip(FILLERS):
        return Unit(test.unit, test.unit) if test is not None and test.unit else NONE
    if unit.unknown and around.unit_map is not None:
        found = codes.mapped(around.unit_map, unit.text) or codes.mapped(around.unit_map, code)
        if found and is_ucum(found[0]["code"]):
            unit = Unit(unit.text, found[0]["code"])
    if unit.unknown:
        text = f"{unit.text!r} is no UCUM unit and has no mapping."
        _tell(around, observed, "unmapped-unit", text, "6", unit.text)
    return unit


def _value_into(made: Resource, reading: Reading, observed: Observed) -> None:
    members = reading.members
    if "component" in members:
        made["component"] = [{"code": made["code"], **one} for one in members["component"]]
    else:
        made.update(members)
    if members or reading.attached or made["status"] in ("registered", "entered-in-error"):
        return
    if made["status"] == "cancelled":
        reason = "not-asked" if observed.status == "N" else "not-performed"
        made["dataAbsentReason"] = absent_reason(reason)
    elif not observed.notes:
        made["dataAbsentReason"] = absent_reason("unknown")


def _interpret_into(made: Resource, observed: Observed, around: Surroundings, test: Test | None) -> bool:
    """Interpretations of the flags, and whether the result is critical."""
    told: list[dict[str, Any]] = []
    critical = False
    words = around.profile.results.flag_words
    for flag in observed.flags:
        code = words.get(word_key(flag), flag.upper()) if words else flag.upper()
        code = INTERPRETATION_SPELLINGS.get(code, code)
        if not code:
            continue
        critical = critical or code in CRITICAL
        told.append(interpretation(code, flag))
    beyond = "" if test is None else _beyond(made, test)
    if beyond and not critical:
        told.append(interpretation(beyond, ""))
        critical = True
    if told:
        made["interpretation"] = told
    return critical


@lru_cache(1024)
def interpretation(code: str, flag: str) -> dict[str, Any]:
    """A flag with its meaning; text alone when it has none. Nobody may change it."""
    if code not in INTERPRETATIONS:
        return {"text": flag}
    coding = {"system": INTERPRETATION, "code": code, "display": INTERPRETATIONS[code]}
    made: dict[str, Any] = {"coding": [coding]}
    if flag and flag != code:
        made["text"] = flag
    return made


def _beyond(made: Resource, test: Test) -> str:
    """HH or LL of a number beyond what the profile calls critical."""
    quantity = made.get("valueQuantity")
    if test.critical == ("", "") or quantity is None:
        return ""
    low, high = test.critical
    comparator = quantity.get("comparator", "")
    if low and comparator in ("", "<", "<=") and quantity["value"] <= Decimal(low):
        return "LL"
    if high and comparator in ("", ">", ">=") and quantity["value"] >= Decimal(high):
        return "HH"
    return ""


def _rest_into(made: Resource, observed: Observed, around: Surroundings) -> None:
    context = around.context
    performers: list[dict[str, Any]] = []
    if observed.observers:
        performers = [one for value in observed.observers if (one := person(value, context)) is not None]
    laboratory = organization(observed.laboratory, context) if observed.laboratory.raw else None
    if laboratory is not None:
        performers.append(laboratory)
    elif observed.producer.raw:
        shown = observed.producer.text(2).strip() or observed.producer.text(1).strip()
        if shown not in ("", NULL):
            performers.append({"type": "Organization", "display": shown})
    if performers:
        made["performer"] = performers
    if observed.methods:
        _first_concept_into(made, "method", observed.methods, around)
    if observed.sites:
        _first_concept_into(made, "bodySite", observed.sites, around)
    if observed.devices:
        device = _device(observed, context)
        if device is not None:
            made["device"] = device
    if observed.notes:
        made["note"] = [{"text": text} for text in observed.notes]


def _first_concept_into(made: Resource, name: str, values: Sequence[Value], around: Surroundings) -> None:
    concept = next((one for value in values if (one := around.concept(value)) is not None), None)
    if concept is not None:
        made[name] = concept


def _device(observed: Observed, context: Context) -> dict[str, Any] | None:
    """OBX-18: the instrument; LAW tells its model, then its serial number."""
    told = [value for value in observed.devices if value.text(1).strip() not in ("", NULL)]
    if not told:
        return None
    model, serial = told[0], told[1] if len(told) > 1 else told[0]
    found = entity(serial, context)
    if found is None:
        return None
    if not serial.text(2) and not serial.text(3):
        found["system"] = authority("", "", "", context)
    return {"type": "Device", "identifier": found, "display": model.text(1).strip()}


def _shown(observed: Observed) -> str:
    return "~".join(value.whole() for value in observed.values)[:200]
