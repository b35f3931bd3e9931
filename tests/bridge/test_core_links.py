"""Results that name an order nobody knows: whoever says whose it is has the result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS
from tests.bridge.core import KNOWN, House, house, until
from tests.conftest import Client

REAL = replace(KNOWN, maps=MAPPINGS, classify=classify)
ANNA = {"resourceType": "Patient", "id": "anna"}
BLOOD = {"resourceType": "Specimen", "id": "blood", "subject": {"reference": "Patient/anna"}}


def result(numbers: str) -> bytes:
    lines = (
        "MSH|^~\\&|LAB|HOSP|OSLER|HOSP|20260301080000||ORU^R01|1|P|2.5.1",
        "PID|1",
        f"OBR|1|{numbers}|CBC^Blood count^L|||||||||||||||||||||F",
        "OBX|1|NM|718-7^Hb^LN||9.1|g/dL|||||F",
        "",
    )
    return "\r".join(lines).encode()


async def links(lab: House, reference: str) -> None:
    (task,) = await lab.tasks()
    parameters = [
        {"name": "action", "valueCode": "link"},
        {"name": "reference", "valueReference": {"reference": reference}},
    ]
    body = {"resourceType": "Parameters", "parameter": parameters}
    answer = await lab.client.post_json(f"Task/{task['id']}/$resolve", body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("numbers", "path", "value", "reference"),
    [
        ("P-7^HIS|", "OBR-2", "HIS|P-7", "Patient/anna"),
        ("|F-7^LAB", "OBR-3", "LAB|F-7", "Patient/anna"),
        ("P-7|", "OBR-2", "lab|P-7", "Specimen/blood"),
    ],
)
async def test_a_result_of_an_unknown_order_belongs_to_whom_it_is_linked_to(
    client: Client, numbers: str, path: str, value: str, reference: str
) -> None:
    await client.put_json("/Patient/anna", ANNA)
    await client.put_json("/Specimen/blood", BLOOD)
    async with house(client, known=REAL) as lab:
        await lab.send(result(numbers))
        assert await lab.quiet() == {"held": 1}
        (task,) = await lab.tasks()
        inputs = {one["type"]["coding"][0]["code"]: one["valueString"] for one in task["input"]}
        assert inputs["path"] == path
        assert inputs["value"] == f"https://osler.health/fhir/hl7v2/authority/{value}"
        await links(lab, reference)
        assert await until(lab.states, lambda states: states == {"mapped": 1})
        (entry,) = (await client.get("/Observation")).json()["entry"]
        assert entry["resource"]["subject"] == {"reference": "Patient/anna"}
        (order,) = (await client.get("/ServiceRequest")).json()["entry"]
        assert order["resource"]["status"] == "completed"


async def test_a_result_that_names_nobody_is_not_said_to_be_linked(client: Client) -> None:
    async with house(client, known=REAL) as lab:
        await lab.send(result("|"))
        assert await lab.quiet() == {"held": 1}
        (task,) = await lab.tasks()
        assert task["description"].startswith("Have the sender tell whose it is")
