"""How what is contained in a resource is named where it is searched: as a resource of a type of its own.

https://hl7.org/fhir/R4/search.html#contained. The Medication `m1` in MedicationRequest/23 is searched as a resource of type
`Medication#` with the id `MedicationRequest/23#m1`, so ordinary searches of Medication never meet it. No resource type and
no logical id has a `#`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Behind the code of a parameter: its references to what the same resource contains.
CONTAINED = ":contained"


def contained_type(type: str) -> str:
    """The type of those resources of `type` that are contained in others."""
    return f"{type}#"


def is_contained(type: str) -> bool:
    return type.endswith("#")


def outer_type(type: str) -> str:
    """The resource type without the mark of the contained ones."""
    return type.removesuffix("#")


def contained_key(container: tuple[str, str], type: str, id: str) -> tuple[str, str]:
    """(type, id) of what is contained: `type` and `id` are its own, `container` is (type, id) of what it is in."""
    return contained_type(type), f"{container[0]}/{container[1]}#{id}"


def container_of(id: str) -> tuple[str, str]:
    """(type, id) of the container, from the id of what is contained in it."""
    type, _, rest = id.partition("/")
    return type, rest.partition("#")[0]


def logical_id(id: str) -> str:
    """What a search calls the id: within its container, of what is contained."""
    return id.partition("#")[2] or id


def with_types(node: Any, types: Mapping[str, str]) -> Any:
    """A copy whose references to what is contained tell its type, as `resolve()` would.

    `types` has the type for each id, and for '' that of the container.
    """
    if isinstance(node, list):
        return [with_types(item, types) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: with_types(value, types) for name, value in node.items()}
    text = node.get("reference")
    if isinstance(text, str) and text[:1] == "#" and text[1:] in types:
        made["type"] = types[text[1:]]
    return made


def all_types(types: Iterable[str], *, outer: bool) -> tuple[str, ...]:
    """The types of what is contained, after the types themselves where `outer`."""
    own = tuple(types)
    inside = tuple(contained_type(type) for type in own)
    return (*own, *inside) if outer else inside
