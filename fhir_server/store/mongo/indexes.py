"""Which indexes the collection of a resource type has (docs/adr/0014).

https://www.mongodb.com/docs/manual/core/indexes/index-types/index-multikey/. A search names the index that it goes through by
the names here. An invariant to keep: an index of another make gets another name, so that old and new ones can stand side
by side while servers of both kinds run.
"""

from __future__ import annotations

from collections.abc import Mapping

from pymongo import ASCENDING, DESCENDING, GEOSPHERE, IndexModel

from fhir_server.search.contained import is_contained
from fhir_server.store.mongo.entries import member

ENTRIES, ORDER, SEQUENCE, WORDS, LATE, POSITIONS, FRAGMENT, CONTAINER, CONTAINERS = (
    "entries",
    "order",
    "sequence",
    "words",
    "late",
    "positions",
    "fragment",
    "container",
    "containers",
)
UPDATED, UPDATED_LAST = "updated", "updated last"
# the name that MongoDB gives to the index it makes of its own accord
ID = "_id_"

# The dates that resources of a type are listed by; sorting by a parameter that is not here reads all matches.
SORTED: Mapping[str, tuple[str, ...]] = {
    "Account": ("period",),
    "AllergyIntolerance": ("date",),
    "Appointment": ("date",),
    "AuditEvent": ("date",),
    "CarePlan": ("date",),
    "ChargeItem": ("occurrence", "entered-date"),
    "Claim": ("created",),
    "ClinicalImpression": ("date",),
    "Communication": ("sent",),
    "CommunicationRequest": ("authored",),
    "Composition": ("date",),
    "Condition": ("recorded-date", "onset-date"),
    "Consent": ("date",),
    "DeviceRequest": ("authored-on",),
    "DiagnosticReport": ("date", "issued"),
    "DocumentReference": ("date",),
    "Encounter": ("date",),
    "EpisodeOfCare": ("date",),
    "Flag": ("date",),
    "Goal": ("start-date",),
    "ImagingStudy": ("started",),
    "Immunization": ("date",),
    "Invoice": ("date",),
    "List": ("date",),
    "Media": ("created",),
    "MedicationAdministration": ("effective-time",),
    "MedicationDispense": ("whenhandedover", "whenprepared"),
    "MedicationRequest": ("authoredon", "date"),
    "MedicationStatement": ("effective",),
    "MessageHeader": (),
    "NutritionOrder": ("datetime",),
    "Observation": ("date",),
    "Patient": ("birthdate",),
    "PaymentNotice": ("created",),
    "PaymentReconciliation": ("created",),
    "Procedure": ("date",),
    "Provenance": ("recorded", "when"),
    "QuestionnaireResponse": ("authored",),
    "RiskAssessment": ("date",),
    "Schedule": ("date",),
    "ServiceRequest": ("authored", "occurrence"),
    "Slot": ("start",),
    "Specimen": ("collected",),
    "SupplyDelivery": (),
    "SupplyRequest": ("date",),
    "Task": ("authored-on", "modified"),
}
# The names that resources are listed by, upwards.
NAMED: Mapping[str, tuple[str, ...]] = {
    "Location": ("name",),
    "Organization": ("name",),
    "Patient": ("family", "name"),
    "Practitioner": ("family", "name"),
}
POSITIONED = frozenset({"Location"})


def sort_index(param: str, bound: str) -> str:
    """The name of the index by the lower (a) or the upper (z) end of a parameter."""
    return f"{param} {bound}"


def _having(name: str) -> dict[str, dict[str, bool]]:
    """What holds for the documents that have a member."""
    return {name: {"$exists": True}}


def indexes_of(type: str) -> tuple[IndexModel, ...]:
    """The indexes of the collection of a type, also of one of contained resources."""
    name = type.rstrip("#")
    # no partial indexes: they would not tell by themselves what is live
    live = ("d", ASCENDING)
    found = [
        IndexModel([("e", ASCENDING), ("c", ASCENDING)], name=ENTRIES),
        IndexModel([live, ("c", ASCENDING)], name=ORDER),
        IndexModel([live, ("u", ASCENDING), ("c", ASCENDING)], name=UPDATED),
        IndexModel([live, ("u", DESCENDING), ("c", ASCENDING)], name=UPDATED_LAST),
        IndexModel([("s", ASCENDING)], name=SEQUENCE),
    ]
    if is_contained(type):
        found += [
            IndexModel([("f", ASCENDING)], name=FRAGMENT),
            IndexModel([("o", ASCENDING)], name=CONTAINER),
        ]
    else:
        found += [
            IndexModel([("w", ASCENDING)], name=WORDS, partialFilterExpression=_having("w")),
            IndexModel([("late", ASCENDING)], name=LATE, partialFilterExpression={"late": True}),
            IndexModel(
                [("i", ASCENDING), ("c", ASCENDING)], name=CONTAINERS, partialFilterExpression=_having("i")
            ),
        ]
    for param in SORTED.get(name, ()):
        key = f"k.{member(param)}"
        found += [
            IndexModel([(f"{key}.a", ASCENDING), ("c", ASCENDING)], name=sort_index(param, "a")),
            IndexModel([(f"{key}.z", DESCENDING), ("c", ASCENDING)], name=sort_index(param, "z")),
        ]
    for param in NAMED.get(name, ()):
        key = f"k.{member(param)}.a"
        found.append(IndexModel([(key, ASCENDING), ("c", ASCENDING)], name=sort_index(param, "a")))
    if name in POSITIONED:
        found.append(IndexModel([("g.l", GEOSPHERE)], name=POSITIONS))
    return tuple(found)
