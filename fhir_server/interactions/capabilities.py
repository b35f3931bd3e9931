"""capabilities: what this server does, made from the tables that do it. https://hl7.org/fhir/R4/http.html#capabilities

`mode=full` and `mode=normative` answer with the CapabilityStatement, `mode=terminology` with TerminologyCapabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fhir_r4.definitions import FHIR_VERSION, code_system_urls, resource_types
from fhir_r4.errors import InvalidParameter
from fhir_r4.jsonio import encode
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirRequest, FhirResponse, Operation, Resource, Services
from fhir_server.interactions.indexing import follow, refresh_pending
from fhir_server.interactions.subsetting import subset_body
from fhir_server.search.custom import InForce

FORMATS = ("application/fhir+json", "application/fhir+xml", "json", "xml")
PATCH_FORMATS = (
    "application/json-patch+json",
    "application/xml-patch+xml",
    "application/fhir+json",
    "application/fhir+xml",
)
TYPE_INTERACTIONS = (
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
)
SYSTEM_INTERACTIONS = ("transaction", "batch", "search-system", "history-system")
REFERENCE_POLICY = {
    "off": ("literal", "logical"),
    "warn": ("literal", "logical"),
    "enforce": ("literal", "logical", "enforced"),
}


def software_version() -> str:
    try:
        return version("osler")
    except PackageNotFoundError:
        return "0"


class Capabilities:
    """The statements of one server, kept for each base address as long as the same search parameters are in force."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, bool], bytes] = {}
        self._made_for: InForce | None = None

    def body(self, services: Services, base: str, terminology: bool) -> bytes:
        if self._made_for is not services.registry.current:
            self._made = {}
            self._made_for = services.registry.current
        key = (base, terminology)
        body = self._made.get(key)
        if body is None:
            make = terminology_capabilities if terminology else capability_statement
            body = encode(make(services, base))
            if len(self._made) > 16:
                self._made.clear()
            self._made[key] = body
        return body


async def capabilities(request: FhirRequest, services: Services, statements: Capabilities) -> FhirResponse:
    """Answer with the statement of the mode asked for. Raises InvalidParameter for an unknown mode."""
    mode = next((v for n, v in request.query if n == "mode"), "full")
    if mode not in ("full", "normative", "terminology"):
        raise InvalidParameter(f"mode is full, normative or terminology; found {mode[:40]!r}.", "mode")
    await follow(services)
    if services.registry.current.pending:
        await refresh_pending(services)
    body = statements.body(services, request.base, mode == "terminology")
    return FhirResponse(200, body=subset_body(body, request.query))


def _head(services: Services, base: str, type: str, what: str) -> Resource:
    return {
        "resourceType": type,
        "id": type.lower(),
        "url": f"{base}/metadata" + ("?mode=terminology" if type == "TerminologyCapabilities" else ""),
        "version": software_version(),
        "name": f"Osler{type}",
        "title": what,
        "status": "active",
        "date": format_instant(services.started),
        "publisher": "Osler",
        "description": what,
        "kind": "instance",
        "software": {"name": "Osler", "version": software_version()},
        "implementation": {"description": "This server", "url": base},
    }


def capability_statement(services: Services, base: str) -> Resource:
    """The CapabilityStatement of this server at `base`."""
    reverse = reverse_includes(services)
    operations = _operations(services, lambda o: o.system)
    return {
        **_head(services, base, "CapabilityStatement", "What this Osler server does"),
        "fhirVersion": FHIR_VERSION,
        "format": list(FORMATS),
        "patchFormat": list(PATCH_FORMATS),
        "rest": [
            {
                "mode": "server",
                "security": {
                    "cors": False,
                    "description": "Access control is off: the server listens on the loopback interface only.",
                },
                "resource": [_resource(services, name, reverse.get(name, [])) for name in resource_types()],
                "interaction": [{"code": code} for code in SYSTEM_INTERACTIONS],
                "searchParam": _search_params(services, "Resource"),
                **({"operation": operations} if operations else {}),
                "compartment": [
                    f"http://hl7.org/fhir/CompartmentDefinition/{name}"
                    for name in ("patient", "encounter", "practitioner", "relatedPerson", "device")
                ],
            }
        ],
    }


def _resource(services: Services, name: str, reverse: list[str]) -> Resource:
    references = [code for code, p in services.parameters.of(name).items() if p.type == "reference"]
    row: dict[str, Any] = {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": [{"code": code} for code in TYPE_INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": services.settings.conditional_delete,
        "referencePolicy": list(REFERENCE_POLICY[services.settings.integrity]),
        "searchInclude": ["*", *(f"{name}:{code}" for code in references)],
        "searchRevInclude": reverse,
        "searchParam": _search_params(services, name),
        "operation": _operations(
            services, lambda o: (o.type or o.instance) and (not o.types or name in o.types)
        ),
    }
    return {k: v for k, v in row.items() if v != []}


def reverse_includes(services: Services) -> dict[str, list[str]]:
    """target type -> `Type:parameter` of every reference parameter that may point there."""
    found: dict[str, list[str]] = {}
    for source in resource_types():
        for code, parameter in services.parameters.of(source).items():
            if parameter.type == "reference":
                for target in parameter.targets:
                    found.setdefault(target, []).append(f"{source}:{code}")
    return found


def _search_params(services: Services, type: str) -> list[Resource]:
    rows: list[Resource] = []
    for code, parameter in services.parameters.of(type).items():
        if services.parameters.searchable(type, code):
            row = {"name": code, "definition": parameter.url, "type": parameter.type}
            if (type, code) in services.registry.current.pending:
                row["documentation"] = "Not fully indexed: resources written before it came may be missing."
            rows.append(row)
    # R4 gives `_list` no definition
    rows += [
        {"name": code, "type": "special"} for code in services.parameters.special(type) if code == "_list"
    ]
    return rows


def _operations(services: Services, offered: Callable[[Operation], bool]) -> list[Resource]:
    return [
        {"name": operation.name, "definition": operation.definition}
        for name in sorted(services.operations)
        for operation in services.operations[name]
        if offered(operation)
    ]


def terminology_capabilities(services: Services, base: str) -> Resource:
    """The TerminologyCapabilities of this server at `base`."""
    return {
        **_head(services, base, "TerminologyCapabilities", "What this Osler server knows of codes"),
        "codeSystem": [{"uri": url} for url in sorted(code_system_urls())],
        "expansion": {"hierarchical": False, "paging": True, "incomplete": False},
        "codeSearch": "all",
        "validateCode": {"translations": False},
    }
