"""Conditional create, update, patch and delete: https://hl7.org/fhir/R4/http.html#cond-update"""

from __future__ import annotations

import asyncio

from tests.conftest import Client, StartServer
from tests.rest.resources import patient

MRN = [{"system": "http://mrn", "value": "42"}]


async def count(client: Client, query: str = "identifier=http://mrn|42") -> int:
    return int((await client.get(f"/Patient?{query}&_total=accurate")).json()["total"])


async def test_conditional_create_writes_once(client: Client) -> None:
    first = await client.post_json(
        "/Patient", patient(identifier=MRN), if_none_exist="identifier=http://mrn|42"
    )
    assert first.status_code == 201
    second = await client.post_json(
        "/Patient", patient(identifier=MRN), if_none_exist="identifier=http://mrn|42"
    )
    assert second.status_code == 200
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["location"] == first.headers["location"]
    assert await count(client) == 1


async def test_conditional_create_with_several_matches_is_refused(client: Client) -> None:
    for _ in range(2):
        await client.post_json("/Patient", patient(identifier=MRN))
    answer = await client.post_json("/Patient", patient(), if_none_exist="identifier=http://mrn|42")
    assert answer.status_code == 412
    assert answer.json()["issue"][0]["code"] == "multiple-matches"


async def test_conditional_create_needs_criteria_that_are_understood(client: Client) -> None:
    assert (await client.post_json("/Patient", patient(), if_none_exist="")).status_code == 400
    assert (await client.post_json("/Patient", patient(), if_none_exist="nonsense=1")).status_code == 400
    none = "_has:Observation:patient:code-value-quantity=a$x"
    assert (await client.post_json("/Patient", patient(), if_none_exist=none)).status_code == 400
    beside = "identifier=http://mrn|42&_count=1"
    assert (await client.post_json("/Patient", patient(), if_none_exist=beside)).status_code == 400


async def test_64_conditional_creates_at_once_make_one_resource(client: Client) -> None:
    answers = await asyncio.gather(
        *(
            client.post_json("/Patient", patient(identifier=MRN), if_none_exist="identifier=http://mrn|42")
            for _ in range(64)
        )
    )
    assert sorted(a.status_code for a in answers) == [200] * 63 + [201]
    assert len({a.json()["id"] for a in answers}) == 1
    assert await count(client) == 1


async def test_conditional_update_creates_updates_and_refuses(client: Client) -> None:
    url = "/Patient?identifier=http://mrn|42"
    created = await client.put_json(url, patient(identifier=MRN))
    assert created.status_code == 201
    id = created.json()["id"]
    updated = await client.put_json(url, patient(identifier=MRN, gender="male"))
    assert updated.status_code == 200
    assert updated.json()["id"] == id
    assert (await client.put_json(url, patient(id="other", identifier=MRN))).status_code == 400
    assert (await client.put_json(url, patient(id=id, identifier=MRN))).status_code == 200
    await client.post_json("/Patient", patient(identifier=MRN))
    assert (await client.put_json(url, patient(identifier=MRN))).status_code == 412
    assert (await client.put_json("/Patient", patient())).status_code == 400


async def test_conditional_update_that_finds_nothing_takes_the_id_of_the_resource(client: Client) -> None:
    created = await client.put_json("/Patient?identifier=http://mrn|42", patient(id="mine", identifier=MRN))
    assert created.status_code == 201
    assert created.json()["id"] == "mine"


async def test_conditional_updates_at_once_make_one_resource(client: Client) -> None:
    answers = await asyncio.gather(
        *(client.put_json("/Patient?identifier=http://mrn|42", patient(identifier=MRN)) for _ in range(20))
    )
    assert sorted(a.status_code for a in answers) == [200] * 19 + [201]
    assert await count(client) == 1


async def test_conditional_patch(client: Client) -> None:
    patch = b'[{"op":"add","path":"/gender","value":"male"}]'
    headers = {"content-type": "application/json-patch+json"}
    url = "/Patient?identifier=http://mrn|42"
    assert (await client.patch(url, content=patch, headers=headers)).status_code == 404
    await client.post_json("/Patient", patient(identifier=MRN))
    answer = await client.patch(url, content=patch, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["gender"] == "male"


async def test_conditional_delete_of_one_and_of_many(client: Client) -> None:
    url = "/Patient?identifier=http://mrn|42"
    assert (await client.delete(url)).status_code == 204
    for _ in range(3):
        await client.post_json("/Patient", patient(identifier=MRN))
    await client.post_json("/Patient", patient())
    assert (await client.delete("/Patient")).status_code == 400
    assert (await client.delete(url)).status_code == 204
    assert await count(client) == 0
    assert await count(client, "name=osler") == 1


async def test_conditional_delete_of_many_is_refused_where_the_setting_says_single(
    start_server: StartServer,
) -> None:
    client = await start_server(conditional_delete="single")
    for _ in range(2):
        await client.post_json("/Patient", patient(identifier=MRN))
    assert (await client.delete("/Patient?identifier=http://mrn|42")).status_code == 412
    assert await count(client) == 2
