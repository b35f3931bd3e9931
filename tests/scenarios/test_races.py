"""Many clients at once, over one server process and over two: each promise is kept to exactly one of them."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any

import httpx

SYSTEM = "http://osler.test/record-number"


async def at_once(requests: Iterable[Awaitable[httpx.Response]]) -> list[httpx.Response]:
    return list(await asyncio.gather(*requests))


def statuses(responses: Iterable[httpx.Response]) -> dict[int, int]:
    return dict(Counter(response.status_code for response in responses))


def fresh() -> str:
    """A value that no other test on the same server has used."""
    return uuid.uuid4().hex


def patient(value: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], **members}


async def total(client: httpx.AsyncClient, query: str) -> int:
    response = await client.get(f"{query}&_summary=count")
    assert response.status_code == 200, response.text
    return int(response.json()["total"])


async def test_of_64_concurrent_conditional_creates_exactly_one_creates(crowd: httpx.AsyncClient) -> None:
    value = fresh()
    header = {"if-none-exist": f"identifier={SYSTEM}|{value}"}
    responses = await at_once(crowd.post("Patient", json=patient(value), headers=header) for _ in range(64))
    assert statuses(responses) == {201: 1, 200: 63}
    assert len({r.headers["location"].split("/_history/")[0] for r in responses}) == 1
    assert await total(crowd, f"Patient?identifier={SYSTEM}|{value}") == 1


async def test_of_concurrent_transactions_with_the_same_conditional_create_one_creates(
    crowd: httpx.AsyncClient,
) -> None:
    value = fresh()
    url = f"urn:uuid:{uuid.uuid4()}"
    condition = {
        "fullUrl": url,
        "resource": patient(value),
        "request": {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier={SYSTEM}|{value}"},
    }
    observation = {
        "resource": {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "seen"},
            "subject": {"reference": url},
        },
        "request": {"method": "POST", "url": "Observation"},
    }
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [condition, observation]}
    responses = await at_once(crowd.post("", json=bundle) for _ in range(24))
    assert statuses(responses) == {200: 24}
    first = Counter(r.json()["entry"][0]["response"]["status"][:3] for r in responses)
    assert first == {"201": 1, "200": 23}
    assert await total(crowd, f"Patient?identifier={SYSTEM}|{value}") == 1
    assert await total(crowd, f"Observation?subject.identifier={SYSTEM}|{value}") == 24


async def test_of_concurrent_updates_with_the_same_if_match_one_wins(crowd: httpx.AsyncClient) -> None:
    id = f"p-{fresh()}"
    await crowd.put(f"Patient/{id}", json=patient("0", id=id))
    responses = await at_once(
        crowd.put(f"Patient/{id}", json=patient(f"{n}", id=id), headers={"if-match": 'W/"1"'})
        for n in range(1, 25)
    )
    assert statuses(responses) == {200: 1, 412: 23}
    winner = next(n for n, r in enumerate(responses, 1) if r.status_code == 200)
    stored = (await crowd.get(f"Patient/{id}")).json()
    assert stored["meta"]["versionId"] == "2"
    assert stored["identifier"][0]["value"] == f"{winner}"


async def test_concurrent_patches_are_all_applied(crowd: httpx.AsyncClient) -> None:
    id = f"p-{fresh()}"
    await crowd.put(f"Patient/{id}", json=patient("first", id=id))

    def patch(n: int) -> Awaitable[httpx.Response]:
        operation = {"op": "add", "path": "/identifier/-", "value": {"system": SYSTEM, "value": f"{n}"}}
        return crowd.patch(
            f"Patient/{id}", json=[operation], headers={"content-type": "application/json-patch+json"}
        )

    responses = await at_once(patch(n) for n in range(24))
    assert statuses(responses) == {200: 24}
    stored = (await crowd.get(f"Patient/{id}")).json()
    assert stored["meta"]["versionId"] == "25"
    assert Counter(i["value"] for i in stored["identifier"]) == Counter(
        ["first", *(f"{n}" for n in range(24))]
    )


async def test_concurrent_updates_of_a_new_id_create_it_once(crowd: httpx.AsyncClient) -> None:
    id = f"p-{fresh()}"
    responses = await at_once(crowd.put(f"Patient/{id}", json=patient(f"{n}", id=id)) for n in range(24))
    assert statuses(responses) == {201: 1, 200: 23}
    versions = sorted(int(r.headers["etag"][3:-1]) for r in responses)
    assert versions == list(range(1, 25))


async def test_concurrent_conditional_updates_of_one_identifier_make_one_resource(
    crowd: httpx.AsyncClient,
) -> None:
    value = fresh()
    query = f"Patient?identifier={SYSTEM}|{value}"
    responses = await at_once(crowd.put(query, json=patient(value)) for _ in range(24))
    assert statuses(responses) == {201: 1, 200: 23}
    assert await total(crowd, query) == 1


async def test_concurrent_deletes_write_one_deletion(crowd: httpx.AsyncClient) -> None:
    id = f"p-{fresh()}"
    await crowd.put(f"Patient/{id}", json=patient("1", id=id))
    responses = await at_once(crowd.delete(f"Patient/{id}") for _ in range(16))
    assert statuses(responses) == {204: 16}
    assert (await crowd.get(f"Patient/{id}/_history")).json()["total"] == 2
