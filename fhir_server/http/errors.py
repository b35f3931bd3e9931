"""The one door for errors: whatever was raised becomes an OperationOutcome with the right status.

https://hl7.org/fhir/R4/operationoutcome.html. What is not a FhirError is our fault: 500, logged with its trace, told
without details.
"""

from __future__ import annotations

import traceback

import structlog

from fhir_r4.errors import FhirError, MalformedJson, PreconditionFailed
from fhir_r4.jsonio import TOO_DEEP
from fhir_server.context import FhirResponse
from fhir_server.store.protocol import Stale

log = structlog.get_logger("osler.errors")


def answer_error(error: Exception, request_id: str = "") -> FhirResponse:
    """The answer to `error`; `request_id` goes into the log when the fault is ours."""
    if isinstance(error, Stale):
        error = PreconditionFailed("The resource was changed by another request in between.")
    if isinstance(error, RecursionError):
        # what is nested deeper than our recursion can follow was refused before anything was written
        error = MalformedJson(TOO_DEEP)
    if not isinstance(error, FhirError):
        frames = traceback.extract_tb(error.__traceback__)
        # neither the message nor local variables: both may hold patient data
        log.error(
            "unexpected",
            request_id=request_id,
            exception=type(error).__qualname__,
            traceback=[f"{f.filename}:{f.lineno} {f.name}" for f in frames[-12:]],
        )
        error = FhirError("Something went wrong inside the server; the request id leads to the log.")
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [issue.as_fhir(error.id if n == 0 else None) for n, issue in enumerate(error.issues)],
    }
    headers = dict(error.headers)
    if error.status == 503:
        headers.setdefault("Retry-After", "1")
    return FhirResponse(error.status, resource=outcome, headers=headers)
