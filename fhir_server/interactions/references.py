"""Find and rewrite the references of a resource, wherever R4 allows one.

A transaction rewrites `urn:uuid:` addresses and conditional references in Reference.reference, in elements of type uri,
url, oid, uuid and canonical, and in links and images of narrative (https://hl7.org/fhir/R4/http.html#trules). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape, unescape
from typing import Any

from fhir_r4 import definitions
from fhir_r4.jsonio import encode

Rewrite = Callable[[str], str | None]

ADDRESS_TYPES = frozenset({"uri", "url", "oid", "uuid", "canonical"})
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


def link(resource: dict[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """Like `rewrite_references` for a table of addresses; a fragment (`urn:uuid:1#x`) keeps its fragment.

    Nearly always all addresses are plain Reference.reference texts. Those are replaced first, without looking at the
    definitions; when the encoded text still has one of the addresses, the exact way is taken.
    """
    linked, count = _link(resource, addresses)
    text = encode(resource)
    if sum(text.count(prefix) for prefix in _prefixes(addresses)) == count:
        return linked

    def rewrite(address: str) -> str | None:
        found = addresses.get(address)
        if found is None and "#" in address:
            head, _, fragment = address.partition("#")
            found = addresses.get(head)
            return None if found is None else f"{found}#{fragment}"
        return found

    return rewrite_references(resource, rewrite)


def _prefixes(addresses: Mapping[str, str]) -> set[bytes]:
    """Texts of which at least one stands wherever one of the addresses stands."""
    if all(address.startswith("urn:uuid:") for address in addresses):
        return {b"urn:uuid:"}
    return {address.encode() for address in addresses}


def _link(node: dict[str, Any], addresses: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """`node` with its references replaced, and how many those were."""
    changed: dict[str, Any] | None = None
    count = 0
    for name, value in node.items():
        kind = type(value)
        if kind is str:
            if name != "reference":
                continue
            new: Any = addresses.get(value)
            if new is None:
                continue
            count += 1
        elif kind is dict:
            new, below = _link(value, addresses)
            if not below:
                continue
            count += below
        elif kind is list and value and type(value[0]) is dict:
            linked = [_link(v, addresses) if type(v) is dict else (v, 0) for v in value]
            below = sum(n for _, n in linked)
            if not below:
                continue
            new = [v for v, _ in linked]
            count += below
        else:
            continue
        if changed is None:
            changed = dict(node)
        changed[name] = new
    return (node if changed is None else changed), count


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
