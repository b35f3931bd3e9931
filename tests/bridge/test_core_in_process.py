"""The server as the bridge knows it: what it is asked in short ways is what it would say over HTTP."""

from __future__ import annotations

from typing import Any

from fhir_server.bridge.in_process import InProcess
from tests.conftest import Client

SYSTEM = "urn:osler:test"


def patient(number: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": number}], **more}


def creates(*numbers: str) -> dict[str, Any]:
    """A transaction that makes patients, each unless there is one with its number, and one that refers to the first."""
    entries = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-{n:012}",
            "resource": patient(number),
            "request": {
                "method": "POST",
                "url": "Patient",
                "ifNoneExist": f"identifier={SYSTEM}|{number}",
            },
        }
        for n, number in enumerate(numbers)
    ]
    basic = {
        "resourceType": "Basic",
        "code": {"text": "about"},
        "subject": {"reference": entries[0]["fullUrl"]},
    }
    entries.append({"resource": basic, "request": {"method": "POST", "url": "Basic"}})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


async def test_what_exists_already_is_used_although_the_draft_has_not_seen_it(client: Client) -> None:
    server = InProcess(client.app.dispatch)
    there = (await client.post("Patient", json=patient("1"))).json()["id"]
    await server.deliver(creates("1", "2", "3"))
    assert [one["id"] for one in await server.find("Patient", [("identifier", f"{SYSTEM}|1")])] == [there]
    (basic,) = await server.find("Basic", [("subject", f"Patient/{there}")])
    assert basic["subject"] == {"reference": f"Patient/{there}"}
    assert len(await server.find("Patient", [])) == 3


async def test_a_transaction_told_twice_makes_everything_once(client: Client) -> None:
    server = InProcess(client.app.dispatch)
    for _ in range(2):
        await server.deliver(creates("1", "2"))
    assert len(await server.find("Patient", [])) == 2


async def test_what_was_found_is_found_anew_when_the_type_was_written(client: Client) -> None:
    server = InProcess(client.app.dispatch)
    query = [("identifier", f"{SYSTEM}|1")]
    assert await server.find("Patient", query) == []
    made = (await client.post("Patient", json=patient("1"))).json()
    assert [one["id"] for one in await server.find("Patient", query)] == [made["id"]]
    await client.put(f"Patient/{made['id']}", json={**patient("1", active=True), "id": made["id"]})
    (found,) = await server.find("Patient", query)
    assert found["active"] is True
    await client.delete(f"Patient/{made['id']}")
    assert await server.find("Patient", query) == []
