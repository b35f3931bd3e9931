"""create, read, vread, update, delete: https://hl7.org/fhir/R4/http.html"""

from __future__ import annotations

import asyncio

from tests.conftest import Client
from tests.rest.resources import observation, patient


async def test_created_resource_is_read_back_with_id_version_and_time(client: Client) -> None:
    created = await client.post_json("/Patient", patient())
    assert created.status_code == 201
    stored = created.json()
    assert created.headers["location"].endswith(f"/fhir/Patient/{stored['id']}/_history/1")
    assert created.headers["etag"] == 'W/"1"'
    read = await client.get(f"/Patient/{stored['id']}")
    assert read.status_code == 200
    assert read.headers["content-type"].startswith("application/fhir+json")
    assert read.json() == stored
    assert stored["meta"]["versionId"] == "1"
    assert read.headers["last-modified"].endswith("GMT")


async def test_create_ignores_the_id_of_the_client(client: Client) -> None:
    created = await client.post_json("/Patient", patient(id="mine"))
    assert created.json()["id"] != "mine"
    assert (await client.get("/Patient/mine")).status_code == 404


async def test_numbers_and_dates_come_back_as_they_were_written(client: Client) -> None:
    body = (
        b'{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},'
        b'"effectiveDateTime":"2020-01","valueQuantity":{"value":1.10},'
        b'"component":[{"code":{"text":"a"},"valueQuantity":{"value":1e3}},'
        b'{"code":{"text":"b"},"valueQuantity":{"value":0.00000010}}]}'
    )
    put = await client.put("/Observation/o", content=body, headers={"content-type": "application/fhir+json"})
    assert put.status_code == 201, put.text
    text = (await client.get("/Observation/o")).text
    for piece in ('"value":1.10}', '"value":1e3}', '"value":0.00000010}', '"effectiveDateTime":"2020-01"'):
        assert piece in text


async def test_primitive_extensions_and_contained_resources_are_kept(client: Client) -> None:
    resource = patient(
        id="p",
        birthDate="1970-03-30",
        _birthDate={"extension": [{"url": "http://example.org/born", "valueString": "at noon"}]},
        contained=[{"resourceType": "Organization", "id": "org", "name": "Ward"}],
        managingOrganization={"reference": "#org"},
    )
    await client.put_json("/Patient/p", resource)
    read = (await client.get("/Patient/p")).json()
    assert {k: v for k, v in read.items() if k != "meta"} == resource


async def test_update_makes_a_new_version_and_keeps_the_old(client: Client) -> None:
    assert (await client.put_json("/Patient/p", patient(id="p"))).status_code == 201
    second = await client.put_json("/Patient/p", patient(id="p", gender="male"))
    assert second.status_code == 200
    assert second.headers["etag"] == 'W/"2"'
    old = await client.get("/Patient/p/_history/1")
    assert old.status_code == 200
    assert "gender" not in old.json()
    assert (await client.get("/Patient/p/_history/2")).json()["gender"] == "male"
    assert (await client.get("/Patient/p/_history/3")).status_code == 404
    assert (await client.get("/Patient/p/_history/x")).status_code == 404


async def test_meta_of_the_client_is_kept_but_for_version_and_time(client: Client) -> None:
    meta = {
        "versionId": "77",
        "lastUpdated": "1999-01-01T00:00:00Z",
        "tag": [{"system": "http://t", "code": "c"}],
        "profile": ["http://p"],
    }
    stored = (await client.put_json("/Patient/p", patient(id="p", meta=meta))).json()
    assert stored["meta"]["versionId"] == "1"
    assert stored["meta"]["lastUpdated"] > "2020"
    assert stored["meta"]["tag"] == meta["tag"]
    assert stored["meta"]["profile"] == meta["profile"]


async def test_deleted_resource_is_gone_and_keeps_its_history(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    assert (await client.delete("/Patient/p")).status_code == 204
    gone = await client.get("/Patient/p")
    assert gone.status_code == 410
    assert gone.json()["issue"][0]["code"] == "deleted"
    assert (await client.get("/Patient/p/_history/1")).status_code == 200
    assert (await client.get("/Patient/p/_history/2")).status_code == 410
    assert (await client.get("/Patient?_id=p")).json().get("entry") is None
    history = (await client.get("/Patient/p/_history")).json()
    assert [e["request"]["method"] for e in history["entry"]] == ["DELETE", "PUT"]


async def test_deleting_twice_or_what_never_was_answers_204_and_writes_nothing(client: Client) -> None:
    assert (await client.delete("/Patient/never")).status_code == 204
    await client.put_json("/Patient/p", patient(id="p"))
    await client.delete("/Patient/p")
    assert (await client.delete("/Patient/p")).status_code == 204
    assert (await client.get("/Patient/p/_history")).json()["total"] == 2


async def test_deleted_resource_can_be_written_again(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    await client.delete("/Patient/p")
    again = await client.put_json("/Patient/p", patient(id="p"))
    assert again.status_code == 201
    assert again.headers["etag"] == 'W/"3"'
    assert (await client.get("/Patient/p")).status_code == 200


async def test_update_needs_the_same_id_in_body_and_address(client: Client) -> None:
    for resource in (patient(), patient(id="other")):
        answer = await client.put_json("/Patient/p", resource)
        assert answer.status_code == 400
        assert answer.json()["issue"][0]["expression"] == ["Patient.id"]


async def test_body_of_another_type_is_refused(client: Client) -> None:
    assert (await client.post_json("/Patient", observation())).status_code == 400
    assert (await client.put_json("/Patient/p", observation(id="p"))).status_code == 400


async def test_prefer_return_chooses_the_body(client: Client) -> None:
    minimal = await client.post_json("/Patient", patient(), prefer="return=minimal")
    assert minimal.status_code == 201
    assert minimal.content == b""
    assert minimal.headers["location"]
    told = await client.post_json("/Patient", patient(), prefer="return=OperationOutcome")
    assert told.json()["resourceType"] == "OperationOutcome"
    full = await client.post_json("/Patient", patient(), prefer="return=representation")
    assert full.json()["resourceType"] == "Patient"


async def test_read_answers_304_to_who_has_the_version(client: Client) -> None:
    stored = await client.put_json("/Patient/p", patient(id="p"))
    same = await client.get("/Patient/p", headers={"if-none-match": 'W/"1"'})
    assert same.status_code == 304
    assert same.content == b""
    assert same.headers["etag"] == 'W/"1"'
    assert (await client.get("/Patient/p", headers={"if-none-match": 'W/"2"'})).status_code == 200
    since = {"if-modified-since": stored.headers["last-modified"]}
    assert (await client.get("/Patient/p", headers=since)).status_code == 304
    before = {"if-modified-since": "Thu, 01 Jan 2015 00:00:00 GMT"}
    assert (await client.get("/Patient/p", headers=before)).status_code == 200
    assert (await client.get("/Patient/p", headers={"if-modified-since": "yesterday"})).status_code == 400


async def test_head_answers_like_get_without_a_body(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    get, head = await client.get("/Patient/p"), await client.head("/Patient/p")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["etag"] == get.headers["etag"]
    assert (await client.head("/Patient?_id=p")).status_code == 200
    assert (await client.head("/Patient/none")).status_code == 404


async def test_stale_if_match_is_refused_and_writes_nothing(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    stale = await client.put_json("/Patient/p", patient(id="p", gender="male"), if_match='W/"7"')
    assert stale.status_code == 412
    assert (await client.get("/Patient/p")).headers["etag"] == 'W/"1"'
    fresh = await client.put_json("/Patient/p", patient(id="p", gender="male"), if_match='W/"1"')
    assert fresh.status_code == 200
    assert (await client.delete("/Patient/p", headers={"if-match": 'W/"1"'})).status_code == 412
    assert (await client.delete("/Patient/p", headers={"if-match": 'W/"2"'})).status_code == 204
    assert (await client.put_json("/Patient/q", patient(id="q"), if_match='W/"1"')).status_code == 412
    assert (await client.put_json("/Patient/q", patient(id="q"), if_match="three")).status_code == 400


async def test_if_none_match_star_creates_only_what_is_not_there(client: Client) -> None:
    assert (await client.put_json("/Patient/p", patient(id="p"), if_none_match="*")).status_code == 201
    assert (await client.put_json("/Patient/p", patient(id="p"), if_none_match="*")).status_code == 412


async def test_of_updates_with_one_etag_at_once_exactly_one_wins(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    answers = await asyncio.gather(
        *(
            client.put_json("/Patient/p", patient(id="p", language=f"x-{n}"), if_match='W/"1"')
            for n in range(20)
        )
    )
    assert sorted(a.status_code for a in answers) == [200] + [412] * 19
    assert (await client.get("/Patient/p")).headers["etag"] == 'W/"2"'
