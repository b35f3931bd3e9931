"""The hierarchies of resources that `:above` and `:below` of references search through.

Source: https://hl7.org/fhir/R4/search.html#recursive. A hierarchy is followed as far as DEEPEST links: more than any house has
storeys, and an end for references that go round in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fhir_server.search.tree import Chain, Expression, Has, IdIs, RefersTo, any_of

# type -> the parameter by which a resource refers to the one that it is part of
HIERARCHIES: Mapping[str, str] = {
    "CarePlan": "part-of",
    "DeviceDefinition": "parent",
    "Encounter": "part-of",
    "Location": "partof",
    "Organization": "partof",
    "Procedure": "part-of",
    "ResearchStudy": "partof",
    "Specimen": "parent",
    "Task": "part-of",
}
DEEPEST = 10


def in_hierarchy(param: str, targets: Sequence[str], type: str, id: str, modifier: str) -> Expression:
    """A reference to the resource, or to one below (part of it) or above (that it is part of).

    `type` '' means every type of `targets` that is a hierarchy. Raises ValueError when there is none.
    """
    types = [target for target in targets if target in HIERARCHIES and type in ("", target)]
    if not types:
        raise ValueError(f"expected a reference to one of {', '.join(HIERARCHIES)}: those are hierarchies")
    follow = _below if modifier == "below" else _above
    return any_of(part for one in types for part in follow(param, one, id))


def _below(param: str, type: str, id: str) -> tuple[Expression, Expression]:
    parent = HIERARCHIES[type]
    part: Expression = RefersTo(parent, type, id)
    for _ in range(DEEPEST - 1):
        part = any_of((RefersTo(parent, type, id), Chain(parent, type, part)))
    return RefersTo(param, type, id), Chain(param, type, part)


def _above(param: str, type: str, id: str) -> tuple[Expression, Expression]:
    parent = HIERARCHIES[type]
    whole: Expression = Has(type, parent, IdIs((id,)))
    for _ in range(DEEPEST - 1):
        whole = Has(type, parent, any_of((IdIs((id,)), whole)))
    return RefersTo(param, type, id), Chain(param, type, whole)
