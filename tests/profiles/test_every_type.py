"""Every type of R4 compiles, and accepts what its definition allows."""

from typing import Any

import pytest

from fhir_r4 import definitions
from fhir_r4.definitions import Property, Shape
from profiles.compiled import Structure
from profiles.structure import StructuralValidator
from tests.profiles.samples import add, full, minimal

VALIDATOR = StructuralValidator()


@pytest.mark.parametrize("name", definitions.resource_types())
def test_smallest_and_fullest_resource_of_each_type_are_accepted(name):
    shape = definitions.shape(name)
    assert VALIDATOR.check(minimal(shape)) is None
    assert VALIDATOR.check(full(shape)) is None


def reachable_shapes() -> list[Shape]:
    waiting, seen = list(definitions.resource_types()), dict[str, Shape]()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen[path] = definitions.shape(path)
            waiting += [p.shape for p in seen[path].properties.values() if p.shape and p.shape != "Resource"]
    return list(seen.values())


def with_member(shape: Shape, smallest: dict[str, Any], known: Property) -> dict[str, Any]:
    """A valid object that has the member `known`."""
    if shape.path == "Extension" and known.element.name in ("value", "extension"):
        made: dict[str, Any] = {"url": "http://example.org/e"}
    else:
        made = dict(smallest)
    for other in shape.properties.values():
        if other.element is known.element:
            made.pop(other.name, None)
    add(made, shape, known)
    return made


def test_every_member_of_every_shape_is_accepted_and_no_other():
    structure = Structure()
    shapes = reachable_shapes()
    for shape in shapes:
        node = structure.of_type(shape.path) or structure.object(shape.path)
        smallest = minimal(shape)
        for known in shape.properties.values():
            value = with_member(shape, smallest, known)
            assert node.accepts(value), (known, value, list(node.problems(value, shape.path)))
        unknown = list(node.problems({**value, "nope": 1}, shape.path))
        assert [(i.code, i.expression) for i in unknown] == [("structure", (f"{shape.path}.nope",))]
    assert len(shapes) > 600


@pytest.mark.parametrize("name", definitions.resource_types())
def test_every_required_element_is_missed(name):
    shape = definitions.shape(name)
    expected = {f"{name}.{e.name}" for e in shape.elements if e.min}
    found = VALIDATOR.check({"resourceType": name, "id": "x"}) or []
    assert {i.expression[0] for i in found if i.code == "required"} == expected - {
        "Questionnaire.item.linkId"
    }
