"""Referential integrity as a setting, and identifiers that one resource may hold."""

from __future__ import annotations

import asyncio

from tests.conftest import StartServer
from tests.rest.resources import bundle, observation, patient, post, put


async def test_enforced_integrity_refuses_broken_references_and_orphans(start_server: StartServer) -> None:
    client = await start_server(integrity="enforce")
    assert (await client.put_json("/Observation/o", observation("Patient/p", id="o"))).status_code == 422
    both = bundle("transaction", put(observation("Patient/p", id="o")), put(patient(id="p")))
    assert (await client.post_json("", both)).status_code == 200
    refused = await client.delete("/Patient/p")
    assert refused.status_code == 409
    assert "Observation/o" in refused.text
    assert (await client.delete("/Observation/o")).status_code == 204
    assert (await client.delete("/Patient/p")).status_code == 204


async def test_warned_integrity_tells_and_writes(start_server: StartServer) -> None:
    client = await start_server(integrity="warn")
    answer = await client.put_json(
        "/Observation/o", observation("Patient/p", id="o"), prefer="return=OperationOutcome"
    )
    assert answer.status_code == 201
    assert "Patient/p" in answer.text
    assert any(i["severity"] == "warning" for i in answer.json()["issue"])


async def test_a_unique_identifier_is_held_by_one_resource(start_server: StartServer) -> None:
    client = await start_server(unique_identifiers=("http://mrn",))
    mrn = [{"system": "http://mrn", "value": "42"}]
    answers = await asyncio.gather(
        *(client.post_json("/Patient", patient(identifier=mrn)) for _ in range(10))
    )
    assert sorted(a.status_code for a in answers) == [201] + [409] * 9
    holder = next(a for a in answers if a.status_code == 201).json()["id"]
    assert holder in next(a for a in answers if a.status_code == 409).text
    await client.delete(f"/Patient/{holder}")
    assert (await client.post_json("/Patient", patient(identifier=mrn))).status_code == 201
    twice = bundle("transaction", post(patient(identifier=[{"system": "http://mrn", "value": "7"}])))
    twice["entry"] *= 2
    assert (await client.post_json("", twice)).status_code == 409
