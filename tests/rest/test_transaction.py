"""transaction: all or nothing. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.conftest import Client
from tests.rest.resources import ask, bundle, observation, patient, post, put

URN = "urn:uuid:8d1a2b8e-5b1c-4c1f-9d4b-1f6a3f0b7a01"
URN2 = "urn:uuid:8d1a2b8e-5b1c-4c1f-9d4b-1f6a3f0b7a02"
MRN = [{"system": "http://mrn", "value": "42"}]


async def total(client: Client, query: str) -> int:
    return int((await client.get(f"/{query}_summary=count")).json()["total"])


async def transact(client: Client, *entries: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = await client.post_json("", bundle("transaction", *entries))
    assert answer.status_code == status, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def test_references_between_entries_are_resolved_everywhere(client: Client) -> None:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{URN}">her</a></div>'
    answer = await transact(
        client,
        post(
            observation(
                URN,
                text={"status": "generated", "div": div},
                extension=[{"url": "http://x", "valueUri": URN}, {"url": "http://y", "valueString": URN}],
                identifier=[{"system": "urn:ietf:rfc:3986", "value": URN}],
                performer=[{"reference": URN2}],
            ),
            URN2.replace("02", "03"),
        ),
        post(patient(), URN),
        post({"resourceType": "Practitioner"}, URN2),
    )
    assert answer["type"] == "transaction-response"
    locations = [e["response"]["location"].split("/fhir/")[1].split("/_history")[0] for e in answer["entry"]]
    assert [e["response"]["status"] for e in answer["entry"]] == ["201 Created"] * 3
    read = (await client.get(f"/{locations[0]}")).json()
    assert read["subject"]["reference"] == locations[1]
    assert read["performer"][0]["reference"] == locations[2]
    assert read["extension"][0]["valueUri"] == locations[1]
    assert read["extension"][1]["valueString"] == URN
    assert read["identifier"][0]["value"] == URN
    assert f'href="{locations[1]}"' in read["text"]["div"]
    assert await total(client, f"Observation?subject={locations[1]}&") == 1


async def test_absolute_and_relative_references_to_new_entries_are_resolved(client: Client) -> None:
    elsewhere = "http://elsewhere.test/fhir"
    answer = await transact(
        client,
        post(patient(id="123"), f"{elsewhere}/Patient/123"),
        post(observation("Patient/123"), f"{elsewhere}/Observation/1"),
        post(observation(f"{elsewhere}/Patient/123"), f"{elsewhere}/Observation/2"),
    )
    address = answer["entry"][0]["response"]["location"].split("/fhir/")[1].split("/_history")[0]
    assert address != "Patient/123"
    assert await total(client, f"Observation?subject={address}&") == 2


async def test_nothing_is_written_when_one_entry_fails(client: Client) -> None:
    outcome = await transact(
        client, post(patient()), post(observation(status="nonsense")), put(patient(id="p")), status=400
    )
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["expression"] == ["Bundle.entry[1].resource.status"]
    assert await total(client, "Patient?") == 0


async def test_stale_if_match_fails_the_whole(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    await transact(client, post(patient()), put(patient(id="p"), ifMatch='W/"9"'), status=412)
    assert await total(client, "Patient?") == 1
    await transact(client, post(patient()), put(patient(id="p"), ifMatch='W/"1"'))
    assert await total(client, "Patient?") == 2


async def test_entries_are_carried_out_in_the_order_of_the_specification(client: Client) -> None:
    await client.put_json("/Patient/old", patient(id="old", identifier=MRN))
    answer = await transact(
        client,
        ask("GET", "Patient?identifier=http://mrn|42"),
        put(patient(id="new", identifier=MRN)),
        ask("DELETE", "Patient/old"),
    )
    found = answer["entry"][0]["resource"]
    assert [e["resource"]["id"] for e in found["entry"]] == ["new"]
    assert answer["entry"][2]["response"]["status"] == "204 No Content"


async def test_conditional_create_in_a_transaction_links_to_what_exists(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p", identifier=MRN))
    answer = await transact(
        client,
        post(patient(identifier=MRN), URN, ifNoneExist="identifier=http://mrn|42"),
        post(observation(URN)),
    )
    assert answer["entry"][0]["response"]["status"] == "200 OK"
    assert await total(client, "Observation?subject=Patient/p&") == 1
    assert await total(client, "Patient?") == 1


async def test_conditional_references_are_resolved_or_refused(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p", identifier=MRN))
    await transact(client, post(observation("Patient?identifier=http://mrn|42")))
    assert await total(client, "Observation?subject=Patient/p&") == 1
    await transact(client, post(observation("Patient?identifier=http://mrn|43")), status=412)
    await client.put_json("/Patient/q", patient(id="q", identifier=MRN))
    await transact(client, post(observation("Patient?identifier=http://mrn|42")), status=412)
    assert await total(client, "Observation?") == 1


async def test_conditional_update_patch_and_delete_in_a_transaction(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p", identifier=MRN))
    await client.put_json("/Patient/q", patient(id="q", identifier=[{"system": "http://mrn", "value": "7"}]))
    await client.put_json("/Patient/r", patient(id="r"))
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL2dlbmRlciIsInZhbHVlIjoibWFsZSJ9XQ==",
    }
    answer = await transact(
        client,
        put(patient(identifier=MRN, gender="female"), "Patient?identifier=http://mrn|42"),
        ask("DELETE", "Patient?identifier=http://mrn|7"),
        {"resource": binary, "request": {"method": "PATCH", "url": "Patient/r"}},
    )
    assert [e["response"]["status"][:3] for e in answer["entry"]] == ["200", "204", "200"]
    assert (await client.get("/Patient/p")).json()["gender"] == "female"
    assert (await client.get("/Patient/q")).status_code == 410
    assert (await client.get("/Patient/r")).json()["gender"] == "male"


async def test_one_resource_twice_in_a_transaction_is_refused(client: Client) -> None:
    outcome = await transact(client, put(patient(id="p")), put(patient(id="p")), status=400)
    assert outcome["issue"][0]["code"] == "duplicate"


async def test_transactions_with_the_same_conditional_create_at_once_make_one_resource(
    client: Client,
) -> None:
    entries = (
        post(patient(identifier=MRN), URN, ifNoneExist="identifier=http://mrn|42"),
        post(observation(URN)),
    )
    await asyncio.gather(*(transact(client, *entries) for _ in range(16)))
    assert await total(client, "Patient?") == 1
    assert await total(client, "Observation?") == 16
    assert await total(client, "Observation?subject:Patient.identifier=http://mrn|42&") == 16


async def test_prefer_representation_brings_the_resources(client: Client) -> None:
    answer = await client.post_json(
        "", bundle("transaction", post(patient())), prefer="return=representation"
    )
    assert answer.json()["entry"][0]["resource"]["resourceType"] == "Patient"


async def test_unfit_entries_are_refused_with_their_place(client: Client) -> None:
    for entry in (
        {"resource": patient()},
        {"resource": patient(), "request": {"method": "POST", "url": "Observation"}},
        {"resource": patient(), "request": {"method": "POST", "url": "Nonsense"}},
        {"resource": patient(), "request": {"method": "FETCH", "url": "Patient"}},
        {"resource": patient(id="a"), "request": {"method": "PUT", "url": "Patient/b"}},
        {"request": {"method": "POST", "url": "Patient"}},
        {"request": {"method": "DELETE", "url": "http://elsewhere.test/fhir/Patient/1"}},
    ):
        answer = await client.post_json("", bundle("transaction", post(patient()), entry))
        assert answer.status_code == 400, answer.text
        assert any(
            "entry[1]" in str(i.get("expression", i["diagnostics"])) for i in answer.json()["issue"]
        ), answer.text
    assert await total(client, "Patient?") == 0


async def test_other_bundles_are_not_carried_out(client: Client) -> None:
    for type in ("collection", "document", "nonsense", None):
        answer = await client.post_json("", {"resourceType": "Bundle", **({"type": type} if type else {})})
        assert answer.status_code == 400
    assert (await client.post_json("", patient())).status_code == 400
    assert (await client.post_json("/Bundle", bundle("collection"))).status_code == 201
