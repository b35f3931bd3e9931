"""The interactions of the FHIR API as the OpenAPI document tells them: address, parameters, body, answers.

https://hl7.org/fhir/R4/http.html#summary. One row for each method and address that `interactions.dispatch` takes; a test
sends every row to the server and fails when it is not taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fhir_r4.definitions import resource_types
from fhir_server.http.json_schemas import PRIMITIVE_SCHEMAS
from fhir_server.search.directives import CONTAINED_TYPES, CONTAINED_VALUES
from fhir_server.settings import Settings

Body = Literal["resource", "patch", "form", "bundle", "parameters"]
Answer = Literal["resource", "bundle", "statement", "none"]

HTTP_SPEC = "https://hl7.org/fhir/R4/http.html"
SEARCH_SPEC = "https://hl7.org/fhir/R4/search.html"


@dataclass(frozen=True, slots=True)
class Interaction:
    """A row: `parameters` name entries of `parameter_components`, `answers` are (status, what), `errors` statuses."""

    method: str
    path: str
    id: str
    summary: str
    spec: str
    parameters: tuple[str, ...]
    answers: tuple[tuple[int, Answer], ...]
    errors: tuple[int, ...]
    body: Body | None = None

    @property
    def level(self) -> str:
        """`system`, `type` or `instance`."""
        return "instance" if "{id}" in self.path else "type" if "{type}" in self.path else "system"


_SHOWN = ("_format", "_pretty")
_PART = ("_summary", "_elements")
_PAGE = ("_count", "_sort", "_total", "_include", "_revinclude")
_INSIDE = ("_contained", "_containedType")
_HISTORY = ("_since", "_at", "_count", *_PART, *_SHOWN)
_WRITE = ("Prefer", *_SHOWN)
_READ_ERRORS = (400, 404, 406, 410, 503)
_SEARCH_ERRORS = (400, 404, 406, 503)
_WRITE_ERRORS = (400, 404, 406, 409, 412, 413, 415, 422, 503)
_DELETE_ERRORS = (400, 404, 406, 409, 412, 503)

INTERACTIONS: tuple[Interaction, ...] = (
    Interaction(
        "get", "/metadata", "capabilities", "What this server does",
        f"{HTTP_SPEC}#capabilities", ("mode", *_PART, *_SHOWN), ((200, "statement"),), (400, 406),
    ),
    Interaction(
        "post", "", "bundle", "Carry out a batch or transaction Bundle",
        f"{HTTP_SPEC}#transaction", _WRITE, ((200, "bundle"),), (*_WRITE_ERRORS, 410), "bundle",
    ),
    Interaction(
        "get", "", "searchSystem", "Search resources of all types, or those of _type",
        f"{SEARCH_SPEC}#searching", ("_type", "criteria", *_PAGE, *_INSIDE, *_PART, *_SHOWN), ((200, "bundle"),), _SEARCH_ERRORS,
    ),
    Interaction(
        "post", "/_search", "searchSystemByPost", "The same search with its parameters in a form",
        f"{HTTP_SPEC}#search", _SHOWN, ((200, "bundle"),), (*_SEARCH_ERRORS, 413), "form",
    ),
    Interaction(
        "get", "/_history", "historySystem", "Every version of every resource, newest first",
        f"{HTTP_SPEC}#history", _HISTORY, ((200, "bundle"),), (400, 406, 503),
    ),
    Interaction(
        "get", "/{type}", "search", "Search resources of a type",
        f"{SEARCH_SPEC}#searching", ("type", "criteria", *_PAGE, *_INSIDE, *_PART, *_SHOWN), ((200, "bundle"),), _SEARCH_ERRORS,
    ),
    Interaction(
        "post", "/{type}/_search", "searchByPost", "The same search with its parameters in a form",
        f"{HTTP_SPEC}#search", ("type", *_SHOWN), ((200, "bundle"),), (*_SEARCH_ERRORS, 413), "form",
    ),
    Interaction(
        "post", "/{type}", "create", "Create a resource; If-None-Exist makes it conditional",
        f"{HTTP_SPEC}#create", ("type", "If-None-Exist", *_WRITE), ((201, "resource"), (200, "resource")),
        _WRITE_ERRORS, "resource",
    ),
    Interaction(
        "put", "/{type}", "conditionalUpdate", "Update the one resource that the criteria find, or create it",
        f"{HTTP_SPEC}#cond-update", ("type", "criteria", "If-Match", *_WRITE), ((200, "resource"), (201, "resource")),
        _WRITE_ERRORS, "resource",
    ),
    Interaction(
        "patch", "/{type}", "conditionalPatch", "Patch the one resource that the criteria find",
        f"{HTTP_SPEC}#patch", ("type", "criteria", "If-Match", *_WRITE), ((200, "resource"),), _WRITE_ERRORS, "patch",
    ),
    Interaction(
        "delete", "/{type}", "conditionalDelete", "Delete what the criteria find",
        f"{HTTP_SPEC}#cdelete", ("type", "criteria", *_WRITE), ((204, "none"), (200, "resource")), _DELETE_ERRORS,
    ),
    Interaction(
        "get", "/{type}/_history", "historyType", "Every version of every resource of a type, newest first",
        f"{HTTP_SPEC}#history", ("type", *_HISTORY), ((200, "bundle"),), _SEARCH_ERRORS,
    ),
    Interaction(
        "get", "/{type}/{id}", "read", "Read the current version",
        f"{HTTP_SPEC}#read", ("type", "id", "If-None-Match", "If-Modified-Since", *_PART, *_SHOWN),
        ((200, "resource"), (304, "none")), _READ_ERRORS,
    ),
    Interaction(
        "put", "/{type}/{id}", "update", "Write a new version, or create the resource under this id",
        f"{HTTP_SPEC}#update", ("type", "id", "If-Match", "If-None-Match", *_WRITE),
        ((200, "resource"), (201, "resource")), _WRITE_ERRORS, "resource",
    ),
    Interaction(
        "patch", "/{type}/{id}", "patch", "Change parts of a resource",
        f"{HTTP_SPEC}#patch", ("type", "id", "If-Match", *_WRITE), ((200, "resource"),), (*_WRITE_ERRORS, 410), "patch",
    ),
    Interaction(
        "delete", "/{type}/{id}", "delete", "Delete a resource; its history stays",
        f"{HTTP_SPEC}#delete", ("type", "id", "If-Match", *_WRITE), ((204, "none"), (200, "resource")), _DELETE_ERRORS,
    ),
    Interaction(
        "get", "/{type}/{id}/_history", "historyInstance", "Every version of a resource, newest first",
        f"{HTTP_SPEC}#history", ("type", "id", *_HISTORY), ((200, "bundle"),), _SEARCH_ERRORS,
    ),
    Interaction(
        "get", "/{type}/{id}/_history/{vid}", "vread", "Read one version",
        f"{HTTP_SPEC}#vread", ("type", "id", "vid", "If-None-Match", *_PART, *_SHOWN),
        ((200, "resource"), (304, "none")), _READ_ERRORS,
    ),
    Interaction(
        "get", "/{type}/{id}/{member}", "searchCompartment", "Search within a compartment",
        "https://hl7.org/fhir/R4/compartmentdefinition.html",
        ("type", "id", "member", "criteria", *_PAGE, *_PART, *_SHOWN), ((200, "bundle"),), _SEARCH_ERRORS,
    ),
    Interaction(
        "post", "/{type}/{id}/{member}/_search", "searchCompartmentByPost", "The same with its parameters in a form",
        "https://hl7.org/fhir/R4/compartmentdefinition.html",
        ("type", "id", "member", *_SHOWN), ((200, "bundle"),), (*_SEARCH_ERRORS, 413), "form",
    ),
)  # fmt: skip


def parameter_components(settings: Settings) -> dict[str, dict[str, Any]]:
    """The parameters that interactions share, by the name that INTERACTIONS use."""
    text = {"type": "string"}
    count = {"type": "integer", "minimum": 0, "maximum": settings.max_page, "default": settings.default_page}
    types = {"type": "string", "enum": list(resource_types())}
    return {
        "type": _parameter("path", "type", "The resource type.", types),
        "id": _parameter("path", "id", "The logical id.", PRIMITIVE_SCHEMAS["id"]),
        "vid": _parameter(
            "path", "vid", "The number of the version.", {"type": "string", "pattern": "^[0-9]+$"}
        ),
        "member": _parameter("path", "member", "The resource type to search within the compartment.", types),
        "mode": _query(
            "mode", "Which statement.", {"enum": ["full", "normative", "terminology"], "default": "full"}
        ),
        "criteria": {
            "in": "query",
            "name": "criteria",
            "description": "Search parameters of the type, with modifiers, prefixes, chains and _has: `family=osler`, "
            "`birthdate=ge1990`, `subject.name=osler`. Those of a type are listed at its own address.",
            "schema": {"type": "object", "additionalProperties": text},
            "style": "form",
            "explode": True,
        },
        "_type": _query("_type", "The types to search, separated by commas.", text),
        "_count": _query("_count", "Most matches on a page.", count),
        "_sort": _query(
            "_sort", "Parameters to sort by, separated by commas; `-` before one turns it round.", text
        ),
        "_total": _query("_total", "Whether the total is told.", {"enum": ["none", "estimate", "accurate"]}),
        "_include": _query("_include", "Add what the matches refer to: `Observation:subject`.", text),
        "_revinclude": _query("_revinclude", "Add what refers to the matches: `Observation:subject`.", text),
        "_contained": _query(
            "_contained", "Whether contained resources are searched.", {"enum": list(CONTAINED_VALUES)}
        ),
        "_containedType": _query(
            "_containedType", "What is shown of contained resources.", {"enum": list(CONTAINED_TYPES)}
        ),
        "_summary": _query(
            "_summary", "A part of each resource.", {"enum": ["true", "text", "data", "count", "false"]}
        ),
        "_elements": _query("_elements", "Only these top-level elements (and the mandatory ones).", text),
        "_since": _query(
            "_since", "Only versions since this instant.", {"type": "string", "format": "date-time"}
        ),
        "_at": _query("_at", "Only versions that were current at some time of this period.", text),
        "_format": _query(
            "_format", "The format of the answer; wins over Accept.", {"enum": ["json", "xml"]}
        ),
        "_pretty": _query("_pretty", "Indent the answer.", {"type": "boolean"}),
        "If-Match": _parameter("header", "If-Match", 'Only if this is the current version: `W/"3"`.', text),
        "If-None-Match": _parameter(
            "header",
            "If-None-Match",
            'On reads: 304 if the version is still `W/"3"`. On an update `*`: only create.',
            text,
        ),
        "If-Modified-Since": _parameter(
            "header", "If-Modified-Since", "304 if nothing changed since then.", text
        ),
        "If-None-Exist": _parameter(
            "header",
            "If-None-Exist",
            "Search parameters; nothing is created when they find a resource.",
            text,
        ),
        "Prefer": _parameter(
            "header",
            "Prefer",
            "`return=minimal`, `return=representation` or `return=OperationOutcome`; for searches `handling=strict` "
            "or `handling=lenient`.",
            text,
        ),
    }


def _parameter(where: str, name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    parameter: dict[str, Any] = {"in": where, "name": name, "description": description, "schema": schema}
    if where == "path":
        parameter["required"] = True
    return parameter


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _parameter(
        "query", name, description, {"type": "string", **schema} if "enum" in schema else schema
    )
