"""Find and rewrite the references of a resource, wherever R4 allows one.

A transaction rewrites `urn:uuid:` addresses and conditional references in Reference.reference, in elements of type uri,
url, oid, uuid and canonical, and in links and images of narrative (https://hl7.org/fhir/R4/http.html#trules). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html import escape, unescape
from typing import Any

from fhir_r4 import definitions
from fhir_r4.jsonio import encode

Rewrite = Callable[[str], str | None]

ADDRESS_TYPES = frozenset({"uri", "url", "oid", "uuid", "canonical"})
_ANYWHERE = frozenset({"Extension", "Resource"})
_NARRATIVE_LINK = re.compile(r"""(\s(?:href|src)\s*=\s*)("[^"]*"|'[^']*')""")


def references(node: Any) -> Iterator[str]:
    """Every Reference.reference text below `node`."""
    if type(node) is dict:
        for name, value in node.items():
            if name == "reference" and type(value) is str:
                yield value
            elif type(value) is dict or type(value) is list:
                yield from references(value)
    elif type(node) is list:
        for value in node:
            if type(value) is dict:
                yield from references(value)


def rewrite_references(resource: dict[str, Any], rewrite: Rewrite) -> dict[str, Any]:
    """A copy of `resource` with every address for which `rewrite` gives a new text; the same object when none does."""
    return _Rewriter(rewrite).resource(resource)


class Linker:
    """Replaces addresses by those of a table; a fragment (`urn:uuid:1#x`) keeps its fragment.

    Nearly always all addresses of a resource stand in the references that its type defines. Those are replaced first;
    when the encoded text has more of the addresses than were replaced, the exact way is taken.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        # texts of which at least one stands wherever one of the addresses stands
        plain = all(address.startswith("urn:uuid:") for address in addresses)
        self._traces = (b"urn:uuid:",) if plain else tuple(address.encode() for address in addresses)

    def link(self, resource: dict[str, Any]) -> dict[str, Any]:
        """A copy of `resource` with its addresses replaced; the same object when it has none."""
        if not self._addresses:
            return resource
        linked, count = self._object(resource, str(resource["resourceType"]))
        text = encode(resource)
        found = 0
        for trace in self._traces:
            found += text.count(trace)
        return linked if found == count else rewrite_references(resource, self._replacement)

    def _replacement(self, address: str) -> str | None:
        found = self._addresses.get(address)
        if found is None and "#" in address:
            head, _, fragment = address.partition("#")
            found = self._addresses.get(head)
            return None if found is None else f"{found}#{fragment}"
        return found

    def _object(self, node: dict[str, Any], shape: str) -> tuple[dict[str, Any], int]:
        """`node` with its references replaced, and how many those were."""
        changed: dict[str, Any] | None = None
        count = 0
        for name, inner in reference_members(shape):
            value = node.get(name)
            if value is None:
                continue
            new, below = self._list(value, inner) if type(value) is list else self._value(value, inner)
            if below:
                count += below
                if changed is None:
                    changed = dict(node)
                changed[name] = new
        return (node if changed is None else changed), count

    def _list(self, values: list[Any], inner: str | None) -> tuple[list[Any], int]:
        linked: list[Any] | None = None
        count = 0
        for position, value in enumerate(values):
            new, below = self._value(value, inner)
            if below:
                count += below
                if linked is None:
                    linked = list(values)
                linked[position] = new
        return (values if linked is None else linked), count

    def _value(self, value: Any, inner: str | None) -> tuple[Any, int]:
        if type(value) is not dict:
            return value, 0
        if inner is not None:
            return self._object(value, inner)
        found = self._addresses.get(value.get("reference", ""))
        return (value, 0) if found is None else ({**value, "reference": found}, 1)


@cache
def reference_members(shape: str) -> tuple[tuple[str, str | None], ...]:
    """The members of a shape that are a Reference (None) or lead to one (their shape); extensions and contained left out."""
    found: list[tuple[str, str | None]] = []
    for property in definitions.shape(shape).properties.values():
        if property.shape == "Reference":
            found.append((property.name, None))
        elif property.shape is not None and _leads_to_reference(property.shape, frozenset({shape})):
            found.append((property.name, property.shape))
    return tuple(found)


def _leads_to_reference(shape: str, above: frozenset[str]) -> bool:
    if shape in _ANYWHERE or shape in above:
        return False
    inner = [p.shape for p in definitions.shape(shape).properties.values()]
    return "Reference" in inner or any(
        _leads_to_reference(s, above | {shape}) for s in inner if s is not None
    )


class _Rewriter:
    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite = rewrite

    def resource(self, resource: dict[str, Any]) -> dict[str, Any]:
        type_name = resource.get("resourceType")
        if not definitions.is_resource_type(type_name):
            return resource
        return self.object(resource, str(type_name))

    def object(self, node: dict[str, Any], shape: str) -> dict[str, Any]:
        changed: dict[str, Any] | None = None
        for name, value in node.items():
            kind = type(value)
            if kind is str:
                new: Any = self.text(name, value, shape)
            elif kind is dict:
                new = self.member(value, name, shape)
            elif kind is list:
                new = self.array(value, name, shape)
            else:
                continue
            if new is not value:
                if changed is None:
                    changed = dict(node)
                changed[name] = new
        return node if changed is None else changed

    def array(self, values: list[Any], name: str, shape: str) -> list[Any]:
        new = [
            self.text(name, v, shape)
            if type(v) is str
            else self.member(v, name, shape)
            if type(v) is dict
            else v
            for v in values
        ]
        return values if all(a is b for a, b in zip(new, values, strict=True)) else new

    def member(self, value: dict[str, Any], name: str, shape: str) -> dict[str, Any]:
        inner = _shape_of(shape, name)
        if inner == "Resource":
            return self.resource(value)
        return value if inner is None else self.object(value, inner)

    def text(self, name: str, value: str, shape: str) -> str:
        if name == "reference" and shape == "Reference":
            return self.rewrite(value) or value
        if name == "div" and shape == "Narrative":
            return self.narrative(value)
        if ":" in value and _is_address(shape, name):
            return self.rewrite(value) or value
        return value

    def narrative(self, div: str) -> str:
        def link(found: re.Match[str]) -> str:
            quoted = found[2]
            new = self.rewrite(unescape(quoted[1:-1]))
            return found[0] if new is None else f"{found[1]}{quoted[0]}{escape(new)}{quoted[0]}"

        return _NARRATIVE_LINK.sub(link, div) if "href" in div or "src" in div else div


def _shape_of(shape: str, name: str) -> str | None:
    property = definitions.shape(shape).properties.get(name)
    if property is not None:
        return property.shape
    return "Element" if name.startswith("_") else None


def _is_address(shape: str, name: str) -> bool:
    property = definitions.shape(shape).properties.get(name)
    return property is not None and property.type in ADDRESS_TYPES
