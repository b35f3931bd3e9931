"""FHIRPath Patch on resources."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal

import pytest

from fhir_r4.errors import InvalidPatch, InvalidRequest
from fhir_server.interactions.patching.fhirpath_patch import apply_fhirpath_patch

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "name": [
        {"use": "official", "given": ["a", "b"], "_given": [None, {"id": "g"}]},
        {"use": "usual", "period": {"start": "2020"}},
    ],
    "birthDate": "2000-01-01",
    "_birthDate": {"id": "b"},
    "deceasedBoolean": False,
    "contact": [{"gender": "male"}],
}
DELETE_BIRTH_DATE = {"type": "delete", "path": "Patient.birthDate"}


def operation(**parts):
    """An operation whose parts are given as a type and value, or as (name of value[x], value)."""
    made = []
    for name, value in parts.items():
        if isinstance(value, dict):
            made.append({"name": name, **value})
        elif isinstance(value, int):
            made.append({"name": name, "valueInteger": value})
        else:
            made.append({"name": name, "valueCode" if name == "type" else "valueString": value})
    return {"name": "operation", "part": made}


def patched(*operations, resource=PATIENT):
    before = deepcopy(resource)
    result = apply_fhirpath_patch(
        resource, {"resourceType": "Parameters", "parameter": [operation(**parts) for parts in operations]}
    )
    assert resource == before
    return result


def test_add_a_single_element():
    result = patched({"type": "add", "path": "Patient", "name": "gender", "value": {"valueCode": "male"}})
    assert result == {**PATIENT, "gender": "male"}


def test_add_appends_to_a_list_and_makes_it():
    name = {"valueHumanName": {"family": "x"}}
    result = patched({"type": "add", "path": "Patient", "name": "name", "value": name})
    assert result["name"] == [*PATIENT["name"], {"family": "x"}]
    telecom = {"valueContactPoint": {"value": "1"}}
    assert patched({"type": "add", "path": "Patient", "name": "telecom", "value": telecom})["telecom"] == [
        {"value": "1"}
    ]


def test_add_to_repeated_primitives_keeps_their_extensions_aligned():
    path = "Patient.name.where(use = 'official')"
    result = patched({"type": "add", "path": path, "name": "given", "value": {"valueString": "c"}})
    assert result["name"][0] == {
        "use": "official",
        "given": ["a", "b", "c"],
        "_given": [None, {"id": "g"}, None],
    }
    value = {"valueString": "c", "_valueString": {"id": "c"}}
    result = patched({"type": "add", "path": "Patient.name[1]", "name": "given", "value": value})
    assert result["name"][1]["given"] == ["c"]
    assert result["name"][1]["_given"] == [{"id": "c"}]


@pytest.mark.parametrize("name", ["value", "valueQuantity"])
def test_add_finds_the_member_of_a_choice_by_the_type_of_the_value(name):
    observation = {"resourceType": "Observation", "status": "final"}
    quantity = {"valueQuantity": {"value": Decimal("1.10")}}
    result = patched(
        {"type": "add", "path": "Observation", "name": name, "value": quantity}, resource=observation
    )
    assert str(result["valueQuantity"]["value"]) == "1.10"


def test_add_an_anonymous_type_of_parts():
    value = {
        "part": [
            {"name": "name", "valueHumanName": {"text": "n"}},
            {"name": "gender", "valueCode": "female"},
            {"name": "telecom", "part": [{"name": "value", "valueString": "1"}]},
            {"name": "telecom", "part": [{"name": "value", "valueString": "2"}]},
        ]
    }
    result = patched({"type": "add", "path": "Patient", "name": "contact", "value": value})
    assert result["contact"][1] == {
        "name": {"text": "n"},
        "gender": "female",
        "telecom": [{"value": "1"}, {"value": "2"}],
    }


def test_add_a_contained_resource():
    organization = {"resourceType": "Organization", "id": "o"}
    result = patched(
        {"type": "add", "path": "Patient", "name": "contained", "value": {"resource": organization}}
    )
    assert result["contained"] == [organization]


def test_add_an_extension_to_a_primitive():
    # value[x] has no Extension, so an extension comes in parts
    parts = {"part": [{"name": "url", "valueUri": "u"}, {"name": "value", "valueCode": "v"}]}
    for path, member in (("Patient.birthDate", "_birthDate"), ("Patient.deceased", "_deceasedBoolean")):
        result = patched({"type": "add", "path": path, "name": "extension", "value": parts})
        assert result[member]["extension"] == [{"url": "u", "valueCode": "v"}]
    result = patched({"type": "add", "path": "Patient.name[0].given[0]", "name": "extension", "value": parts})
    assert result["name"][0]["_given"] == [{"extension": [{"url": "u", "valueCode": "v"}]}, {"id": "g"}]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_insert_puts_a_value_before_the_index(index):
    value = {"valueHumanName": {"family": "x"}}
    names = patched({"type": "insert", "path": "Patient.name", "index": index, "value": value})["name"]
    assert names == [*PATIENT["name"][:index], {"family": "x"}, *PATIENT["name"][index:]]


def test_insert_among_primitives():
    value = {"valueString": "x"}
    result = patched({"type": "insert", "path": "Patient.name[0].given", "index": 1, "value": value})
    assert result["name"][0]["given"] == ["a", "x", "b"]
    assert result["name"][0]["_given"] == [None, None, {"id": "g"}]


def test_delete_takes_the_extensions_along():
    assert {"birthDate", "_birthDate"}.isdisjoint(patched(DELETE_BIRTH_DATE))
    result = patched({"type": "delete", "path": "Patient.name.given[1]"})
    assert result["name"][0] == {"use": "official", "given": ["a"]}
    result = patched({"type": "delete", "path": "Patient.name.given[0]"})
    assert result["name"][0] == {"use": "official", "given": ["b"], "_given": [{"id": "g"}]}


def test_delete_leaves_nothing_empty_behind():
    assert "period" not in patched({"type": "delete", "path": "Patient.name[1].period.start"})["name"][1]
    assert "contact" not in patched({"type": "delete", "path": "Patient.contact.gender"})


def test_delete_of_nothing_is_no_error():
    assert patched({"type": "delete", "path": "Patient.gender"}) == PATIENT


def test_delete_may_remove_a_primitive_that_has_extensions_only():
    resource = {"resourceType": "Patient", "active": True, "_birthDate": {"id": "x"}}
    assert patched(DELETE_BIRTH_DATE, resource=resource) == {"resourceType": "Patient", "active": True}


def test_replace_a_primitive_replaces_its_extensions():
    result = patched({"type": "replace", "path": "Patient.birthDate", "value": {"valueDate": "2001"}})
    assert result["birthDate"] == "2001"
    assert "_birthDate" not in result
    result = patched({"type": "replace", "path": "Patient.name.given[1]", "value": {"valueString": "x"}})
    assert result["name"][0] == {"use": "official", "given": ["a", "x"]}


def test_replace_a_complex_element_in_its_place():
    result = patched(
        {"type": "replace", "path": "Patient.name[0]", "value": {"valueHumanName": {"text": "t"}}}
    )
    assert result["name"] == [{"text": "t"}, PATIENT["name"][1]]


def test_replace_may_change_the_type_of_a_choice():
    result = patched({"type": "replace", "path": "Patient.deceased", "value": {"valueDateTime": "2020"}})
    assert result["deceasedDateTime"] == "2020"
    assert "deceasedBoolean" not in result


@pytest.mark.parametrize(("source", "destination"), [(0, 1), (1, 0), (1, 1)])
def test_move_changes_the_order_of_a_list(source, destination):
    result = patched({"type": "move", "path": "Patient.name", "source": source, "destination": destination})
    expected = list(PATIENT["name"])
    expected.insert(destination, expected.pop(source))
    assert result["name"] == expected


def test_move_takes_extensions_along():
    result = patched({"type": "move", "path": "Patient.name[0].given", "source": 1, "destination": 0})
    assert result["name"][0] == {"use": "official", "given": ["b", "a"], "_given": [{"id": "g"}, None]}


def test_each_operation_sees_what_the_one_before_has_left():
    result = patched(
        {"type": "delete", "path": "Patient.name[0]"},
        {"type": "replace", "path": "Patient.name[0].use", "value": {"valueCode": "old"}},
    )
    assert result["name"] == [{"use": "old", "period": {"start": "2020"}}]


GENDER = {"valueCode": "male"}
NAME = {"valueHumanName": {"family": "x"}}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"type": "add", "path": "Patient.photo", "name": "title", "value": {"valueString": "x"}},
            "finds nothing",
        ),
        (
            {"type": "add", "path": "Patient.name", "name": "use", "value": {"valueCode": "x"}},
            "finds 2 elements",
        ),
        ({"type": "add", "path": "Patient", "name": "foo", "value": GENDER}, "no element 'foo'"),
        (
            {"type": "add", "path": "Patient", "name": "birthDate", "value": {"valueDate": "2000"}},
            "once only",
        ),
        (
            {"type": "add", "path": "Patient", "name": "deceased", "value": {"valueDateTime": "2000"}},
            "once only",
        ),
        (
            {"type": "add", "path": "Patient", "name": "deceased", "value": {"valueString": "x"}},
            "cannot be of the type",
        ),
        ({"type": "add", "path": "Patient", "name": "name", "value": GENDER}, "HumanName, not Code"),
        ({"type": "add", "path": "Patient", "name": "gender", "value": NAME}, "code, not HumanName"),
        (
            {"type": "add", "path": "Patient", "name": "maritalStatus", "value": {"valueCoding": {}}},
            "not Coding",
        ),
        (
            {
                "type": "add",
                "path": "Patient",
                "name": "gender",
                "value": {"part": [{"name": "x", **GENDER}]},
            },
            "no parts",
        ),
        ({"type": "add", "path": "'x'", "name": "gender", "value": GENDER}, "element of the resource"),
        ({"type": "insert", "path": "Patient.photo", "index": 0, "value": NAME}, "finds no list"),
        ({"type": "insert", "path": "Patient.name", "index": 3, "value": NAME}, "not within the list"),
        ({"type": "insert", "path": "Patient.name", "index": -1, "value": NAME}, "not within the list"),
        ({"type": "insert", "path": "Patient.name[0]", "index": 0, "value": NAME}, "all items of one list"),
        ({"type": "insert", "path": "Patient.birthDate", "index": 0, "value": GENDER}, "no list"),
        ({"type": "insert", "path": "Patient.name.given", "index": 0, "value": NAME}, "not HumanName"),
        ({"type": "delete", "path": "Patient.name"}, "finds 2 elements"),
        ({"type": "delete", "path": "Patient"}, "element of the resource"),
        ({"type": "delete", "path": "Patient.nmae"}, "no element 'nmae'"),
        ({"type": "replace", "path": "Patient.gender", "value": GENDER}, "finds nothing"),
        (
            {"type": "replace", "path": "Patient.deceased", "value": {"valueString": "x"}},
            "cannot be of the type",
        ),
        ({"type": "replace", "path": "Patient.name[0]", "value": GENDER}, "not Code"),
        ({"type": "move", "path": "Patient.name", "source": 0, "destination": 2}, "not within the list"),
        ({"type": "move", "path": "Patient.name", "source": 2, "destination": 0}, "not within the list"),
        ({"type": "delete", "path": "Patient.name.first(1)"}, "arguments"),
    ],
)
def test_what_does_not_fit_says_which_operation_and_why(parts, said):
    with pytest.raises(InvalidPatch, match=said) as caught:
        patched({"type": "delete", "path": "Patient.photo"}, parts)
    assert str(caught.value).startswith(f"Operation 1 ({parts['type']} at {parts['path']})")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"resourceType": "Patient"}, "a Parameters resource"),
        ({"resourceType": "Parameters", "parameter": [{"name": "other"}]}, "'operation'"),
        ({"resourceType": "Parameters", "parameter": [{"name": "operation"}]}, "no parts"),
        ({"resourceType": "Parameters", "parameter": {}}, "no array"),
    ],
)
def test_what_is_no_fhirpath_patch_is_refused(parameters, said):
    with pytest.raises(InvalidRequest, match=said):
        apply_fhirpath_patch(PATIENT, parameters)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"path": "Patient.name"}, "no part 'type'"),
        ({"type": "merge", "path": "Patient.name"}, "add, insert"),
        ({"type": "delete"}, "no part 'path'"),
        ({"type": "delete", "path": 1}, "no text"),
        ({"type": "delete", "path": "Patient..name"}, "no FHIRPath"),
        ({"type": "delete", "path": "Patient.name.where(family.matches('(a+)+b'))"}, "matches"),
        ({"type": "delete", "path": "Patient.name", "index": 1}, "'index'"),
        ({"type": "replace", "path": "Patient.name"}, "no part 'value'"),
        ({"type": "replace", "path": "Patient.name", "value": {}}, "one value"),
        ({"type": "replace", "path": "Patient.name", "value": {**GENDER, **NAME}}, "one value"),
        ({"type": "insert", "path": "Patient.name", "index": "x", "value": NAME}, "whole number"),
    ],
)
def test_malformed_operations_are_refused(parts, said):
    with pytest.raises(InvalidRequest, match=said):
        patched(parts)
