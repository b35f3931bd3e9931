"""Copies of JSON values, so that a patch never changes what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def copied(value: Any) -> Any:
    """A copy of a JSON value that shares no object or array with it."""
    if isinstance(value, Mapping):
        return {name: copied(member) for name, member in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def without_empty(resource: dict[str, Any]) -> dict[str, Any]:
    """The resource without the objects and arrays that hold nothing; aligned lists of primitives stay aligned."""
    kept = _pruned(resource)
    return kept if isinstance(kept, dict) else {}


def _pruned(value: Any) -> Any:
    """The value without what is empty; None when nothing is left."""
    if isinstance(value, dict):
        members = {name: _pruned(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None} or None
    if isinstance(value, list):
        items = [_pruned(item) for item in value]
        if any(isinstance(item, dict | list) and not item for item in value):
            items = [new for new, old in zip(items, value, strict=True) if new is not None or old is None]
        return items if any(item is not None for item in items) else None
    return value
