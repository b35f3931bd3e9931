"""The one table of the functions that the evaluator knows."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.fhirpath.focus import Function
from fhir_r4.fhirpath.functions import boundaries, collections, conversions, elements, numbers, strings

FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    **boundaries.FUNCTIONS,
    **collections.FUNCTIONS,
    **conversions.FUNCTIONS,
    **elements.FUNCTIONS,
    **numbers.FUNCTIONS,
    **strings.FUNCTIONS,
}
