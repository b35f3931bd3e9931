"""NK1: next of kin and other contacts, as RelatedPerson.

https://hl7.org/fhir/uv/v2mappings/ (NK1 to RelatedPerson).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import Changes, tell, tell_all
from hl7_bridge.mapping.datatypes.codes import concept
from hl7_bridge.mapping.datatypes.identifiers import identifier, typed
from hl7_bridge.mapping.datatypes.people import address, contact_point, human_name, told, written_name
from hl7_bridge.mapping.datatypes.times import between, day
from hl7_bridge.mapping.keeping import code_of, key
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.segments.pid import SSN, spoken
from hl7_bridge.mapping.tables.people import GENDERS
from hl7_bridge.message import Segment

SKIPS = {
    "NK1-1": "The number of the segment says nothing of the person.",
    "NK1-10..13": "Job and employer of a contact are kept in the raw message.",
    "NK1-14": "The marital status of a contact has no element in RelatedPerson.",
    "NK1-17..19": "Living arrangement, dependency and citizenship of a contact have no element in RelatedPerson.",
    "NK1-21..29": "Arrangements, religion, nationality and ethnicity of a contact have no element in RelatedPerson.",
    "NK1-34..36": "Job status, race and handicap of a contact have no element in RelatedPerson.",
    "NK1-38, NK1-39": "Birthplace and VIP status of a contact have no element in RelatedPerson.",
}


@maps(
    "NK1-2",
    "NK1-3",
    "NK1-4",
    "NK1-5",
    "NK1-6",
    "NK1-7",
    "NK1-8",
    "NK1-9",
    "NK1-15",
    "NK1-16",
    "NK1-20",
    "NK1-30",
    "NK1-31",
    "NK1-32",
    "NK1-33",
    "NK1-37",
    "NK1-40",
    "NK1-41",
)
def related_person(nk1: Segment, patient: str, owner: str, context: Context) -> Resource | None:
    """The RelatedPerson of a patient (`patient` is the reference, `owner` the patient's number); None without a name."""
    changes: Changes = {}
    tell_all(changes, "name", nk1, 2, human_name, context)
    tell_all(changes, "name", nk1, 30, human_name, context)
    tell_all(changes, "relationship", nk1, 3, lambda value, c: concept(value, c, "0063"), context)
    tell_all(changes, "relationship", nk1, 7, lambda value, c: concept(value, c, "0131"), context)
    tell_all(changes, "address", nk1, 4, address, context)
    tell_all(changes, "address", nk1, 32, address, context)
    for field, use in ((5, "home"), (31, "home"), (6, "work"), (40, ""), (41, "")):
        tell_all(changes, "telecom", nk1, field, partial(contact_point, use=use), context)
    tell(changes, "birthDate", nk1, 16, lambda value, _: day(value), context)
    tell(changes, "gender", nk1, 15, lambda value, _: GENDERS.get(value.text(1).upper()), context)
    language = spoken(nk1.value(20), context)
    if language is not None:
        changes["communication"] = [{"language": language}]
    valid = between(nk1.text(8), nk1.text(9), context)
    if valid is not None:
        changes["period"] = valid
    if not changes.get("name"):
        return None
    return {
        "resourceType": "RelatedPerson",
        "identifier": _identifiers(nk1, written_name(changes["name"][0]), owner, context),
        "active": True,
        "patient": {"reference": patient},
        **changes,
    }


def _identifiers(nk1: Segment, name: str, owner: str, context: Context) -> list[dict[str, Any]]:
    told_ones = [one for one in (identifier(value, context) for value in nk1.values(33)) if one is not None]
    number = told(nk1.value(37), 1)
    if number:
        told_ones.append(typed({"system": SSN, "value": number}, "SS"))
    by = told_ones[0]["value"] if told_ones else f"{name}|{code_of(nk1.value(3), context, '0063')}"
    return [key(context, "NK1", owner, by), *told_ones]
