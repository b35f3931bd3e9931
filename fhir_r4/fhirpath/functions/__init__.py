"""The functions of FHIRPath by name: what runs, and how many arguments it takes at least and at most."""

from fhir_r4.fhirpath.functions.table import FUNCTIONS

__all__ = ["FUNCTIONS"]
