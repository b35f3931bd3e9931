"""The server as the bridge knows it: what it is asked in short ways is what it would say over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from fhir_server.bridge.in_process import InProcess
from hl7_bridge.delivery import Refused
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


ASKED: list[list[tuple[str, str]]] = [
    [("identifier", f"{SYSTEM}|1")],
    [("identifier", f"{SYSTEM}|1,{SYSTEM}|3")],
    [("identifier", "2")],
    [("identifier", "urn:other|2")],
    [("identifier", f"{SYSTEM}|")],
    [("identifier", f"{SYSTEM}|4"), ("active", "true")],
    [("gender", "female")],
    [("_id", "nobody")],
    [],
]


async def test_what_is_asked_at_once_is_answered_as_if_it_was_asked_alone(client: Client) -> None:
    for number in "1234":
        await client.post("Patient", json=patient(number, active=True, gender="female"))
    server = InProcess(client.app.dispatch)
    alone = [await server.find("Patient", query) for query in ASKED]
    assert [len(found) for found in alone] == [1, 2, 1, 0, 4, 1, 4, 0, 4]
    assert await asyncio.gather(*(server.find("Patient", query) for query in ASKED)) == alone
    # fewer than match, and so many that they are no page
    few = [server.find("Patient", [("gender", "female")], 2), server.find("Patient", [("active", "true")], 3)]
    assert [len(found) for found in await asyncio.gather(*few)] == [2, 3]
    assert await asyncio.gather(*(server.find("Patient", query, 1000) for query in ASKED)) == alone


async def test_a_question_that_is_refused_leaves_those_beside_it_alone(client: Client) -> None:
    await client.post("Basic", json={"resourceType": "Basic", "identifier": [{"value": "1"}], "code": {}})
    server = InProcess(client.app.dispatch)
    asked = [[("identifier", "1")], [("nonsense", "1")], [("identifier", "|")], [("identifier", "2")]]
    found = await asyncio.gather(*(server.find("Basic", query) for query in asked), return_exceptions=True)
    assert [type(one) for one in found] == [list, Refused, Refused, list]


async def test_who_asks_no_more_leaves_those_beside_him_alone(client: Client) -> None:
    await client.post("Patient", json=patient("1"))
    server = InProcess(client.app.dispatch)
    asking = [asyncio.create_task(server.find("Patient", [("identifier", "1")])) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [len(one) for one in found[1:] if isinstance(one, list)] == [1, 1]
