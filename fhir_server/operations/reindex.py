"""$reindex: make the index entries of stored resources anew, as a job. docs/operations.md

Called on a SearchParameter it goes through the resources of its types, called on the system through all, or those of the
types asked for. The answer is the Task of the job; the work is done in the background.
"""

from __future__ import annotations

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import InvalidParameter
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirResponse, OperationCall, Services
from fhir_server.interactions.answering import location_of
from fhir_server.interactions.indexing import REINDEX
from fhir_server.interactions.visibility import require_current
from fhir_server.interactions.writing import commit, prepare
from fhir_server.operations.parameters import refuse_unknown, values
from fhir_server.resources.job import Job
from fhir_server.search.custom import GENERAL


async def reindex(call: OperationCall, services: Services) -> FhirResponse:
    """202 with the Task that shows how far the job is."""
    focus: str | None = None
    if call.id is None:
        refuse_unknown(call.parameters, ("type",))
        types = _asked(call)
    else:
        refuse_unknown(call.parameters, ())
        current = await require_current(call.request, services, "SearchParameter", call.id)
        bases = decode_object(current.body)["base"]
        types = () if any(base in GENERAL for base in bases) else tuple(sorted(set(bases)))
        focus = f"SearchParameter/{call.id}"
    now = services.clock() // 1000 * 1000
    task = Job(services.new_id(), REINDEX, "requested", now, now, types, focus).as_task()
    op = prepare(services, "POST", task, task["id"])
    (stored,), _ = await commit(services, [op], (), [task])
    services.jobs.wake(services)
    return FhirResponse(
        202,
        body=stored.body,
        version=stored.version,
        updated=stored.updated,
        location=location_of(stored),
    )


def _asked(call: OperationCall) -> tuple[str, ...]:
    asked = [t.strip() for text in values(call.parameters, "type") for t in str(text).split(",")]
    for type in asked:
        if not is_resource_type(type):
            raise InvalidParameter(f"{type[:64]!r} is no resource type of FHIR R4.", "type")
    return tuple(sorted(set(asked)))
