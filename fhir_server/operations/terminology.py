"""$expand, $lookup, $validate-code and $subsumes: the server's side of the terminology service.

https://hl7.org/fhir/R4/terminology-service.html. Code systems and value sets stored on this server come before those of
the R4 definitions.
"""

from __future__ import annotations

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.stored_terminology import addresses_in, terminology_for
from fhir_server.interactions.visibility import require_current
from terminology.service import Terminology


async def expand(call: OperationCall, services: Services) -> FhirResponse:
    """ValueSet/$expand and ValueSet/[id]/$expand."""
    parameters = _in_language(call, await _with_instance(call, services, "valueSet"))
    terminology = await _terminology(call, services, parameters)
    return FhirResponse(200, resource=terminology.expand(parameters))


async def lookup(call: OperationCall, services: Services) -> FhirResponse:
    """CodeSystem/$lookup."""
    parameters = _in_language(call, call.parameters)
    terminology = await _terminology(call, services, parameters)
    return FhirResponse(200, resource=terminology.lookup(parameters))


async def validate_code(call: OperationCall, services: Services) -> FhirResponse:
    """$validate-code of ValueSet and CodeSystem, on the type or an instance."""
    kind = call.type or "ValueSet"
    parameters = await _with_instance(call, services, "valueSet" if kind == "ValueSet" else "codeSystem")
    parameters = _in_language(call, parameters)
    terminology = await _terminology(call, services, parameters)
    return FhirResponse(200, resource=terminology.validate_code(parameters, kind))


async def subsumes(call: OperationCall, services: Services) -> FhirResponse:
    """CodeSystem/$subsumes, on the type or an instance (which then gives the system)."""
    parameters = call.parameters
    if call.id is not None:
        system = await _instance(call, services)
        if system.get("url") is None:
            raise InvalidRequest(f"CodeSystem/{call.id} has no url.", "CodeSystem.url")
        parameters = _plus(parameters, {"name": "system", "valueUri": system["url"]})
    terminology = await _terminology(call, services, parameters)
    return FhirResponse(200, resource=terminology.subsumes(parameters))


async def _instance(call: OperationCall, services: Services) -> Resource:
    assert call.type is not None
    assert call.id is not None
    return decode_object((await require_current(call.request, services, call.type, call.id)).body)


async def _with_instance(call: OperationCall, services: Services, name: str) -> Resource:
    if call.id is None:
        return call.parameters
    return _plus(call.parameters, {"name": name, "resource": await _instance(call, services)})


def _in_language(call: OperationCall, parameters: Resource) -> Resource:
    """Accept-Language as `displayLanguage`, where the call names no language itself."""
    accepted = call.request.headers.get("accept-language")
    named = any(p["name"] == "displayLanguage" for p in parameters.get("parameter", ()))
    if accepted is None or named or accepted.strip() in ("", "*"):
        return parameters
    return _plus(parameters, {"name": "displayLanguage", "valueCode": accepted})


def _plus(parameters: Resource, parameter: Resource) -> Resource:
    return {**parameters, "parameter": [*parameters.get("parameter", ()), parameter]}


async def _terminology(call: OperationCall, services: Services, parameters: Resource) -> Terminology:
    """The service over the stored resources that the request can reach."""
    return await terminology_for(call.request, services, addresses_in(parameters))
