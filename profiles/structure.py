"""The structural validator: whether a resource is built as R4 says, https://hl7.org/fhir/R4/validation.html.

Checked: names, cardinalities, JSON kinds, primitive values, choices, required bindings that R4 enumerates, references,
extensions, contained and nested resources, narratives. Not checked here: the other invariants of the definitions (FHIRPath),
codes of open code systems, profiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from fhir_r4 import definitions
from fhir_r4.errors import Issue
from profiles.advice import advise
from profiles.compiled import Structure

MAX_ISSUES = 200
STRUCTURE_DEFINITION = "http://hl7.org/fhir/StructureDefinition/"


class StructuralValidator:
    """The `Validator` of every write. Compiles what it needs at first use; may be shared by threads."""

    def __init__(self) -> None:
        self._resource = Structure().resource

    def check(self, resource: dict[str, Any]) -> list[Issue] | None:
        """Every structural problem of `resource` (`MAX_ISSUES` at the most), or None when there is none.

        When there are more, a note at the end says so.
        """
        try:
            if self._accepts(resource):
                return None
            return _limited(self._resource.problems(resource, "")) or None
        except RecursionError:
            return [Issue("error", "structure", "The resource is nested too deep to be checked.")]

    def _accepts(self, resource: Any) -> bool:
        try:
            return bool(self._resource.accepts(resource))
        except (TypeError, KeyError, AttributeError):
            return (
                False  # a value of a JSON kind that the fast tests do not expect; the exact ones expect all
            )

    def validate(self, resource: dict[str, Any], profiles: Sequence[str] = ()) -> list[Issue]:
        """Problems, else warnings; and what is to be said of `profiles` and of those that the resource claims."""
        problems = self.check(resource)
        if problems is not None:
            return [*problems, *_profile_issues(resource, profiles)]
        return [*_profile_issues(resource, profiles), *_limited(advise(resource))]


def _limited(issues: Iterator[Issue]) -> list[Issue]:
    found = list(islice(issues, MAX_ISSUES + 1))
    if len(found) <= MAX_ISSUES:
        return found
    note = f"There is more to say: only the first {MAX_ISSUES} findings are listed."
    return [*found[:MAX_ISSUES], Issue("information", "informational", note)]


def _profile_issues(resource: Any, asked: Sequence[str]) -> Iterator[Issue]:
    type_name = resource.get("resourceType") if isinstance(resource, dict) else None
    for url in asked:
        yield from _profile_issue(url, type_name, "error", ())
    meta = resource.get("meta") if isinstance(resource, dict) else None
    claimed = meta.get("profile") if isinstance(meta, dict) else None
    if isinstance(claimed, list):
        for index, url in enumerate(claimed):
            if isinstance(url, str) and url not in asked:
                yield from _profile_issue(url, type_name, "warning", (f"{type_name}.meta.profile[{index}]",))


def _profile_issue(url: str, type_name: Any, severity: str, place: tuple[str, ...]) -> Iterator[Issue]:
    name = url.split("|")[0].removeprefix(STRUCTURE_DEFINITION)
    if name in ("Resource", "DomainResource") or name == type_name:
        return
    if definitions.is_resource_type(name):
        yield Issue("error", "invalid", f"The resource is a {type_name}, not a {name} as {url} asks.", place)
    else:
        yield Issue(
            severity, "not-supported", f"The profile {url} is not known here, so it was not checked.", place
        )
