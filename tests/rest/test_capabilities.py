"""The CapabilityStatement says what the server does. https://hl7.org/fhir/R4/capabilitystatement.html"""

from __future__ import annotations

import pytest

from fhir_r4.definitions import resource_types, search_parameters
from tests.conftest import Client


async def test_statement_lists_every_type_with_its_interactions(client: Client) -> None:
    statement = (await client.get("/metadata")).json()
    assert statement["fhirVersion"] == "4.0.1"
    (rest,) = statement["rest"]
    assert [r["type"] for r in rest["resource"]] == list(resource_types())
    patient = next(r for r in rest["resource"] if r["type"] == "Patient")
    assert {"read", "create", "patch", "search-type"} <= {i["code"] for i in patient["interaction"]}
    assert {"name", "birthdate", "_id", "general-practitioner"} <= {p["name"] for p in patient["searchParam"]}
    assert {"validate", "everything"} <= {o["name"] for o in patient["operation"]}
    assert {"transaction", "batch"} <= {i["code"] for i in rest["interaction"]}


@pytest.mark.parametrize("mode", ["full", "normative"])
async def test_statement_is_a_valid_resource_by_our_validator_and_by_the_typed_models(
    client: Client, mode: str
) -> None:
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    statement = (await client.get(f"/metadata?mode={mode}")).json()
    assert client.app.services.validator.check(statement) is None
    for resource in statement["rest"][0]["resource"]:
        resource["searchParam"] = resource["searchParam"][:3]
    del statement["rest"][0]["resource"][20:]
    CapabilityStatement.model_validate(statement)


async def test_terminology_mode_answers_with_terminology_capabilities(client: Client) -> None:
    statement = (await client.get("/metadata?mode=terminology")).json()
    assert statement["resourceType"] == "TerminologyCapabilities"
    assert client.app.services.validator.check(statement) is None


async def test_every_listed_parameter_of_the_main_types_can_be_searched(client: Client) -> None:
    dummies = {
        "token": "x",
        "string": "x",
        "reference": "Patient/x",
        "date": "2020",
        "number": "1",
        "quantity": "1",
        "uri": "http://x",
    }
    special = {"_filter": "_id eq x", "_list": "x", "near": "1|2"}
    kinds = {p.url: p.type for p in search_parameters()}
    parameters = client.app.services.parameters
    statement = (await client.get("/metadata")).json()
    types = ("Patient", "Observation", "Encounter", "RiskAssessment", "ValueSet", "Location")
    for resource in statement["rest"][0]["resource"]:
        if resource["type"] in types:
            assert {p["name"] for p in resource["searchParam"]} >= {"_id", "_list", "_text", "_filter"}
            for parameter in resource["searchParam"]:
                name, kind = parameter["name"], parameter["type"]
                if kind == "composite":
                    components = parameters.of(resource["type"])[name].components
                    value = "$".join(dummies[kinds[url]] for url, _ in components)
                else:
                    value = special[name] if kind == "special" else dummies[kind]
                url = f"/{resource['type']}?{name}={value}&_summary=count"
                answer = await client.get(url)
                assert answer.status_code == 200, (url, answer.text)
