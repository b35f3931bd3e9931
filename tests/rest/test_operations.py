"""$validate, $everything and the terminology operations over HTTP."""

from __future__ import annotations

from typing import Any

from tests.conftest import Client
from tests.rest.resources import bundle, observation, patient, put


def severities(outcome: dict[str, Any]) -> set[str]:
    assert outcome["resourceType"] == "OperationOutcome"
    return {i["severity"] for i in outcome["issue"]}


async def test_validate_reports_and_writes_nothing(client: Client) -> None:
    good = await client.post_json("/Patient/$validate", patient())
    assert good.status_code == 200
    assert "error" not in severities(good.json())
    bad = await client.post_json("/Patient/$validate", patient(gender="m", nonsense=1))
    assert bad.status_code == 200
    assert {e for i in bad.json()["issue"] for e in i.get("expression", [])} >= {
        "Patient.gender",
        "Patient.nonsense",
    }
    wrapped = {
        "resourceType": "Parameters",
        "parameter": [{"name": "resource", "resource": patient(gender="m")}],
    }
    assert "error" in severities((await client.post_json("/Patient/$validate", wrapped)).json())
    assert "error" in severities((await client.post_json("/Observation/$validate", patient())).json())
    assert (await client.get("/Patient")).json().get("entry") is None


async def test_validate_of_a_stored_resource_and_its_refusals(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    assert "error" not in severities((await client.get("/Patient/p/$validate")).json())
    assert (await client.get("/Patient/none/$validate")).status_code == 404
    assert (await client.post_json("/Patient/$validate?mode=nonsense", patient())).status_code == 400


async def test_everything_brings_the_compartment_and_what_it_refers_to(client: Client) -> None:
    entries = [
        put({"resourceType": "Practitioner", "id": "d"}),
        put({"resourceType": "Practitioner", "id": "unrelated"}),
        put(patient(id="p")),
        put(patient(id="q")),
        put(
            observation(
                "Patient/p",
                id="a",
                performer=[{"reference": "Practitioner/d"}],
                effectiveDateTime="2020-01-01",
            )
        ),
        put(observation("Patient/p", id="b", effectiveDateTime="2024-01-01")),
        put(observation("Patient/q", id="c")),
    ]
    await client.post_json("", bundle("transaction", *entries))

    def found(answer: dict[str, Any]) -> set[str]:
        return {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in answer["entry"]}

    whole = (await client.get("/Patient/p/$everything")).json()
    assert found(whole) == {"Patient/p", "Observation/a", "Observation/b", "Practitioner/d"}
    assert found((await client.get("/Patient/p/$everything?_type=Observation")).json()) == {
        "Observation/a",
        "Observation/b",
    }
    late = (await client.get("/Patient/p/$everything?start=2023-01-01")).json()
    assert "Observation/a" not in found(late)
    seen: set[str] = set()
    url: str | None = "/Patient/p/$everything?_count=1"
    while url is not None:
        page = (await client.get(url)).json()
        seen |= found(page)
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    assert seen == found(whole)
    assert (await client.get("/Patient/none/$everything")).status_code == 404
    assert (await client.get("/Patient/p/$everything?nonsense=1")).status_code == 400


async def test_terminology_operations_answer_from_the_definitions(client: Client) -> None:
    gender = "http://hl7.org/fhir/ValueSet/administrative-gender"
    expansion = (await client.get(f"/ValueSet/$expand?url={gender}")).json()["expansion"]
    assert {c["code"] for c in expansion["contains"]} == {"male", "female", "other", "unknown"}
    system = "http://hl7.org/fhir/administrative-gender"
    looked = (await client.get(f"/CodeSystem/$lookup?system={system}&code=male")).json()
    assert {"name": "display", "valueString": "Male"} in looked["parameter"]
    refused = await client.get("/CodeSystem/$lookup?system=http://snomed.info/sct&code=73211009")
    assert 400 <= refused.status_code < 500
    act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    subsumed = (
        await client.get(f"/CodeSystem/$subsumes?system={act}&codeA=_ActEncounterCode&codeB=IMP")
    ).json()
    assert subsumed["parameter"][0]["valueCode"] == "subsumes"


async def test_stored_code_systems_and_value_sets_are_used(client: Client) -> None:
    system = {
        "resourceType": "CodeSystem",
        "id": "wards",
        "url": "http://hospital.test/wards",
        "status": "active",
        "content": "complete",
        "concept": [{"code": "icu", "display": "Intensive care"}, {"code": "er", "display": "Emergency"}],
    }
    value_set = {
        "resourceType": "ValueSet",
        "id": "wards",
        "url": "http://hospital.test/ValueSet/wards",
        "status": "active",
        "compose": {"include": [{"system": "http://hospital.test/wards"}]},
    }
    await client.put_json("/CodeSystem/wards", system)
    await client.put_json("/ValueSet/wards", value_set)
    for url in ("/ValueSet/$expand?url=http://hospital.test/ValueSet/wards", "/ValueSet/wards/$expand"):
        expansion = (await client.get(url)).json()["expansion"]
        assert [c["code"] for c in expansion["contains"]] == ["icu", "er"]
    checked = await client.get("/ValueSet/wards/$validate-code?system=http://hospital.test/wards&code=xx")
    assert {"name": "result", "valueBoolean": False} in checked.json()["parameter"]
