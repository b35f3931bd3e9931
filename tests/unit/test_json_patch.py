"""JSON Patch on resources."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.errors import FhirError, InvalidPatch, InvalidRequest
from fhir_r4.jsonio import decode, encode
from fhir_server.interactions.patching.json_patch import apply_json_patch

DOCUMENT = {
    "resourceType": "Patient",
    "name": [{"given": ["a", "b"]}, {"family": "f"}],
    "a/b": 1,
    "m~n": 2,
    "active": True,
    "count": 1,
}


def patched(*operations, document=DOCUMENT):
    return apply_json_patch(document, list(operations))


@pytest.mark.parametrize(
    ("operation", "member", "expected"),
    [
        ({"op": "add", "path": "/gender", "value": "male"}, "gender", "male"),
        ({"op": "add", "path": "/active", "value": False}, "active", False),
        ({"op": "add", "path": "/gender", "value": None}, "gender", None),
        (
            {"op": "add", "path": "/name/0/given/1", "value": "x"},
            "name",
            [{"given": ["a", "x", "b"]}, {"family": "f"}],
        ),
        (
            {"op": "add", "path": "/name/0/given/-", "value": "x"},
            "name",
            [{"given": ["a", "b", "x"]}, {"family": "f"}],
        ),
        ({"op": "add", "path": "/name/2", "value": {}}, "name", [{"given": ["a", "b"]}, {"family": "f"}, {}]),
        ({"op": "remove", "path": "/name/0"}, "name", [{"family": "f"}]),
        (
            {"op": "replace", "path": "/name/1/family", "value": "g"},
            "name",
            [{"given": ["a", "b"]}, {"family": "g"}],
        ),
        ({"op": "replace", "path": "/a~1b", "value": 5}, "a/b", 5),
        ({"op": "replace", "path": "/m~0n", "value": 5}, "m~n", 5),
        (
            {"op": "move", "from": "/name/0", "path": "/name/1"},
            "name",
            [{"family": "f"}, {"given": ["a", "b"]}],
        ),
        ({"op": "move", "from": "/name/0", "path": "/name/0"}, "name", DOCUMENT["name"]),
        ({"op": "copy", "from": "/name/1/family", "path": "/gender"}, "gender", "f"),
        ({"op": "test", "path": "/name/0/given", "value": ["a", "b"]}, "count", 1),
        ({"op": "test", "path": "/count", "value": Decimal("1.0")}, "count", 1),
        ({"op": "replace", "path": "", "value": {"resourceType": "Patient"}}, "resourceType", "Patient"),
    ],
)
def test_operations(operation, member, expected):
    assert patched(operation)[member] == expected


def test_a_removed_member_is_gone():
    assert "active" not in patched({"op": "remove", "path": "/active"})


def test_operations_apply_in_order_to_what_is_left():
    assert patched(
        {"op": "remove", "path": "/name/0"},
        {"op": "add", "path": "/name/0/given", "value": []},
        {"op": "add", "path": "/name/0/given/-", "value": "z"},
        {"op": "test", "path": "/name", "value": [{"given": ["z"], "family": "f"}]},
    )["name"] == [{"family": "f", "given": ["z"]}]


def test_numbers_keep_their_digits():
    document = decode(b'{"a":1.10,"b":1e3}')
    patch = decode(b'[{"op":"copy","from":"/b","path":"/c"},{"op":"add","path":"/d","value":2.500}]')
    assert encode(apply_json_patch(document, patch)) == b'{"a":1.10,"b":1e3,"c":1e3,"d":2.500}'


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"op": "add", "path": "/x/y", "value": 1}, "no member 'x'"),
        ({"op": "remove", "path": "/x"}, "no member 'x'"),
        ({"op": "replace", "path": "/x", "value": 1}, "no member 'x'"),
        ({"op": "remove", "path": "/name/2"}, "beyond the end"),
        ({"op": "add", "path": "/name/3", "value": 1}, "beyond the end"),
        ({"op": "remove", "path": "/name/-"}, "no index"),
        ({"op": "remove", "path": "/name/01"}, "no index"),
        ({"op": "remove", "path": "/name/-1"}, "no index"),
        ({"op": "add", "path": "/name/x", "value": 1}, "no index"),
        ({"op": "add", "path": "/active/x", "value": 1}, "neither object nor array"),
        ({"op": "remove", "path": "/active/x"}, "neither object nor array"),
        ({"op": "test", "path": "/active", "value": 1}, "not the one"),
        ({"op": "test", "path": "/count", "value": True}, "not the one"),
        ({"op": "test", "path": "/count", "value": "1"}, "not the one"),
        ({"op": "test", "path": "/name/0", "value": {"given": ["b", "a"]}}, "not the one"),
        ({"op": "move", "from": "/name", "path": "/name/0"}, "into itself"),
        ({"op": "move", "from": "/x", "path": "/y"}, "no member 'x'"),
        ({"op": "move", "from": "/x", "path": "/x"}, "no member 'x'"),
        ({"op": "copy", "from": "/x", "path": "/y"}, "no member 'x'"),
        ({"op": "remove", "path": ""}, "whole resource"),
        ({"op": "replace", "path": "", "value": []}, "no JSON object"),
    ],
)
def test_what_does_not_fit_says_which_operation_and_why(operation, said):
    with pytest.raises(InvalidPatch, match=said) as caught:
        patched({"op": "test", "path": "/count", "value": 1}, operation)
    assert "no JSON object" in said or str(caught.value).startswith(f"Operation 1 ({operation['op']} ")


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({}, "an array"),
        (["x"], "no object"),
        ([{"path": "/a"}], "add, remove"),
        ([{"op": "merge", "path": "/a"}], "'merge'"),
        ([{"op": "add", "path": "/a"}], "no value"),
        ([{"op": "test", "path": "/a"}], "no value"),
        ([{"op": "remove"}], "JSON Pointer"),
        ([{"op": "remove", "path": "a"}], "begin with '/'"),
        ([{"op": "remove", "path": "/a~2"}], "followed by 0 or 1"),
        ([{"op": "move", "path": "/a"}], "from: a JSON Pointer"),
    ],
)
def test_what_is_no_json_patch_is_refused(patch, said):
    with pytest.raises(InvalidRequest, match=said):
        apply_json_patch(DOCUMENT, patch)


def test_copies_cannot_grow_without_bound():
    doubling = [
        {"op": "copy", "from": "/name", "path": "/name/0/x"},
        {"op": "copy", "from": "/name", "path": "/name/1/x"},
    ]
    with pytest.raises(InvalidPatch, match="copies more than"):
        apply_json_patch(DOCUMENT, doubling * 50)


STEPS = st.sampled_from(["name", "0", "1", "-", "given", "family", "a~1b", "x"])
POINTERS = st.lists(STEPS, max_size=4).map(lambda steps: "".join(f"/{step}" for step in steps))
VALUES = st.sampled_from([1, "x", None, True, [], {"given": ["z"]}, [{"family": "q"}]])
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": POINTERS,
        "from": POINTERS,
        "value": VALUES,
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATIONS, min_size=1, max_size=4))
def test_neither_resource_nor_patch_is_changed(operations):
    document, patch = deepcopy(DOCUMENT), deepcopy(operations)
    try:
        result = apply_json_patch(document, patch)
    except FhirError:
        result = None
    assert document == DOCUMENT
    assert patch == operations
    if result is not None:
        _scribble(result)
        assert document == DOCUMENT
        assert patch == operations


def _scribble(value):
    """Change everything that can be reached."""
    if isinstance(value, dict):
        for child in value.values():
            _scribble(child)
        value["scribbled"] = True
    elif isinstance(value, list):
        for child in value:
            _scribble(child)
        value.append("scribbled")
