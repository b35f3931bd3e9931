"""Addresses in a resource are replaced wherever R4 allows one, by the quick way and by the exact way alike."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.jsonio import decode_object, encode
from fhir_server.interactions.references import Linker, rewrite_references
from tests.rest.resources import observation

OLD = [f"urn:uuid:0b3a1f5e-0000-4000-8000-00000000000{n}" for n in range(4)]
TABLE = {OLD[0]: "Patient/1", OLD[1]: "Practitioner/2", "http://elsewhere.test/fhir/Patient/9": "Patient/3"}

addresses = st.sampled_from(
    [*OLD, *TABLE, "Patient/7", f"{OLD[0]}#part", "http://elsewhere.test/fhir/Patient/90"]
)
reference = st.fixed_dictionaries({"reference": addresses}, optional={"display": addresses})
extensions = st.lists(
    st.one_of(
        st.fixed_dictionaries({"url": st.just("http://x"), "valueReference": reference}),
        st.fixed_dictionaries({"url": st.just("http://x"), "valueUri": addresses}),
        st.fixed_dictionaries({"url": st.just("http://x"), "valueString": addresses}),
    ),
    min_size=1,
    max_size=2,
)
resources = st.fixed_dictionaries(
    {"subject": reference},
    optional={
        "performer": st.lists(reference, min_size=1, max_size=3),
        "extension": extensions,
        "identifier": st.lists(
            st.fixed_dictionaries({"value": addresses}, optional={"assigner": reference}),
            min_size=1,
            max_size=2,
        ),
        "note": st.lists(
            st.fixed_dictionaries({"text": addresses}, optional={"authorReference": reference}),
            min_size=1,
            max_size=1,
        ),
        "contained": st.just([{"resourceType": "Patient", "managingOrganization": {"reference": OLD[0]}}]),
    },
).map(lambda more: observation(**more) if "subject" not in more else {**observation(), **more})


@settings(max_examples=200, deadline=None)
@given(resource=resources, table=st.dictionaries(st.sampled_from(sorted(TABLE)), st.just("Patient/new")))
def test_quick_linking_is_exact_linking(resource: dict[str, Any], table: dict[str, str]) -> None:
    before = encode(resource)
    linker = Linker(table)

    def replacement(address: str) -> str | None:
        head, mark, fragment = address.partition("#")
        return table.get(address) or (f"{table[head]}{mark}{fragment}" if head in table else None)

    assert linker.link(resource) == rewrite_references(resource, replacement)
    assert encode(resource) == before


def test_texts_that_are_no_addresses_stay() -> None:
    resource = observation(OLD[0], note=[{"text": OLD[0]}], identifier=[{"value": OLD[0]}])
    linked = Linker(TABLE).link(decode_object(encode(resource)))
    assert linked["subject"]["reference"] == "Patient/1"
    assert linked["note"][0]["text"] == OLD[0]
    assert linked["identifier"][0]["value"] == OLD[0]
