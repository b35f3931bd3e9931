"""The refusals of the terminology service, rows of the table of errors in `fhir_r4.errors`.

Source: https://hl7.org/fhir/R4/terminology-service.html. An invariant to keep: each message names the address that is at
fault and says what was expected.
"""

from __future__ import annotations

from fhir_r4.errors import FhirError


class UnknownCodeSystem(FhirError):
    """No code system with this address (and version) is known here."""

    id = "unknown-code-system"
    status = 404
    code = "not-found"


class UnknownValueSet(FhirError):
    """No value set with this address (and version) is known here."""

    id = "unknown-value-set"
    status = 404
    code = "not-found"


class UnknownCode(FhirError):
    """The code system is known and complete, and has no such code."""

    id = "unknown-code"
    status = 404
    code = "not-found"


class ContentNotHeld(FhirError):
    """The code system is known by name, but its codes (or all of its codes) are not held here."""

    id = "content-not-held"
    status = 422
    code = "not-supported"


class InvalidTerminology(FhirError):
    """A CodeSystem or ValueSet breaks the rules that make its meaning computable."""

    id = "invalid-terminology"
    status = 422
    code = "invalid"


class TooCostly(FhirError):
    """The expansion is unbounded, or larger than one answer may be."""

    id = "too-costly"
    status = 422
    code = "too-costly"


# What leaves a question open instead of answering it: the terminology that would answer is not here.
NOT_KNOWN = (UnknownCodeSystem, UnknownValueSet, ContentNotHeld)
