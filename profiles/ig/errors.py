"""The code system of error ids, made from the table of errors: https://hl7.org/fhir/R4/codesystem.html.

`OperationOutcome.issue.details` names an error with a code of it. An invariant to keep: the table in `fhir_r4.errors` is the
only place where an error is defined.
"""

from __future__ import annotations

from typing import Any

from fhir_r4.errors import ERROR_SYSTEM, ERRORS, FhirError


def error_code_system() -> dict[str, Any]:
    """The CodeSystem of all errors that are known when it is called, sorted by id."""
    return {
        "resourceType": "CodeSystem",
        "id": "error",
        "url": ERROR_SYSTEM,
        "name": "OslerError",
        "title": "Osler errors",
        "status": "active",
        "experimental": False,
        "publisher": "Osler",
        "description": "The kinds of refusal that an OperationOutcome of Osler names in issue.details.",
        "caseSensitive": True,
        "content": "complete",
        "count": len(ERRORS),
        "property": [
            {
                "code": "http-status",
                "description": "The HTTP status that the error is answered with.",
                "type": "integer",
            },
            {
                "code": "issue-code",
                "description": "OperationOutcome.issue.code of the error.",
                "type": "code",
            },
        ],
        "concept": [_concept(ERRORS[id]) for id in sorted(ERRORS)],
    }


def _concept(error: type[FhirError]) -> dict[str, Any]:
    concept: dict[str, Any] = {"code": error.id, "display": error.id.replace("-", " ").capitalize()}
    if error.__doc__:
        concept["definition"] = " ".join(error.__doc__.split())
    concept["property"] = [
        {"code": "http-status", "valueInteger": error.status},
        {"code": "issue-code", "valueCode": error.code},
    ]
    return concept
