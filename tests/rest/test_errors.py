"""Bad input: each its own 4xx with an OperationOutcome that says what, where and what was expected."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.conftest import Client, StartServer
from tests.rest.resources import patient

JSON = {"content-type": "application/fhir+json"}
XML = {"content-type": "application/fhir+xml"}
DEEP = b'{"resourceType":"Patient","contact":' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "expected in the body"),
        (b"{", "truncated"),
        (b'{"resourceType":"Patient"} x', "trailing"),
        (b"[]", "object was expected"),
        (b'"Patient"', "object was expected"),
        (b'{"active":true}', "resourceType"),
        (b'{"resourceType":"Patient","active":true,"active":false}', "more than once"),
        (b'{"resourceType":"Patient","multipleBirthInteger":NaN}', "malformed"),
        (b'{"resourceType":"Patient","x":1e99999999999999999999}', "decimal"),
        (b'{"resourceType":"Patient","name":[{"family":"\xff"}]}', "UTF-8"),
        (DEEP, "deep"),
        (b'{"resourceType":"Nonsense"}', "Nonsense"),
    ],
)
async def test_bad_json_is_refused_with_the_reason(client: Client, body: bytes, says: str) -> None:
    answer = await client.post("/Patient", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert says.lower() in outcome["issue"][0]["diagnostics"].lower()
    assert outcome["issue"][0]["details"]["coding"][0]["code"]
    assert (await client.get("/Patient")).json().get("entry") is None


@pytest.mark.parametrize(
    "body",
    [
        b"<Patient",
        b"<Patient xmlns='http://other'/>",
        b'<!DOCTYPE x [<!ENTITY e "x">]><Patient xmlns="http://hl7.org/fhir"><id value="&e;"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><nonsense value="1"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><active value="yes"/></Patient>',
        b"\xff\xfe",
    ],
)
async def test_bad_xml_is_refused_with_the_reason(client: Client, body: bytes) -> None:
    answer = await client.post("/Patient", content=body, headers=XML)
    assert answer.status_code == 400, answer.text
    assert answer.json()["issue"][0]["diagnostics"]


async def test_all_problems_are_reported_with_their_places(client: Client) -> None:
    bad = patient(gender="m", birthDate="2021-02-30", nonsense=1, active="true")
    answer = await client.post_json("/Patient", bad)
    assert answer.status_code == 400
    places = {e for i in answer.json()["issue"] for e in i["expression"]}
    assert {"Patient.gender", "Patient.birthDate", "Patient.nonsense", "Patient.active"} <= places


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/Nonsense", 404),
        ("GET", "/Nonsense/1", 404),
        ("GET", "/Patient/1", 404),
        ("GET", "/Patient/a_b", 400),
        ("GET", "/Patient/" + "a" * 65, 400),
        ("GET", "/Patient/1/_history", 404),
        ("GET", "/Patient/1/_history/1", 404),
        ("GET", "/Patient/1/Nonsense", 404),
        ("GET", "/Patient/1/2/3/4", 404),
        ("GET", "/Patient/$nonsense", 404),
        ("GET", "/nonsense", 404),
        ("GET", "/Patient?nonsense=1", 400),
        ("GET", "/Patient?birthdate=yesterday", 400),
        ("GET", "/Patient?name:nonsense=1", 400),
        ("GET", "/Patient?_count=many", 400),
        ("GET", "/Patient?_sort=nonsense", 400),
        ("GET", "/Patient?_include=Nonsense:x", 400),
        ("GET", "/Patient?name=%FF", 400),
        ("GET", "/Patient?_cursor=forged", 400),
        ("GET", "/Patient/_history?_since=yesterday", 400),
        ("GET", "/_history?nonsense=1", 400),
        ("GET", "/metadata?mode=nonsense", 400),
        ("PUT", "/metadata", 405),
        ("DELETE", "/", 405),
        ("PATCH", "/Patient/1/_history/1", 405),
        ("POST", "/Patient/1", 405),
        ("GET", "/Patient/_search", 405),
    ],
)
async def test_requests_that_make_no_sense(client: Client, method: str, url: str, status: int) -> None:
    answer = await client.request(method, url)
    assert answer.status_code == status, answer.text
    issue = answer.json()["issue"][0]
    assert issue["severity"] == "error"
    assert issue["diagnostics"]
    if status == 405:
        assert answer.headers["allow"]


async def test_body_beyond_the_limit_is_refused_also_when_compressed(start_server: StartServer) -> None:
    client = await start_server(max_body=2000)
    large = json.dumps(patient(language="x" * 5000)).encode()
    assert (await client.post("/Patient", content=large, headers=JSON)).status_code == 413
    packed = {**JSON, "content-encoding": "gzip"}
    assert (await client.post("/Patient", content=gzip.compress(large), headers=packed)).status_code == 413


async def test_compressed_bodies_are_taken(client: Client) -> None:
    body = json.dumps(patient()).encode()
    packed = {**JSON, "content-encoding": "gzip"}
    assert (await client.post("/Patient", content=gzip.compress(body), headers=packed)).status_code == 201
    assert (await client.post("/Patient", content=body, headers=packed)).status_code == 400
    strange = {**JSON, "content-encoding": "br"}
    assert (await client.post("/Patient", content=body, headers=strange)).status_code == 415


async def test_wrong_media_types_and_formats(client: Client) -> None:
    body = json.dumps(patient()).encode()
    assert (
        await client.post("/Patient", content=body, headers={"content-type": "text/plain"})
    ).status_code == 415
    latin = {"content-type": "application/fhir+json; charset=iso-8859-1"}
    assert (await client.post("/Patient", content=body, headers=latin)).status_code == 415
    assert (await client.get("/metadata", headers={"accept": "image/png"})).status_code == 406
    assert (await client.get("/metadata?_format=turtle")).status_code == 400
    patch = await client.patch("/Patient/p", content=b"[]", headers={"content-type": "text/plain"})
    assert patch.status_code in (404, 415)


async def test_byte_order_mark_is_tolerated(client: Client) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(patient()).encode()
    assert (await client.post("/Patient", content=body, headers=JSON)).status_code == 201


async def test_lenient_handling_tells_what_it_ignored(client: Client) -> None:
    await client.post_json("/Patient", patient())
    answer = await client.get("/Patient?nonsense=1&family=osler", headers={"prefer": "handling=lenient"})
    assert answer.status_code == 200
    result = answer.json()
    outcome = next(e["resource"] for e in result["entry"] if e["search"]["mode"] == "outcome")
    assert "nonsense" in json.dumps(outcome)
    assert "nonsense" not in result["link"][0]["url"]
    assert "family=osler" in result["link"][0]["url"]


async def test_request_id_is_given_back_when_it_is_harmless(client: Client) -> None:
    assert (await client.get("/metadata", headers={"x-request-id": "abc-1"})).headers[
        "x-request-id"
    ] == "abc-1"
    forged = await client.get("/metadata", headers={"x-request-id": "a b\tc"})
    assert forged.headers["x-request-id"] != "a b\tc"


@pytest.mark.parametrize("depth", [100, 180, 250, 330, 500, 900, 2000, 100_000])
async def test_no_depth_of_nesting_is_more_than_a_refusal(client: Client, depth: int) -> None:
    extension = (
        '{"url":"http://x","extension":[' * depth + '{"url":"http://x","valueCode":"y"}' + "]}" * depth
    )
    body = f'{{"resourceType":"Patient","id":"deep","extension":[{extension}]}}'.encode()
    put = await client.put("/Patient/deep", content=body, headers=JSON)
    assert put.status_code in (201, 400)
    read = await client.get("/Patient/deep?_summary=true")
    assert read.status_code == (200 if put.status_code == 201 else 404)
    for accept in ("application/fhir+json", "application/fhir+xml"):
        assert (await client.get("/Patient/deep", headers={"accept": accept})).status_code < 500
    entry = body.decode()
    bundled = f'{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{entry},"request":{{"method":"PUT","url":"Patient/deep"}}}}]}}'
    answer = await client.post("", content=bundled.encode(), headers=JSON)
    assert answer.status_code in (200, 400)
