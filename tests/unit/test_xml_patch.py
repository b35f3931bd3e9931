"""XML Patch on resources, and the choice between the forms of a patch."""

from __future__ import annotations

from copy import deepcopy

import pytest
from lxml import etree

from fhir_r4.errors import FhirError, InvalidPatch, InvalidRequest, MalformedXml, UnsupportedMediaType
from fhir_r4.jsonio import decode, encode
from fhir_server.interactions.patching import apply_patch
from fhir_server.interactions.patching.xml_patch import apply_xml_patch, patch_tree

DIV = "<div xmlns=\"http://www.w3.org/1999/xhtml\">&nbsp;<p class='a'>x<br></br>y</p></div>"
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "text": {"status": "generated", "div": DIV},
    "name": [{"family": "A", "given": ["x", "y"], "_given": [None, {"id": "k"}]}, {"family": "B"}],
    "birthDate": "2000-01-01",
}


def patched(operations: str, root: str = '<diff xmlns="http://hl7.org/fhir">', resource=PATIENT):
    before = deepcopy(resource)
    result = apply_xml_patch(resource, f"{root}{operations}</diff>".encode())
    assert resource == before
    return result


def test_replace_an_attribute():
    assert patched('<replace sel="Patient/birthDate/@value">1999</replace>') == {
        **PATIENT,
        "birthDate": "1999",
    }


@pytest.mark.parametrize(
    ("root", "selector"),
    [
        ('<diff xmlns="http://hl7.org/fhir">', "/Patient/birthDate"),
        ('<diff xmlns:p="http://hl7.org/fhir">', "p:Patient/p:birthDate"),
        ("<diff>", "f:Patient/f:birthDate"),
        ("<diff>", "Patient/birthDate"),
        ("<diff>", "*/birthDate[@value='2000-01-01']"),
        ("<diff>", "Patient/*[5]"),
    ],
)
def test_selectors_and_namespaces(root, selector):
    assert "birthDate" not in patched(f'<remove sel="{selector}"/>', root)


def test_remove_an_item_keeps_the_extensions_of_the_others():
    name = patched("<remove sel=\"Patient/name[family/@value='A']/given[1]\"/>")["name"][0]
    assert name == {"family": "A", "given": ["y"], "_given": [{"id": "k"}]}


def test_add_appends_prepends_and_stands_beside():
    given = '<given xmlns="http://hl7.org/fhir" value="new"/>'
    assert patched(f'<add sel="Patient/name[1]">{given}</add>')["name"][0]["given"] == ["x", "y", "new"]
    assert patched(f'<add sel="Patient/name[1]" pos="prepend">{given}</add>')["name"][0]["given"] == [
        "new",
        "x",
        "y",
    ]
    beside = patched(f'<add sel="Patient/name[1]/given[2]" pos="before">{given}</add>')["name"][0]
    assert beside["given"] == ["x", "new", "y"]
    assert beside["_given"] == [None, None, {"id": "k"}]
    assert patched(f'<add sel="Patient/name[1]/given[2]" pos="after">{given}</add>')["name"][0]["given"] == [
        "x",
        "y",
        "new",
    ]


def test_add_and_remove_attributes():
    assert patched('<add sel="Patient/birthDate" type="@id">b</add>')["_birthDate"] == {"id": "b"}
    assert "_given" not in patched('<remove sel="Patient/name/given[2]/@id"/>')["name"][0]


def test_replace_an_element():
    result = patched('<replace sel="Patient/name[2]"><name><text value="t"/></name></replace>')
    assert result["name"][1] == {"text": "t"}


def test_operations_apply_in_order():
    result = patched(
        '<remove sel="Patient/name[1]"/><replace sel="Patient/name[1]/family/@value">C</replace>'
        '<add sel="Patient"><gender value="male"/></add>'
    )
    assert result["name"] == [{"family": "C"}]
    assert result["gender"] == "male"


def test_narratives_keep_their_bytes_unless_they_are_patched():
    assert patched('<remove sel="Patient/birthDate"/>')["text"]["div"] == DIV
    result = patched('<replace sel="Patient/text/h:div/h:p/text()[1]">z</replace>')
    assert '<p class="a">z<br/>y</p>' in result["text"]["div"].replace("<br></br>", "<br/>")


def test_numbers_keep_their_digits():
    resource = decode(b'{"resourceType":"Observation","valueQuantity":{"value":1.10,"unit":"x"}}')
    result = patched('<remove sel="Observation/valueQuantity/unit"/>', resource=resource)
    assert encode(result) == b'{"resourceType":"Observation","valueQuantity":{"value":1.10}}'


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ('<remove sel="Patient/gender"/>', "finds nothing"),
        ('<remove sel="Patient/name"/>', "finds 2 nodes"),
        ('<remove sel="x:Patient" xmlns:x="urn:x"/>', "finds nothing"),
        ('<remove sel="Patient"/>', "root"),
        ('<replace sel="Patient"><Patient/></replace>', "root"),
        ('<replace sel="Patient/birthDate">x</replace>', "one element"),
        ('<replace sel="Patient/birthDate"><gender/><gender/></replace>', "one element"),
        ('<replace sel="Patient/birthDate/@value"><a/></replace>', "text"),
        ('<add sel="Patient/birthDate/@value"><a/></add>', "elements only"),
        ('<add sel="Patient" pos="after"><a/></add>', "beside the root"),
        ('<add sel="Patient" pos="first"><a/></add>', "prepend"),
        ('<add sel="Patient" type="namespace::x">urn:x</add>', "namespace::x"),
        ('<add sel="Patient/birthDate" type="@value">x</add>', "already"),
        ('<add sel="Patient/birthDate" type="@1">x</add>', "no name"),
    ],
)
def test_what_does_not_fit_says_which_operation_and_why(operation, said):
    with pytest.raises(InvalidPatch, match=said) as caught:
        patched(f'<replace sel="Patient/birthDate/@value">1999</replace>{operation}')
    assert str(caught.value).startswith("Operation 1 (")


def test_what_is_no_fhir_afterwards_is_refused_with_its_place():
    with pytest.raises(InvalidPatch, match="foo") as caught:
        patched('<add sel="Patient"><foo value="1"/></add>')
    assert caught.value.issues[0].expression == ("Patient",)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "selector",
    [
        "//Patient",
        "Patient//name",
        "Patient/descendant::name",
        "Patient/name[count(given) = 2]",
        "Patient/name[family[@value='A']]",
        "Patient/name[",
        "Patient | Patient",
        "q:Patient",
        "'x'",
        "Patient/",
        "Patient/name" + "[1]" * 1000,
    ],
)
def test_selectors_beyond_the_rfc_are_refused(selector):
    with pytest.raises(InvalidRequest, match="selector"):
        patched(f'<remove sel="{selector}"/>')


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<diff>", MalformedXml),
        (b"", MalformedXml),
        (
            b"<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><diff><add sel='Patient'>&e;</add></diff>",
            MalformedXml,
        ),
        (b"<diff/>", InvalidRequest),
        (b"<diff><merge sel='Patient'/></diff>", InvalidRequest),
        (b"<diff><remove/></diff>", InvalidRequest),
    ],
)
def test_what_is_no_xml_patch_is_refused(body, error):
    with pytest.raises(error):
        apply_xml_patch(PATIENT, body)


def test_comments_and_texts_can_be_patched_too():
    tree = etree.fromstring("<a>1<!-- c --><b/>2</a>")
    patch = '<diff><replace sel="*/comment()[1]"><!-- d --></replace><remove sel="*/text()[2]"/></diff>'
    patch_tree(tree, etree.fromstring(patch))
    assert etree.tostring(tree) == b"<a>1<!-- d --><b/></a>"


FHIRPATH_PATCH = {
    "resourceType": "Parameters",
    "parameter": [
        {
            "name": "operation",
            "part": [
                {"name": "type", "valueCode": "delete"},
                {"name": "path", "valueString": "Patient.birthDate"},
            ],
        }
    ],
}
FHIRPATH_PATCH_XML = (
    b'<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="operation"/><part><name value="type"/>'
    b'<valueCode value="delete"/></part><part><name value="path"/><valueString value="Patient.birthDate"/></part>'
    b"</parameter></Parameters>"
)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json-patch+json", b'[{"op":"remove","path":"/birthDate"}]'),
        ("application/fhir+json; charset=utf-8", encode(FHIRPATH_PATCH)),
        ("Application/FHIR+XML", FHIRPATH_PATCH_XML),
        ("application/xml-patch+xml", b'<diff><remove sel="Patient/birthDate"/></diff>'),
    ],
)
def test_the_media_type_says_what_form_a_patch_has(content_type, body):
    expected = {name: value for name, value in PATIENT.items() if name != "birthDate"}
    assert apply_patch(PATIENT, content_type, body) == expected


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain"])
def test_other_media_types_are_refused_by_naming_the_four(content_type):
    with pytest.raises(
        UnsupportedMediaType, match=r"json-patch\+json, .*fhir\+json, .*fhir\+xml, .*xml-patch\+xml"
    ):
        apply_patch(PATIENT, content_type, b"")


@pytest.mark.parametrize(
    "content_type", ["application/json-patch+json", "application/fhir+json", "application/fhir+xml"]
)
def test_bodies_that_are_not_of_their_media_type_are_client_errors(content_type):
    with pytest.raises(FhirError) as caught:
        apply_patch(PATIENT, content_type, b"\x00")
    assert caught.value.status == 400
