"""The errors of the house: each has an id, an HTTP status and an issue code, and says what, where and what was expected.

Raised anywhere below the rim; `fhir_server.http.errors` is the one place that answers with them.
Issue codes: https://hl7.org/fhir/R4/valueset-issue-type.html. An exception class is a row of the table of errors: `id`
is stable and documented in docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Issue:
    """One OperationOutcome.issue: `expression` are FHIRPaths (or, for search, parameter names) of the places at fault.

    `rule` is (system, code) of the rule that refuses, for clients that want to tell rules apart.
    """

    severity: str
    code: str
    diagnostics: str
    expression: tuple[str, ...] = ()
    rule: tuple[str, str] | None = None

    def as_fhir(self, error_id: str | None = None) -> dict[str, Any]:
        issue: dict[str, Any] = {"severity": self.severity, "code": self.code}
        codings = [] if error_id is None else [{"system": ERROR_SYSTEM, "code": error_id}]
        if self.rule is not None:
            codings.append({"system": self.rule[0], "code": self.rule[1]})
        if codings:
            issue["details"] = {"coding": codings}
        issue["diagnostics"] = self.diagnostics
        if self.expression:
            issue["expression"] = list(self.expression)
        return issue


ERROR_SYSTEM = "https://osler.health/fhir/CodeSystem/error"

ERRORS: dict[str, type[FhirError]] = {}


class FhirError(Exception):
    """A refusal that the client is told about. `issues` are all problems found; the first gives the message."""

    id: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    code: ClassVar[str] = "exception"

    def __init_subclass__(cls, **_: Any) -> None:
        ERRORS[cls.id] = cls

    def __init__(
        self,
        diagnostics: str,
        *expression: str,
        issues: Iterable[Issue] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(diagnostics)
        self.issues: tuple[Issue, ...] = tuple(issues) or (
            Issue("error", self.code, diagnostics, expression),
        )
        self.headers: Mapping[str, str] = headers or {}


ERRORS[FhirError.id] = FhirError


class MalformedJson(FhirError):
    """The body is not JSON as RFC 8259 has it, has a member twice, is nested too deep, or holds a number no decimal can."""

    id = "malformed-json"
    status = 400
    code = "structure"


class MalformedXml(FhirError):
    """The body is not well-formed XML, or has a construct that FHIR XML does not allow (DTD, entities, unknown namespace)."""

    id = "malformed-xml"
    status = 400
    code = "structure"


class InvalidRequest(FhirError):
    """The request itself is wrong: header, path, parameters of an operation, Bundle type."""

    id = "invalid-request"
    status = 400
    code = "invalid"


class InvalidResource(FhirError):
    """The resource breaks the structure that R4 defines for its type; `issues` has every problem."""

    id = "invalid-resource"
    status = 400
    code = "structure"


class InvalidParameter(FhirError):
    """A search parameter has a value that its type does not allow."""

    id = "invalid-parameter"
    status = 400
    code = "value"


class UnknownParameter(FhirError):
    """A search parameter, modifier or result parameter that this server does not know."""

    id = "unknown-parameter"
    status = 400
    code = "not-supported"


class NotSupported(FhirError):
    """Understood, but this server does not do it."""

    id = "not-supported"
    status = 400
    code = "not-supported"


class Forbidden(FhirError):
    """This actor may not do it."""

    id = "forbidden"
    status = 403
    code = "forbidden"


class UnknownResourceType(FhirError):
    """The type in the address is no R4 resource type."""

    id = "unknown-type"
    status = 404
    code = "not-supported"


class NotFound(FhirError):
    id = "not-found"
    status = 404
    code = "not-found"


class UnknownOperation(FhirError):
    id = "unknown-operation"
    status = 404
    code = "not-supported"


class MethodNotAllowed(FhirError):
    id = "method-not-allowed"
    status = 405
    code = "not-supported"


class NotAcceptable(FhirError):
    """None of the formats in Accept or _format can be served."""

    id = "not-acceptable"
    status = 406
    code = "not-supported"


class Conflict(FhirError):
    """A claim is held by another, or the write would break a promise made to somebody else."""

    id = "conflict"
    status = 409
    code = "conflict"


class Duplicate(FhirError):
    """The same identity is written twice in one transaction."""

    id = "duplicate"
    status = 400
    code = "duplicate"


class Gone(FhirError):
    """The resource was deleted; its history can still be read."""

    id = "gone"
    status = 410
    code = "deleted"


class PreconditionFailed(FhirError):
    """If-Match, If-None-Match or a conditional interaction does not hold."""

    id = "precondition-failed"
    status = 412
    code = "conflict"


class MultipleMatches(FhirError):
    """The criteria of a conditional interaction match more than one resource."""

    id = "multiple-matches"
    status = 412
    code = "multiple-matches"


class TooLarge(FhirError):
    """The body is larger than the setting `max_body` allows."""

    id = "too-large"
    status = 413
    code = "too-long"


class UnsupportedMediaType(FhirError):
    id = "unsupported-media-type"
    status = 415
    code = "not-supported"


class BusinessRule(FhirError):
    """A rule of the resource type or of the hospital refuses the state that was asked for."""

    id = "business-rule"
    status = 422
    code = "business-rule"


class InvalidPatch(FhirError):
    """A patch that cannot be applied to the resource as it is."""

    id = "invalid-patch"
    status = 422
    code = "processing"


class BrokenReference(FhirError):
    """A reference to a resource that is not on this server, while referential integrity is enforced."""

    id = "broken-reference"
    status = 422
    code = "not-found"


class Unavailable(FhirError):
    """Something this server depends on does not work (disk full, store locked or down); nothing was written."""

    id = "unavailable"
    status = 503
    code = "transient"
