"""The validator's protocol: what the server knows of validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fhir_r4.errors import Issue


class Validator(Protocol):
    def check(self, resource: dict[str, Any]) -> list[Issue] | None:
        """Every structural problem of `resource`, or None when there is none: the check of every write.

        Expressions are FHIRPaths from the resource's type: `Patient.contact[0].name.given[1]`.
        """

    def validate(self, resource: dict[str, Any], profiles: Sequence[str] = ()) -> list[Issue]:
        """What `$validate` reports: problems, warnings and notes, against the structure and the `profiles` asked for."""
