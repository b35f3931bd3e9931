"""The parts of the OpenAPI document that many addresses share: answers, refusals, search parameters.

https://spec.openapis.org/oas/v3.1.0#components-object. Names: an answer is `200-Patient`, a refusal its status, a search
parameter `Patient-birthdate` or, for those of all types, `Resource-_id`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fhir_r4.definitions import SearchParameter
from fhir_r4.errors import ERRORS
from fhir_server.context import Services
from fhir_server.http.json_schemas import reference_to
from fhir_server.search.modifiers import modifiers_of
from fhir_server.search.parameters import Parameters

Json = dict[str, Any]

FHIR_JSON = "application/fhir+json"
FHIR_XML = "application/fhir+xml"
_LINE_FOR = re.compile(r"\* \[(\w+)\]\([^)]*\): ([^\r\n]*)")


def success_responses(types: Iterable[str]) -> Json:
    """The answers of interactions that succeed, by name."""
    found: Json = {str(status): {"description": HTTPStatus(status).phrase} for status in (204, 304)}
    found["200-Bundle"] = _success(200, "Bundle")
    for name in ("Resource", *types):
        found[f"200-{name}"] = _success(200, name)
        found[f"201-{name}"] = _success(201, name)
    return found


def _success(status: int, schema: str) -> Json:
    answer: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {FHIR_JSON: {"schema": reference_to(schema)}, FHIR_XML: {}},
    }
    if schema != "Bundle":
        answer["headers"] = {
            "ETag": {"description": 'The version: `W/"3"`.', "schema": {"type": "string"}},
            "Last-Modified": {"description": "When it was written.", "schema": {"type": "string"}},
        }
        if status == 201:
            answer["headers"]["Location"] = {
                "description": "The address of the version.",
                "schema": {"type": "string"},
            }
    return answer


def error_responses() -> Json:
    """What each refusal status means: the errors that have it."""
    by_status: dict[int, list[str]] = {}
    for id, error in sorted(ERRORS.items()):
        meaning = (error.__doc__ or "").strip().partition("\n")[0]
        by_status.setdefault(error.status, []).append(f"- `{id}`" + (f": {meaning}" if meaning else ""))
    content = {FHIR_JSON: {"schema": reference_to("OperationOutcome")}, FHIR_XML: {}}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase + "\n\n" + "\n".join(lines),
            "content": content,
        }
        for status, lines in sorted(by_status.items())
    }


def search_components(services: Services, types: Iterable[str]) -> Json:
    """The search parameters of `types` that can be searched."""
    known = services.parameters
    return (
        {
            f"{name}-{code}": _search_parameter(known, name, definition)
            for name in types
            for code, definition in known.of(name).items()
            if known.searchable(name, code) and "Resource" not in definition.base
        }
        | {
            f"Resource-{code}": _search_parameter(known, "Resource", definition)
            for code, definition in known.of("Resource").items()
            if known.searchable("Resource", code)
        }
        | {
            # R4 gives it no definition
            "Resource-_list": {
                "in": "query",
                "name": "_list",
                "description": "special: the resources in a List, by its id or a name such as `$current-problems`",
                "schema": {"type": "string"},
            }
        }
    )


def _search_parameter(parameters: Parameters, type: str, definition: SearchParameter) -> Json:
    schema: Json = {"type": "string"}
    return {
        "in": "query",
        "name": definition.code,
        "description": f"{definition.type}: {_meaning(type, definition.description)}"
        f"{_modifiers(parameters, type, definition)}",
        "schema": schema,
    }


def _modifiers(parameters: Parameters, type: str, definition: SearchParameter) -> str:
    about = parameters.about(type, definition.code)
    # nothing is known of what is answered otherwise, such as _id and _text
    taken = modifiers_of(about) if about.kind else ()
    return f" (modifiers {', '.join(f':{m}' for m in taken)})" if taken else ""


def _meaning(type: str, description: str) -> str:
    """The line for `type` of a description that is shared by several types, else its first line."""
    for name, text in _LINE_FOR.findall(description):
        if name == type:
            return str(text)
    return description.partition("\r\n")[0].partition("\n")[0]
