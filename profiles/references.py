"""The text of a reference: https://hl7.org/fhir/R4/references.html#literal.

A literal reference is relative (`Patient/1`, `Patient/1/_history/2`), absolute (http, https or another scheme),
`urn:uuid:` or `urn:oid:`, a fragment (`#id`, or `#` for the container), or, in a transaction Bundle only, conditional
(`Patient?identifier=...`). An invariant to keep: a type is only named when the text itself says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from fhir_r4.definitions import is_resource_type, resource_types
from fhir_r4.errors import Issue
from fhir_r4.primitives import ID_PATTERN, OID_PATTERN, PRIMITIVE, UUID_PATTERN, Primitive
from profiles.nodes import Accepts, PrimitiveNode, error

_HISTORY = rf"(?:/_history/{ID_PATTERN})?"
_RELATIVE = re.compile(rf"([A-Za-z]+)/{ID_PATTERN}{_HISTORY}(?:#\S*)?")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s]+")
_REST = re.compile(rf"https?://\S+?/([A-Za-z]+)/{ID_PATTERN}{_HISTORY}(?:#\S*)?")
_URN = re.compile(rf"{UUID_PATTERN}|{OID_PATTERN}")
_CONDITIONAL = re.compile(r"([A-Za-z]+)\?\S+")
_FRAGMENT = re.compile(r"#\S*")

# https://hl7.org/fhir/R4/extensibility.html: only extensions inside of extensions may have a relative url
ABSOLUTE_EXTENSION_URL = Primitive(
    "extension url",
    "a string",
    "an absolute URI (only a nested extension may have a relative one)",
    _ABSOLUTE.fullmatch,
)


def reference_fault(text: str, *, conditional: bool) -> str | None:
    """What is wrong with the syntax of a literal reference, in words, or None."""
    if text.startswith("#"):
        return None if _FRAGMENT.fullmatch(text) else "a fragment may not contain blanks"
    if text.startswith(("urn:uuid:", "urn:oid:")):
        return None if _URN.fullmatch(text) else f"{text!r} is not a well-formed {text[:8].rstrip(':')}"
    if _ABSOLUTE.fullmatch(text):
        return None
    if match := _CONDITIONAL.fullmatch(text):
        if not conditional:
            return "a conditional reference is allowed in a transaction Bundle only"
        return _type_fault(match[1])
    if match := _RELATIVE.fullmatch(text):
        return _type_fault(match[1])
    return f"{text!r} is neither Type/id, Type/id/_history/version, an absolute URL, a urn: nor #id"


def _type_fault(name: str) -> str | None:
    return None if is_resource_type(name) else f"{name!r} is not a resource type of R4"


def type_in_reference(text: str) -> str | None:
    """The resource type that a literal reference names, or None when it does not say (urn:, #id, other URLs)."""
    match = _RELATIVE.fullmatch(text) or _REST.fullmatch(text) or _CONDITIONAL.fullmatch(text)
    return match[1] if match and is_resource_type(match[1]) else None


@cache
def plain_reference(targets: frozenset[str]) -> re.Pattern[str]:
    """The common cases: `Type/id`, with or without version, of one of `targets` (which are not none), and urn:uuid."""
    return re.compile(rf"(?:{'|'.join(sorted(targets))})/{ID_PATTERN}{_HISTORY}|{UUID_PATTERN}")


def wrong_target(name: str, targets: frozenset[str], path: str) -> Issue:
    allowed = ", ".join(sorted(targets))
    return error("value", f"A reference to a {name} is not allowed here. Allowed: {allowed}.", path)


class LiteralReferenceNode:
    """Reference.reference of an element that allows `targets` (none: any).

    `fragments`: there are contained resources, so `#id` may be a reference; `conditional`: `Type?query` may be one.
    """

    __slots__ = ("_conditional", "_fragments", "_targets", "accepts")

    def __init__(self, targets: frozenset[str], *, fragments: bool, conditional: bool) -> None:
        self._targets = targets
        self._fragments = fragments
        self._conditional = conditional
        self.accepts: Accepts = self._compile()

    def _compile(self) -> Accepts:
        is_plain = plain_reference(self._targets or frozenset(resource_types())).fullmatch

        def accepts(value: Any) -> bool:
            return is_plain(value) is not None or next(self.problems(value, ""), None) is None

        return accepts

    def problems(self, value: Any, path: str) -> Iterator[Issue]:
        if not PRIMITIVE["string"].is_valid(value):
            yield from PrimitiveNode(PRIMITIVE["string"]).problems(value, path)
            return
        fault = reference_fault(value, conditional=self._conditional)
        if fault is not None:
            yield error("value", f"Not a reference: {fault}.", path)
        elif value.startswith("#") and not self._fragments:
            yield error(
                "not-found", f"The reference {value} needs a contained resource, and there is none.", path
            )
        elif self._targets:
            name = type_in_reference(value)
            if name is not None and name not in self._targets:
                yield wrong_target(name, self._targets, path)
