"""The sharding plan: which collections are spread over the shards of a cluster, and by which key.

https://www.mongodb.com/docs/manual/core/sharding-shard-key/. A resource is written and read by its id on one shard; a question
about a patient goes to all shards at once, each of which answers it from the index of entries. An invariant to keep: every unique index
begins with the shard key of its collection, and the counter with all that is judged by it stays in one place (docs/adr/0012).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from fhir_r4.definitions import resource_types
from fhir_r4.errors import InvalidRequest
from fhir_server.store.addresses import MONGODB, without_secrets
from fhir_server.store.mongo.connections import DEFAULT_DATABASE

# What grows with every stay, test and invoice, most of it in the compartment of a patient. All else is small.
SPREAD = (
    "AllergyIntolerance",
    "Appointment",
    "AuditEvent",
    "ChargeItem",
    "Claim",
    "Communication",
    "Composition",
    "Condition",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "ExplanationOfBenefit",
    "ImagingStudy",
    "Immunization",
    "Invoice",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Patient",
    "Procedure",
    "Provenance",
    "QuestionnaireResponse",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "Task",
)
VERSIONS = "osler.versions"


@dataclass(frozen=True, slots=True)
class Spread:
    """A collection that is spread: its shard key, and the index that the key needs where there are documents already."""

    collection: str
    key: Mapping[str, int | str]
    index: Mapping[str, int | str]
    index_name: str = ""
    unique: bool = False


def spread(types: Sequence[str] = ()) -> tuple[Spread, ...]:
    """The collections that are spread, with those of `types` or, when there are none, of SPREAD. Raises InvalidRequest."""
    unknown = sorted(set(types) - set(resource_types()))
    if unknown:
        raise InvalidRequest(f"{', '.join(unknown)}: no such resource type.")
    versions = Spread(VERSIONS, {"t": 1, "i": 1}, {"t": 1, "i": 1, "v": -1}, "of", unique=True)
    by_id: Mapping[str, int | str] = {"_id": "hashed"}
    return (versions, *(Spread(type, by_id, by_id) for type in dict.fromkeys(types or SPREAD)))


def script(address: str, types: Sequence[str] = ()) -> Iterator[str]:
    """The lines for mongosh that make the plan true in the database of `address`. Raises InvalidRequest."""
    if not address.startswith(MONGODB):
        raise InvalidRequest(
            f"Only a store of mongodb://... can be a cluster; found {without_secrets(address)}."
        )
    database = unquote(urlsplit(address).path.strip("/")) or DEFAULT_DATABASE
    yield f"// The sharding of {json.dumps(database)}, to be given to mongosh at a router (mongos); doing it again changes nothing."
    yield "// What is not named stays on the primary shard of the database: the counter, claims, small resource types."
    yield f"sh.enableSharding({json.dumps(database)});"
    yield f"db = db.getSiblingDB({json.dumps(database)});"
    for one in spread(types):
        options = {"name": one.index_name, "unique": one.unique} if one.index_name else {}
        arguments = ", ".join(json.dumps(part) for part in (one.index, options) if part)
        yield f"db.getCollection({json.dumps(one.collection)}).createIndex({arguments});"
        namespace = json.dumps(f"{database}.{one.collection}")
        yield f"sh.shardCollection({namespace}, {json.dumps(one.key)});"
    yield "sh.status();"
