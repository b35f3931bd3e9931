"""$validate: would this resource be accepted? https://hl7.org/fhir/R4/resource-operation-validate.html"""

from __future__ import annotations

from typing import Any

from fhir_r4.errors import InvalidRequest, Issue
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.answering import information, outcome
from fhir_server.interactions.visibility import require_current
from fhir_server.operations.parameters import single, values

MODES = ("create", "update", "delete", "profile")


async def validate(call: OperationCall, services: Services) -> FhirResponse:
    """Answer 200 with an OperationOutcome of all that was found, whatever it was.

    Raises InvalidRequest when there is nothing to validate.
    """
    mode = single(call.parameters, "mode")
    if mode is not None and mode not in MODES:
        raise InvalidRequest(f"mode is one of {', '.join(MODES)}; found {str(mode)[:40]!r}.", "mode")
    profiles = [str(p) for p in values(call.parameters, "profile")]
    resource = single(call.parameters, "resource")
    if mode == "delete":
        return FhirResponse(200, resource=outcome([information("The resource may be deleted.")]))
    if resource is None and call.type is not None and call.id is not None:
        resource = decode_object((await require_current(call.request, services, call.type, call.id)).body)
    if not isinstance(resource, dict):
        raise InvalidRequest("The parameter resource is needed: what is to be validated?", "resource")
    issues = [*_address_problems(call, resource, mode), *services.validator.validate(resource, profiles)]
    return FhirResponse(200, resource=outcome(issues or [information("No problems were found.")]))


def _address_problems(call: OperationCall, resource: Resource, mode: Any) -> list[Issue]:
    found: list[Issue] = []
    type_name = resource.get("resourceType")
    if call.type is not None and type_name != call.type:
        found.append(
            Issue(
                "error",
                "invalid",
                f"The resource is {type_name!r}; the address asks for {call.type}.",
                ("resourceType",),
            )
        )
    if mode == "update" and resource.get("id") is None:
        found.append(
            Issue("error", "required", "An update needs the id in the resource.", (f"{type_name}.id",))
        )
    elif mode == "update" and call.id is not None and resource.get("id") != call.id:
        found.append(
            Issue("error", "invalid", f"The resource has another id than {call.id!r}.", (f"{type_name}.id",))
        )
    return found
