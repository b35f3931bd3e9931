"""The four forms of a patch, each a pure function from a resource to a new one: https://hl7.org/fhir/R4/http.html#patch."""

from fhir_server.interactions.patching.media_types import apply_patch

__all__ = ["apply_patch"]
