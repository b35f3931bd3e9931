"""_summary and _elements: parts of a resource. https://hl7.org/fhir/R4/search.html#summary

A part is marked with the tag SUBSETTED, so that nobody writes it back in place of the whole. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from fhir_r4.definitions import Shape, is_resource_type, shape
from fhir_r4.errors import InvalidParameter
from fhir_r4.jsonio import decode_object, encode

SUBSETTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "subsetted",
}
SUMMARIES = ("true", "text", "data", "count", "false")

Selection = tuple[str, tuple[str, ...]]


def selection(pairs: Sequence[tuple[str, str]]) -> Selection | None:
    """What part is asked for: (`_summary` value, `_elements` names); None for the whole. Raises InvalidParameter."""
    summary = "false"
    elements: list[str] = []
    for name, value in pairs:
        if name == "_summary":
            if value not in SUMMARIES:
                raise InvalidParameter(
                    f"_summary is one of {', '.join(SUMMARIES)}; found {value[:40]!r}.", "_summary"
                )
            summary = value
        elif name == "_elements":
            elements += [e.strip() for e in value.split(",") if e.strip()]
    if summary == "false" and not elements:
        return None
    return summary, tuple(elements)


def subset_body(body: bytes, pairs: Sequence[tuple[str, str]]) -> bytes:
    """The JSON text of the part of a resource that the query asks for."""
    chosen = selection(pairs)
    return body if chosen is None else encode(subset(decode_object(body), chosen))


def subset(resource: Mapping[str, Any], chosen: Selection) -> dict[str, Any]:
    """The chosen part of `resource`, tagged as SUBSETTED; mandatory elements are always kept."""
    summary, elements = chosen
    type_name = str(resource["resourceType"])
    if elements:
        part = _elements(resource, type_name, elements)
    elif summary == "true":
        part = _summary(resource, shape(type_name))
    elif summary == "text":
        part = _keep(resource, _mandatory(type_name) | {"text"})
    elif summary == "data":
        part = {k: v for k, v in resource.items() if k not in ("text", "_text")}
    else:
        return dict(resource)
    return _tagged(part)


def _tagged(resource: dict[str, Any]) -> dict[str, Any]:
    meta = dict(resource.get("meta") or {})
    meta["tag"] = [*meta.get("tag", ()), SUBSETTED]
    head = {k: v for k, v in resource.items() if k in ("resourceType", "id")}
    return {
        **head,
        "meta": meta,
        **{k: v for k, v in resource.items() if k not in ("resourceType", "id", "meta")},
    }


@cache
def _mandatory(type_name: str) -> frozenset[str]:
    names = {"resourceType", "id", "meta", "implicitRules"}
    for property in shape(type_name).properties.values():
        if property.element.min or (property.element.modifier and property.name != "modifierExtension"):
            names.add(property.name)
    return frozenset(names)


def _keep(resource: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in resource.items() if k.removeprefix("_") in names}


def _elements(resource: Mapping[str, Any], type_name: str, elements: tuple[str, ...]) -> dict[str, Any]:
    wanted: set[str] = set()
    for element in elements:
        owner, _, name = element.rpartition(".")
        if owner and is_resource_type(owner.split(".")[0]):
            if owner != type_name:
                continue
        elif owner:
            name = element.split(".")[0]
        wanted.update(
            p.name for p in shape(type_name).properties.values() if name in (p.name, p.element.name)
        )
    return _keep(resource, _mandatory(type_name) | wanted)


def _summary(node: Mapping[str, Any], of: Shape) -> dict[str, Any]:
    """The members whose elements are part of the summary, and within them the same for backbone elements."""
    part: dict[str, Any] = {}
    for name, value in node.items():
        property = of.properties.get(name.removeprefix("_"))
        if property is None:
            if name == "resourceType":
                part[name] = value
            continue
        if not (property.element.summary or name in ("id", "meta")):
            continue
        inner = property.shape
        if inner is not None and "." in inner and not name.startswith("_"):
            below = shape(inner)
            part[name] = (
                [_summary(v, below) for v in value] if isinstance(value, list) else _summary(value, below)
            )
        else:
            part[name] = value
    return part
