"""The selectors of XML Patch: a small part of XPath, with names in the default namespace.

Source: https://www.rfc-editor.org/rfc/rfc5261#section-4.1. XPath 1.0 has no default namespace, so names without a prefix
get one. What could be costly to evaluate (`//`, other axes, other functions, predicates within predicates) is refused, as
the RFC does.
"""

from __future__ import annotations

import re

DEFAULT_PREFIX = "default"
MAX_LENGTH = 2_000

_FUNCTIONS = frozenset(["text", "comment", "processing-instruction", "node", "position", "last"])
_NAME = r"[^\W\d][\w.-]*"
_TOKEN = re.compile(
    rf"""\s*(?:(?P<string>"[^"]*"|'[^']*')|(?P<function>{_NAME})\s*\(|(?P<prefixed>{_NAME}:{_NAME})|(?P<name>{_NAME})
    |(?P<number>\d+)|(?P<mark>!=|[/@*.=\[\])]))\s*""",
    re.VERBOSE,
)
_OPERATORS = frozenset(["and", "or"])


class InvalidSelector(ValueError):
    """A selector that is beyond what XML Patch allows; the text says why."""


def qualified(selector: str) -> str:
    """The selector with a prefix on every element name. Raises InvalidSelector."""
    if len(selector) > MAX_LENGTH:
        raise InvalidSelector(f"is longer than {MAX_LENGTH} characters")
    parts: list[str] = []
    position = depth = 0
    while position < len(selector):
        match = _TOKEN.match(selector, position)
        if match is None:
            raise InvalidSelector(f"has something at position {position} that XML Patch does not allow")
        kind, text = match.lastgroup or "", match[match.lastgroup or 0]
        depth += {"[": 1, "]": -1}.get(text, 0) if kind == "mark" else 0
        if depth > 1:
            raise InvalidSelector("has a predicate within a predicate")
        if text == "/" and parts and parts[-1] == "/":
            raise InvalidSelector("has '//', which XML Patch does not allow")
        parts.append(_written(kind, text, parts[-1] if parts else "/"))
        position = match.end()
    return "".join(parts)


def _written(kind: str, text: str, before: str) -> str:
    if kind == "function":
        if text not in _FUNCTIONS:
            raise InvalidSelector(f"uses {text}(), which XML Patch does not allow")
        return f"{text}("
    if kind != "name" or before == "@":
        return text
    if text in _OPERATORS and before not in ("/", "["):
        return f" {text} "
    return f"{DEFAULT_PREFIX}:{text}"
