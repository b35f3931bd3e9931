"""References taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.references import Reference, local_id, parse_canonical, parse_reference

LOCAL = ("http://osler.test/fhir",)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Patient/1", Reference("Patient", "1")),
        ("Patient/1/_history/3", Reference("Patient", "1", version="3")),
        ("http://osler.test/fhir/Patient/1", Reference("Patient", "1")),
        ("http://osler.test/fhir/Patient/1/_history/3", Reference("Patient", "1", version="3")),
        ("https://other.test/r4/Patient/1", Reference("Patient", "1", "https://other.test/r4")),
        ("http://osler.test/fhir2/Patient/1", Reference("Patient", "1", "http://osler.test/fhir2")),
        ("urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7", Reference("", "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7")),
        ("urn:oid:1.2.3|4", Reference("", "urn:oid:1.2.3", version="4")),
        ("#med1", Reference("", "", fragment="med1")),
        ("Patient/1#x", Reference("Patient", "1", fragment="x")),
        ("http://a.test/ValueSet/v|1.0", Reference("ValueSet", "v", "http://a.test", "1.0")),
        ("http://a.test/sets/v|1.0", Reference("", "http://a.test/sets/v", version="1.0")),
        ("Nonsense/1", Reference("", "Nonsense/1")),
        ("Patient/not an id", Reference("", "Patient/not an id")),
        ("/Patient/1", Reference("", "/Patient/1")),
        ("fhir/Patient/1", Reference("", "fhir/Patient/1")),
        ("Patient?identifier=x|1", Reference("", "Patient?identifier=x", version="1")),
        ("", Reference("", "")),
    ],
)  # fmt: skip
def test_a_reference_is_taken_apart(text, reference):
    assert parse_reference(text, LOCAL) == reference


def test_only_references_to_this_server_are_local():
    assert parse_reference("http://osler.test/fhir/Patient/1", LOCAL).local
    assert not parse_reference("http://osler.test/fhir/Patient/1").local
    assert not parse_reference("urn:uuid:1").local
    assert parse_reference("urn:uuid:1").urn


@pytest.mark.parametrize(
    ("reference", "id"),
    [
        ({"reference": "Patient/1"}, "1"),
        ({"reference": "http://osler.test/fhir/Patient/1"}, "1"),
        ({"reference": "https://other.test/r4/Patient/1"}, None),
        ({"reference": "Group/1"}, None),
        ({"display": "somebody"}, None),
        ({"reference": 1}, None),
        (None, None),
    ],
)
def test_the_local_id_is_that_of_a_resource_of_the_type_here(reference, id):
    assert local_id(reference, "Patient", LOCAL) == id


def test_a_fragment_alone_is_a_contained_resource():
    assert parse_reference("#a").contained
    assert not parse_reference("Patient/1#a").contained
    assert not parse_reference("").contained


def test_a_canonical_keeps_its_fragment_apart_from_its_version():
    assert parse_canonical("http://a.test/x|2.1") == ("http://a.test/x", "2.1")
    assert parse_canonical("http://a.test/x") == ("http://a.test/x", "")
    assert parse_canonical("http://a.test/x|2#part") == ("http://a.test/x#part", "2")


@given(st.text(max_size=60))
def test_every_text_is_some_reference(text):
    reference = parse_reference(text, LOCAL)
    assert isinstance(reference, Reference)
    assert reference.local == (reference.type != "" and reference.base == "")
