"""The OpenAPI 3.1 document of the server: https://spec.openapis.org/oas/v3.1.0

Made of the tables that the server itself runs on: interactions, operations, search parameters, definitions, settings,
errors. Nothing is described here that those tables do not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fhir_server.context import Operation, Services
from fhir_server.http.examples import EXAMPLES
from fhir_server.http.json_schemas import PRIMITIVE_SCHEMAS, reference_to, schemas_of
from fhir_server.http.openapi_components import (
    FHIR_JSON,
    FHIR_XML,
    error_responses,
    search_components,
    success_responses,
)
from fhir_server.http.openapi_interactions import INTERACTIONS, Interaction, parameter_components
from fhir_server.interactions.capabilities import PATCH_FORMATS, software_version
from profiles.ig import conformance_resources

Json = dict[str, Any]

DEFAULT_TYPES = (
    "Account",
    "AllergyIntolerance",
    "Appointment",
    "ChargeItem",
    "Condition",
    "Coverage",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Immunization",
    "Invoice",
    "Location",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Schedule",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "Task",
)
ALWAYS = ("Bundle", "OperationOutcome", "Parameters")
OUTSIDE = (
    ("/health", "Is the process alive?", "application/json"),
    ("/ready", "Can the store be written to? 503 when it cannot.", "application/json"),
    ("/metrics", "Metrics in the text format of Prometheus.", "text/plain"),
    (
        "/openapi.json",
        "This document; `types=Patient,Task` or `types=*` chooses the types.",
        "application/json",
    ),
)


def openapi_document(services: Services, types: Sequence[str] = DEFAULT_TYPES) -> Json:
    """The document; `types` get addresses of their own, with their search parameters and schemas."""
    prefix, servers = _address(services.settings.base_url)
    paths: dict[str, Json] = {}
    for interaction in INTERACTIONS:
        _add(paths, prefix + interaction.path or "/", interaction.method, _operation(interaction, None))
    for name in types:
        for interaction in INTERACTIONS:
            if interaction.level != "system" and "{member}" not in interaction.path:
                path = prefix + interaction.path.replace("{type}", name)
                _add(paths, path, interaction.method, _operation(interaction, name))
    for operation in (o for named in services.operations.values() for o in named):
        _add_operation(paths, prefix, operation)
    if prefix:
        for path, summary, media in OUTSIDE:
            _add(paths, path, "get", _outside(path, summary, media))
    document: Json = {
        "openapi": "3.1.0",
        "info": _info(),
        "tags": [{"name": "system", "description": "The server as a whole"}, {"name": "any type"}]
        + [{"name": name} for name in types],
        "paths": paths,
        "components": {
            "parameters": {**parameter_components(services.settings), **search_components(services, types)},
            "responses": {**success_responses(types), **error_responses()},
            "schemas": schemas_of((*ALWAYS, *types)),
        },
    }
    for name in types:
        search = paths[f"{prefix}/{name}"]["get"]
        search["parameters"] = [
            *_searches(services, name),
            *(p for p in search["parameters"] if p != _ref("criteria")),
        ]
    return {**document, "servers": servers} if servers else document


def _address(base_url: str) -> tuple[str, list[Json]]:
    """The prefix of FHIR paths, and the servers where the base is not /fhir on this host."""
    if not base_url:
        return "/fhir", []
    if base_url.endswith("/fhir"):
        return "/fhir", [{"url": base_url.removesuffix("/fhir")}]
    return "", [{"url": base_url}]


def _info() -> Json:
    return {
        "title": "Osler",
        "version": software_version(),
        "summary": "A FHIR R4 server that runs a hospital",
        "description": "The RESTful API of HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4/http.html. Every refusal is an "
        "OperationOutcome whose first issue carries the id of the error in `details.coding`. JSON and XML are taken "
        "and given everywhere; the schemas are those of JSON.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _add(paths: dict[str, Json], path: str, method: str, operation: Json) -> None:
    paths.setdefault(path, {})[method] = operation


def _ref(parameter: str) -> Json:
    return {"$ref": f"#/components/parameters/{parameter}"}


def _operation(interaction: Interaction, type: str | None) -> Json:
    names = [n for n in interaction.parameters if not (n == "type" and type is not None)]
    tag = type or ("system" if interaction.level == "system" else "any type")
    operation: Json = {
        "operationId": interaction.id + (type or ""),
        "tags": [tag],
        "summary": interaction.summary,
        "externalDocs": {"url": interaction.spec},
        "parameters": [_ref(name) for name in names],
        "responses": {
            **{str(status): _answer_ref(status, what, type) for status, what in interaction.answers},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in interaction.errors},
        },
    }
    if interaction.body is not None:
        operation["requestBody"] = _body(interaction.body, type)
    return operation


def _schema_of(what: str, type: str | None) -> str:
    """The name of the schema of an answer; '' for one without a body."""
    return {"none": "", "bundle": "Bundle", "statement": "Resource"}.get(what, type or "Resource")


def _answer_ref(status: int, what: str, type: str | None) -> Json:
    schema = _schema_of(what, type)
    return {"$ref": f"#/components/responses/{status}{'-' if schema else ''}{schema}"}


def _body(kind: str, type: str | None) -> Json:
    content: Json
    if kind == "form":
        form = {"type": "object", "additionalProperties": {"type": "string"}}
        content = {"application/x-www-form-urlencoded": {"schema": form}}
    elif kind == "patch":
        content = {media: {"schema": {}} for media in PATCH_FORMATS}
        operation = {"op": "replace", "path": "/active", "value": False}
        content[PATCH_FORMATS[0]] = {"schema": {"type": "array"}, "example": [operation]}
    else:
        name = {"bundle": "Bundle", "parameters": "Parameters"}.get(kind, type or "Resource")
        content = {FHIR_JSON: {"schema": reference_to(name)}, FHIR_XML: {}}
        if name in EXAMPLES:
            content[FHIR_JSON]["example"] = EXAMPLES[name]
    return {"required": True, "content": content}


def _searches(services: Services, name: str) -> list[Json]:
    parameters = services.parameters
    return [
        _ref(f"{'Resource' if 'Resource' in definition.base else name}-{code}")
        for code, definition in parameters.of(name).items()
        if parameters.searchable(name, code)
    ] + [_ref("Resource-_list")]


def _add_operation(paths: dict[str, Json], prefix: str, operation: Operation) -> None:
    definition: Mapping[str, Any] = next(
        r for r in conformance_resources([operation.definition]) if r["url"] == operation.definition
    )
    given = [p for p in definition.get("parameter", ()) if p["use"] == "in"]
    places: list[tuple[str, str, list[Json]]] = []
    if operation.system:
        places.append(("", "system", []))
    for name in operation.types or ("{type}",):
        own = [_ref("type")] if name == "{type}" else []
        tag = "any type" if name == "{type}" else name
        if operation.type:
            places.append((f"/{name}", tag, own))
        if operation.instance:
            places.append((f"/{name}/{{id}}", tag, [*own, _ref("id")]))
    for place, tag, parameters in places:
        path = f"{prefix}{place}/${operation.name}"
        for method in ("post",) if operation.affects_state else ("post", "get"):
            told = _operation_of(operation, definition, given, method, path)
            told["tags"] = [tag]
            told["parameters"] = [*parameters, *told["parameters"]]
            _add(paths, path, method, told)


def _operation_of(
    operation: Operation, definition: Mapping[str, Any], given: Sequence[Json], method: str, path: str
) -> Json:
    lines = [
        f"- `{p['name']}` {p['min']}..{p['max']} {p.get('type', 'parts')}: {_first_sentence(p.get('documentation', ''))}"
        for p in given
    ]
    told: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_"),
        "summary": f"${operation.name}: {_first_sentence(definition.get('description', ''))}",
        "description": "\n".join(["Parameters:", *lines]) if lines else "",
        "externalDocs": {"url": operation.definition},
        "parameters": [_ref("_format"), _ref("_pretty")],
        "responses": {
            "200": {
                "description": "OK",
                "content": {FHIR_JSON: {"schema": reference_to("Resource")}, FHIR_XML: {}},
            },
            **{str(s): {"$ref": f"#/components/responses/{s}"} for s in (400, 404, 406, 410, 422, 503)},
        },
    }
    if method == "post":
        told["requestBody"] = {**_body("parameters", None), "required": False}
    else:
        told["parameters"] = [_query_of(p) for p in given if _is_primitive(p)] + told["parameters"]
    return told


def _is_primitive(parameter: Json) -> bool:
    type = parameter.get("type", "")
    return bool(type) and type[0].islower()


def _query_of(parameter: Json) -> Json:
    return {
        "in": "query",
        "name": parameter["name"],
        "description": _first_sentence(parameter.get("documentation", "")),
        "schema": PRIMITIVE_SCHEMAS.get(parameter["type"], {"type": "string"}),
    }


def _first_sentence(text: str) -> str:
    line = text.strip().partition("\n")[0].strip()
    sentence, stop, _ = line.partition(". ")
    return sentence + "." if stop else sentence


def _outside(path: str, summary: str, media: str) -> Json:
    return {
        "operationId": path.strip("/").replace(".", "_"),
        "tags": ["system"],
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": {media: {}}}},
    }
