"""What `$validate` says beyond the structure: warnings on a resource that is structurally sound.

Extensible bindings (https://hl7.org/fhir/R4/terminologies.html#extensible) where R4 enumerates the value set, tolerated
deviations (`profiles.tolerated`), empty narratives (txt-2) and contained resources that nothing refers to (dom-3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fhir_r4 import definitions
from fhir_r4.definitions import Property, Shape
from fhir_r4.errors import Issue
from profiles.bindings import coding_is_in, concept_is_in
from profiles.members import property_of
from profiles.narrative import is_empty_narrative
from profiles.references import type_in_reference
from profiles.rules import local_references
from profiles.tolerated import EXTRA_TARGETS, MISSING


@dataclass(frozen=True, slots=True)
class Place:
    """A value of a resource with what the definitions say of it; `shape` is None for primitives."""

    path: str
    value: Any
    known: Property | None
    shape: Shape | None


def advise(resource: dict[str, Any]) -> Iterator[Issue]:
    """Warnings on `resource`, which has no structural problem."""
    name = resource["resourceType"]
    for place in _places(Place(name, resource, None, definitions.shape(name))):
        for advice in _ADVICE:
            yield from advice(place)


def _places(place: Place) -> Iterator[Place]:
    yield place
    if place.shape is None:
        return
    for name, member in place.value.items():
        known = property_of(place.shape, name)
        if known is None or name != known.name:
            continue
        path = f"{place.path}.{known.element.name}"
        items = member if known.element.list else [member]
        for index, item in enumerate(items):
            if item is not None:
                below = f"{path}[{index}]" if known.element.list else path
                yield from _places(Place(below, item, known, _shape_of(known, item)))


def _shape_of(known: Property, item: Any) -> Shape | None:
    if known.shape is None:
        return None
    return definitions.shape(item["resourceType"] if known.shape == "Resource" else known.shape)


def _warning(code: str, diagnostics: str, path: str) -> Issue:
    return Issue("warning", code, diagnostics, (path,))


def _extensible_binding(place: Place) -> Iterator[Issue]:
    binding = place.known.element.binding if place.known is not None else None
    if binding is None or place.known is None or binding.strength != "extensible":
        return
    codes = definitions.enumerated_codes(binding.value_set)
    if codes is None:
        return
    match place.known.type:
        case "CodeableConcept":
            unmet = bool(place.value.get("coding")) and not concept_is_in(place.value, binding.value_set)
        case "Coding":
            unmet = not coding_is_in(place.value, binding.value_set)
        case "code":
            unmet = place.value not in codes
        case _:
            unmet = False
    if unmet:
        message = (
            f"No code of the value set {binding.value_set}, which is to be used where one of its codes fits."
        )
        yield _warning("code-invalid", message, place.path)


def _tolerated_target(place: Place) -> Iterator[Issue]:
    if place.known is None or place.known.type != "Reference":
        return
    extra = EXTRA_TARGETS.get(place.known.element.path, frozenset())
    name = type_in_reference(place.value.get("reference", ""))
    if name in extra:
        allowed = ", ".join(place.known.element.targets)
        yield _warning(
            "value", f"R4 does not foresee a reference to a {name} here but to: {allowed}.", place.path
        )


def _tolerated_gap(place: Place) -> Iterator[Issue]:
    if place.shape is None:
        return
    for element in place.shape.elements:
        if element.path in MISSING and not {element.name, f"_{element.name}"} & place.value.keys():
            yield _warning(
                "required", f"{element.path} is missing: R4 requires it.", f"{place.path}.{element.name}"
            )


def _empty_narrative(place: Place) -> Iterator[Issue]:
    if place.known is not None and place.known.type == "xhtml" and is_empty_narrative(place.value):
        yield _warning("invariant", "The narrative has neither text nor an image (txt-2).", place.path)


def _unreferenced_contained(place: Place) -> Iterator[Issue]:
    if place.shape is None or "contained" not in place.value:
        return
    referenced = {text[1:] for text in local_references(place.value)}
    for index, contained in enumerate(place.value["contained"]):
        if contained.get("id") not in referenced and "#" not in local_references(contained):
            message = "Nothing in the resource refers to this contained resource (dom-3)."
            yield _warning("invariant", message, f"{place.path}.contained[{index}]")


_ADVICE: tuple[Callable[[Place], Iterator[Issue]], ...] = (
    _extensible_binding,
    _tolerated_target,
    _tolerated_gap,
    _empty_narrative,
    _unreferenced_contained,
)
