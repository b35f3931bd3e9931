"""batch: each entry on its own. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

from tests.conftest import Client
from tests.rest.resources import ask, bundle, observation, patient, post, put


async def test_each_entry_has_its_own_answer(client: Client) -> None:
    answer = await client.post_json(
        "",
        bundle(
            "batch",
            put(patient(id="p")),
            post(observation(status="nonsense")),
            ask("GET", "Patient/p"),
            ask("GET", "Patient/none"),
            ask("GET", "Patient?_id=p"),
            ask("GET", "metadata"),
            {"nothing": 1},
            ask("DELETE", "Patient/p"),
        ),
    )
    assert answer.status_code == 200
    result = answer.json()
    assert result["type"] == "batch-response"
    statuses = [e["response"]["status"][:3] for e in result["entry"]]
    assert statuses == ["201", "400", "200", "404", "200", "200", "400", "204"]
    assert result["entry"][1]["response"]["outcome"]["issue"][0]["expression"] == ["Observation.status"]
    assert result["entry"][2]["resource"]["id"] == "p"
    assert result["entry"][4]["resource"]["type"] == "searchset"


async def test_batch_reads_take_conditions(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    answer = await client.post_json("", bundle("batch", ask("GET", "Patient/p", ifNoneMatch='W/"1"')))
    assert answer.json()["entry"][0]["response"]["status"].startswith("304")


async def test_operations_run_in_a_batch(client: Client) -> None:
    url = "ValueSet/$validate-code?url=http://hl7.org/fhir/ValueSet/administrative-gender&code=male&system=http://hl7.org/fhir/administrative-gender"
    answer = await client.post_json("", bundle("batch", ask("GET", url)))
    (entry,) = answer.json()["entry"]
    values = {p["name"]: p.get("valueBoolean") for p in entry["resource"]["parameter"]}
    assert values["result"] is True
