"""The terminology service's protocol, https://hl7.org/fhir/R4/terminology-service.html.

An invariant to keep: what this service cannot tell it refuses or calls unknown; it never answers from a part of what the
answer needs.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

Resource = dict[str, Any]
Resources = Callable[[str, str, "str | None"], "Resource | None"]


class Membership(Enum):
    """Whether a code is in a value set; UNKNOWN when the terminology that would tell is not held."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Terminology(Protocol):
    """Operations take and give Parameters-shaped resources; what is not known here is refused with a FhirError.

    Resources stored on the server are handed in by the caller, so that this room does no I/O.
    """

    def with_resources(self, resources: Resources) -> Terminology:
        """The same service over other handed-in resources: `resources(kind, url, version)` gives one, or None.

        Its answers must stay the same for the life of the service that is returned.
        """

    def expand(self, parameters: Resource) -> Resource:
        """A ValueSet with an expansion (`ValueSet/$expand`)."""

    def lookup(self, parameters: Resource) -> Resource:
        """Parameters of `CodeSystem/$lookup`."""

    def validate_code(self, parameters: Resource, kind: str) -> Resource:
        """Parameters of `ValueSet/$validate-code` or `CodeSystem/$validate-code`; `kind` is the resource type."""

    def subsumes(self, parameters: Resource) -> Resource:
        """Parameters of `CodeSystem/$subsumes`."""

    def expansion_codes(self, value_set: str) -> frozenset[tuple[str, str]]:
        """Every (system, code) of the value set at the canonical address `value_set`: what `:in` and `:not-in` mean.

        Raises UnknownValueSet, UnknownCodeSystem, ContentNotHeld, InvalidTerminology or TooCostly when it cannot be listed.
        """

    def descendants(self, system: str, code: str) -> frozenset[str]:
        """The codes that `code` subsumes, without itself: `:below` means these and `code`.

        Empty for a code that the complete system does not have. Raises UnknownCodeSystem or ContentNotHeld.
        """

    def ancestors(self, system: str, code: str) -> frozenset[str]:
        """The codes that subsume `code`, without itself: `:above` means these and `code`. Raises like `descendants`."""

    def validate(self, value_set: str, system: str | None, code: str) -> Membership:
        """Whether `code` of `system` is in the value set at `value_set`: what a binding asks. Raises nothing.

        A None `system` is a plain `code` element: it is enough that the value set has the code in any system.
        """
