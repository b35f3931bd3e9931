"""Look a request up: which interaction or operation is it? One table for HTTP, batch, transaction, bridge and portal.

https://hl7.org/fhir/R4/http.html#summary
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import InvalidRequest, MethodNotAllowed, NotFound, UnknownOperation, UnknownResourceType
from fhir_server.context import FhirRequest, FhirResponse, Operation, OperationCall, Resource, Services
from fhir_server.interactions.batch import batch
from fhir_server.interactions.capabilities import Capabilities, capabilities
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import conditional_delete, delete
from fhir_server.interactions.history import history
from fhir_server.interactions.patch import conditional_patch, patch
from fhir_server.interactions.read import read
from fhir_server.interactions.search import form_pairs, search, search_compartment
from fhir_server.interactions.transaction import transaction
from fhir_server.interactions.update import conditional_update, update
from fhir_server.interactions.vread import vread

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class Dispatch:
    """The table of interactions over one set of services. `answer_error` is the rim's one door for errors."""

    def __init__(self, services: Services, answer_error: Callable[[Exception], FhirResponse]) -> None:
        self.services = services
        self.answer_error = answer_error
        self.statements = Capabilities()

    async def __call__(self, request: FhirRequest) -> FhirResponse:
        """Carry out the request. Raises FhirError."""
        path = request.path
        if len(path) == 2 and request.method == "GET" and path[1][0] not in "_$":
            return await read(request, self.services, require_type(path[0]), require_id(path[1]))
        if path and path[-1].startswith("$"):
            return await self._operation(request, path)
        if not path or path[0].startswith("_") or path[0] == "metadata":
            return await self._system(request, path)
        require_type(path[0])
        if len(path) == 1 or path[1].startswith("_"):
            return await self._type(request, path[0], path[1:])
        require_id(path[1])
        return await self._instance(request, path[0], path[1], path[2:])

    async def _system(self, request: FhirRequest, path: tuple[str, ...]) -> FhirResponse:
        method = request.method
        if path == ("metadata",):
            _allow(request, "GET", "HEAD")
            return await capabilities(request, self.services, self.statements)
        if path == ("_history",):
            _allow(request, "GET", "HEAD")
            return await history(request, self.services)
        if path == ("_search",):
            _allow(request, "POST")
            return await search(request, self.services, (), form_pairs(request), path="")
        if path:
            raise NotFound(f"There is nothing at {'/'.join(path)!r} on this server.")
        if method in ("GET", "HEAD"):
            return await search(request, self.services, (), request.query)
        _allow(request, "GET", "HEAD", "POST")
        return await self._bundle(request)

    async def _bundle(self, request: FhirRequest) -> FhirResponse:
        bundle = request.resource
        if bundle is None or bundle.get("resourceType") != "Bundle":
            raise InvalidRequest(
                "POST to the base takes a Bundle of type batch or transaction.", "resourceType"
            )
        if bundle.get("type") == "batch":
            return await batch(request, self, self.answer_error)
        if bundle.get("type") == "transaction":
            return await transaction(request, self.services, self, self.answer_error)
        raise InvalidRequest(
            f"A Bundle of type batch or transaction is carried out here; found {str(bundle.get('type'))[:40]!r}.",
            "Bundle.type",
        )

    async def _type(self, request: FhirRequest, type: str, rest: tuple[str, ...]) -> FhirResponse:
        method, services = request.method, self.services
        if rest == ("_history",):
            _allow(request, "GET", "HEAD")
            return await history(request, services, type)
        if rest == ("_search",):
            _allow(request, "POST")
            return await search(request, services, (type,), form_pairs(request), path=type)
        if rest:
            raise NotFound(f"There is nothing at {type}/{'/'.join(rest)} on this server.")
        if method in ("GET", "HEAD"):
            return await search(request, services, (type,), request.query, path=type)
        if method == "POST":
            return await create(request, services, type)
        if method == "PUT":
            return await conditional_update(request, services, type)
        if method == "PATCH":
            return await conditional_patch(request, services, type)
        _allow(request, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        return await conditional_delete(request, services, type)

    async def _instance(
        self, request: FhirRequest, type: str, id: str, rest: tuple[str, ...]
    ) -> FhirResponse:
        method, services = request.method, self.services
        if not rest:
            if method == "PUT":
                return await update(request, services, type, id)
            if method == "PATCH":
                return await patch(request, services, type, id)
            if method == "DELETE":
                return await delete(request, services, type, id)
            _allow(request, "GET", "HEAD", "PUT", "PATCH", "DELETE")
            return await read(request, services, type, id)
        if rest[0] == "_history" and len(rest) < 3:
            _allow(request, "GET", "HEAD")
            if len(rest) == 1:
                return await history(request, services, type, id)
            return await vread(request, services, type, id, rest[1])
        if len(rest) == 1 or rest[1:] == ("_search",):
            return await self._compartment(request, type, id, rest)
        raise NotFound(f"There is nothing at {'/'.join(request.path)!r} on this server.")

    async def _compartment(
        self, request: FhirRequest, type: str, id: str, rest: tuple[str, ...]
    ) -> FhirResponse:
        require_type(rest[0])
        _allow(request, *(("GET", "HEAD") if len(rest) == 1 else ("POST",)))
        pairs = request.query if len(rest) == 1 else form_pairs(request)
        return await search_compartment(request, self.services, type, id, rest[0], pairs)

    async def _operation(self, request: FhirRequest, path: tuple[str, ...]) -> FhirResponse:
        name = path[-1][1:]
        type = require_type(path[0]) if len(path) > 1 else None
        id = require_id(path[1]) if len(path) > 2 else None
        if len(path) > 3:
            raise NotFound(f"There is nothing at {'/'.join(path)!r} on this server.")
        operation = find_operation(self.services, name, type, id)
        if operation is None:
            raise UnknownOperation(
                f"This server has no operation {'/'.join(path)!r}; see the CapabilityStatement."
            )
        if operation.affects_state:
            _allow(request, "POST")
        _allow(request, "GET", "HEAD", "POST")
        return await operation.handler(
            OperationCall(request, call_parameters(request), type, id), self.services
        )


def find_operation(services: Services, name: str, type: str | None, id: str | None) -> Operation | None:
    """The operation `name` as it is offered at that place, or None."""
    for operation in services.operations.get(name, ()):
        offered = operation.system if type is None else operation.type if id is None else operation.instance
        if offered and (type is None or not operation.types or type in operation.types):
            return operation
    return None


def call_parameters(request: FhirRequest) -> Resource:
    """The parameters of an operation as a Parameters resource: sent so, or made of the query or of a lone resource.

    https://hl7.org/fhir/R4/operations.html#request. Raises InvalidRequest when a Parameters resource is malformed.
    """
    query = [{"name": n, "valueString": v} for n, v in request.query if n not in ("_format", "_pretty")]
    sent = request.resource
    if sent is None:
        return {"resourceType": "Parameters", "parameter": query}
    if sent.get("resourceType") != "Parameters":
        return {"resourceType": "Parameters", "parameter": [*query, {"name": "resource", "resource": sent}]}
    given = sent.get("parameter", [])
    if not isinstance(given, list) or not all(
        isinstance(p, dict) and isinstance(p.get("name"), str) for p in given
    ):
        raise InvalidRequest(
            "Parameters.parameter is an array of objects, each with a name.", "Parameters.parameter"
        )
    return {**sent, "parameter": [*query, *given]}


def require_type(name: str) -> str:
    """`name` if it is an R4 resource type. Raises UnknownResourceType."""
    if not is_resource_type(name):
        raise UnknownResourceType(f"{name[:64]!r} is no resource type of FHIR R4.")
    return name


def require_id(id: str) -> str:
    """`id` if it has the form of a logical id. Raises InvalidRequest."""
    if ID.fullmatch(id) is None:
        raise InvalidRequest(
            f"{id[:80]!r} is no logical id: 1 to 64 letters, digits, '-' and '.' were expected."
        )
    return id


def _allow(request: FhirRequest, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowed(
            f"{request.method} cannot be sent to {'/'.join(request.path) or 'the base'!r}; it takes {', '.join(methods)}.",
            headers={"Allow": ", ".join(methods)},
        )
