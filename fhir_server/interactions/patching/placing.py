"""Puts values into a resource, takes them out and moves them, by the definitions.

Primitives that repeat stand in two arrays, of values and of their extensions; both always keep in step.
Source: https://hl7.org/fhir/R4/json.html#primitive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.definitions import Property, shape
from fhir_r4.fhirpath.located import Located
from fhir_r4.fhirpath.navigation import ancestry
from fhir_server.interactions.patching.copying import copied
from fhir_server.interactions.patching.fhirpath_operations import Value


class Misfit(ValueError):
    """A value or place that does not fit the resource; the text says why."""


def holder_of(target: Located) -> tuple[dict[str, Any], str]:
    """The object that holds the children of `target`, and the name of its shape; for a primitive its `_name` sibling."""
    if target.shape is not None:
        return target.value, target.shape
    if target.parent is None:
        raise Misfit("the path must find an element of the resource")
    extra = dict(target.extra or {})
    _set_extra(target, extra)
    return extra, "Element"


def _set_extra(target: Located, extra: dict[str, Any]) -> None:
    parent: Any = target.parent
    if target.index is None:
        parent["_" + target.name] = extra
        return
    _aligned(parent, target.name)[1][target.index] = extra


def _aligned(parent: dict[str, Any], name: str) -> tuple[list[Any], list[Any]]:
    """Both arrays of a repeated primitive, equally long and in their places."""
    values, extras = parent.get(name) or [], parent.get("_" + name) or []
    length = max(len(values), len(extras))
    parent[name] = values + [None] * (length - len(values))
    parent["_" + name] = extras + [None] * (length - len(extras))
    return parent[name], parent["_" + name]


def _tidy(parent: dict[str, Any], name: str) -> None:
    """Drop an array that says nothing."""
    for key in (name, "_" + name):
        if key in parent and all(item is None for item in parent[key]):
            del parent[key]


def member_for(shape_name: str, name: str, value: Value) -> Property:
    """The property that `name` means for a value of that type: `value` for a Quantity is `valueQuantity`."""
    properties = shape(shape_name).properties
    candidates = [p for p in properties.values() if name in (p.name, p.element.name)]
    if not candidates:
        raise Misfit(f"{shape_name} has no element {name!r}")
    if len(candidates) == 1:
        _require_fit(candidates[0], value)
        return candidates[0]
    fitting = [p for p in candidates if value.type is not None and p.type.lower() == value.type.lower()]
    if not fitting:
        raise Misfit(f"{name} cannot be of the type {value.type or 'that its parts make'}")
    return fitting[0]


def _require_fit(member: Property, value: Value) -> None:
    """Primitives are interchangeable as far as their JSON is (the validator looks closer); complex types are not."""
    given = value.type
    if given is None:
        if member.primitive or member.shape == "Resource":
            raise Misfit(f"{member.name} is {member.type}, which has no parts")
        return
    if member.shape == "Resource" or given == "Resource":
        fits = member.shape == given
    elif member.primitive:
        fits = not isinstance(value.value, dict | list)
    else:
        wanted = ancestry(member.type)
        fits = given in wanted or member.type in ancestry(given)
        fits = fits and given != "Element"
    if not fits:
        raise Misfit(f"{member.name} is {member.type}, not {given}")


def json_of(member: Property, value: Value) -> tuple[Any, dict[str, Any] | None]:
    """The value and the `_name` sibling to be placed at a member."""
    if value.type is None:
        assert member.shape is not None
        return _from_parts(member.shape, value), None
    return copied(value.value), None if value.extra is None else copied(value.extra)


def _from_parts(shape_name: str, value: Value) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, part in value.parts:
        append(made, shape_name, member_for(shape_name, name, part), part)
    if not made:
        raise Misfit("the value has no parts")
    return made


def append(holder: dict[str, Any], shape_name: str, member: Property, value: Value) -> None:
    """Add a value at the end of a list, or as a single element that is not there yet."""
    new, extra = json_of(member, value)
    if member.element.list:
        _insert_at(holder, member, None, new, extra)
        return
    for other in shape(shape_name).properties.values():
        if other.element is member.element and (other.name in holder or "_" + other.name in holder):
            raise Misfit(f"{other.name} is there already and may stand once only")
    _put(holder, member.name, new, extra)


def _put(holder: dict[str, Any], name: str, new: Any, extra: dict[str, Any] | None) -> None:
    if new is not None:
        holder[name] = new
    if extra is not None:
        holder["_" + name] = extra


def _insert_at(
    holder: dict[str, Any], member: Property, index: int | None, new: Any, extra: dict[str, Any] | None
) -> None:
    """Insert into a list before `index`, or (None) at its end."""
    name = member.name
    if not member.primitive:
        items = holder.setdefault(name, [])
        items.insert(len(items) if index is None else index, new)
        return
    values, extras = _aligned(holder, name)
    index = len(values) if index is None else index
    values.insert(index, new)
    extras.insert(index, extra)
    _tidy(holder, name)


def insert(first: Located, index: int, value: Value) -> None:
    """Insert into the list that `first` begins, before `index`."""
    parent, member = _place(first)
    length = _length(parent, member.name)
    if not 0 <= index <= length:
        raise Misfit(f"the index {index} is not within the list, which has {length} items")
    _require_fit(member, value)
    new, extra = json_of(member, value)
    _insert_at(parent, member, index, new, extra)


def _place(item: Located) -> tuple[dict[str, Any], Property]:
    if item.parent is None or item.property is None:
        raise Misfit("the path must find an element of the resource")
    parent: Any = item.parent
    return parent, item.property


def _length(parent: Mapping[str, Any], name: str) -> int:
    return max(len(parent.get(name, ())), len(parent.get("_" + name, ())))


def remove(item: Located) -> None:
    """Take an element out, with its extensions."""
    parent, member = _place(item)
    name = member.name
    if item.index is None:
        parent.pop(name, None)
        parent.pop("_" + name, None)
    elif member.primitive:
        for items in _aligned(parent, name):
            del items[item.index]
        _tidy(parent, name)
    else:
        del parent[name][item.index]


def replace(item: Located, value: Value) -> None:
    """Put a value in the place of an element; an element of a choice may change its type."""
    parent, member = _place(item)
    if member.element.choice and value.type is not None:
        # the shape of the parent is not known here, but the types of the choice are
        fitting = [t for t in member.element.types if t.lower() == value.type.lower()]
        if not fitting:
            raise Misfit(f"{member.element.name} cannot be of the type {value.type}")
        new, extra = copied(value.value), None if value.extra is None else copied(value.extra)
        remove(item)
        _put(parent, member.element.name + fitting[0][0].upper() + fitting[0][1:], new, extra)
        return
    _require_fit(member, value)
    new, extra = json_of(member, value)
    if item.index is None:
        remove(item)
        _put(parent, member.name, new, extra)
    elif member.primitive:
        values, extras = _aligned(parent, member.name)
        values[item.index], extras[item.index] = new, extra
        _tidy(parent, member.name)
    else:
        parent[member.name][item.index] = new


def move(first: Located, source: int, destination: int) -> None:
    """Move an item of the list that `first` begins to another index."""
    parent, member = _place(first)
    length = _length(parent, member.name)
    for index in (source, destination):
        if not 0 <= index < length:
            raise Misfit(f"the index {index} is not within the list, which has {length} items")
    lists = _aligned(parent, member.name) if member.primitive else (parent[member.name],)
    for items in lists:
        items.insert(destination, items.pop(source))
    if member.primitive:
        _tidy(parent, member.name)
