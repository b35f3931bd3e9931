"""JSON and XML, _pretty, _summary, _elements, compression, Binary."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from tests.conftest import Client
from tests.rest.resources import bundle, observation, patient, post

FULL: dict[str, Any] = patient(
    id="p",
    text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Osler</div>'},
    active=True,
    birthDate="1849-07-12",
    communication=[{"language": {"text": "English"}}],
)
XML = "application/fhir+xml"


async def test_xml_goes_in_and_comes_out_on_every_interaction(client: Client) -> None:
    await client.put_json("/Patient/p", FULL)
    read = await client.get("/Patient/p", headers={"accept": XML})
    assert read.headers["content-type"].startswith(XML)
    assert read.text.lstrip().startswith("<")
    assert 'xmlns="http://hl7.org/fhir"' in read.text
    again = await client.put("/Patient/p", content=read.content, headers={"content-type": XML})
    assert again.status_code == 200, again.text
    kept = (await client.get("/Patient/p")).json()
    assert {k: v for k, v in kept.items() if k != "meta"} == FULL
    for url in (
        "/Patient?_format=xml",
        "/Patient/p/_history?_format=xml",
        "/metadata?_format=application/fhir%2Bxml",
    ):
        answer = await client.get(url)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(XML)
    missing = await client.get("/Patient/none", headers={"accept": XML})
    assert missing.status_code == 404
    assert "<OperationOutcome" in missing.text
    batch = await client.post_json("", bundle("transaction", post(patient())), accept=XML)
    assert "<Bundle" in batch.text


@pytest.mark.parametrize(
    ("accept", "type"),
    [
        ("*/*", "json"),
        ("application/fhir+xml", "xml"),
        ("text/xml;q=0.5, application/json;q=0.4", "xml"),
        ("application/fhir+json; fhirVersion=4.0", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
    ],
)
async def test_accept_is_negotiated(client: Client, accept: str, type: str) -> None:
    answer = await client.get("/metadata", headers={"accept": accept})
    assert type in answer.headers["content-type"]


async def test_format_parameter_wins_over_accept(client: Client) -> None:
    answer = await client.get("/metadata?_format=json", headers={"accept": XML})
    assert "json" in answer.headers["content-type"]


async def test_pretty_indents_and_keeps_digits(client: Client) -> None:
    body = b'{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.10}}'
    await client.put("/Observation/o", content=body, headers={"content-type": "application/fhir+json"})
    text = (await client.get("/Observation/o?_pretty=true")).text
    assert '\n  "status": "final"' in text
    assert "1.10" in text


async def test_summary_and_elements_give_tagged_parts(client: Client) -> None:
    await client.put_json("/Patient/p", FULL)
    summary = (await client.get("/Patient/p?_summary=true")).json()
    assert "text" not in summary
    assert "communication" not in summary
    assert summary["birthDate"]
    text = (await client.get("/Patient/p?_summary=text")).json()
    assert text["text"]
    assert "birthDate" not in text
    data = (await client.get("/Patient/p?_summary=data")).json()
    assert "text" not in data
    assert data["communication"]
    whole = (await client.get("/Patient/p?_summary=false")).json()
    assert whole["text"]
    assert "tag" not in whole["meta"]
    some = (await client.get("/Patient/p?_elements=birthDate,name")).json()
    assert some["birthDate"]
    assert some["name"]
    assert "communication" not in some
    for part in (summary, text, data, some):
        assert part["meta"]["tag"][0]["code"] == "SUBSETTED"
    found = (await client.get("/Patient?_summary=true")).json()
    assert "text" not in found["entry"][0]["resource"]
    counted = (await client.get("/Patient?_summary=count")).json()
    assert counted["total"] == 1
    assert "entry" not in counted
    assert (await client.get("/Patient/p?_summary=nonsense")).status_code == 400


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
async def test_answers_are_compressed_where_the_client_takes_it(client: Client, coding: str) -> None:
    plain = await client.get("/metadata", headers={"accept-encoding": "identity"})
    async with client.stream("GET", "/metadata", headers={"accept-encoding": coding}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == coding
    assert len(raw) < len(plain.content) / 4
    if coding == "zstd":
        import zstandard

        unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    else:
        unpacked = zlib.decompress(raw, wbits=47)
    assert unpacked == plain.content


async def test_binary_goes_raw_and_as_resource(client: Client) -> None:
    content = bytes(range(256))
    created = await client.post(
        "/Binary", content=content, headers={"content-type": "image/png", "x-security-context": "Patient/p"}
    )
    assert created.status_code == 201, created.text
    url = created.headers["location"].split("/fhir")[1].split("/_history")[0]
    raw = await client.get(url, headers={"accept": "image/png"})
    assert raw.content == content
    assert raw.headers["content-type"] == "image/png"
    assert raw.headers["x-security-context"] == "Patient/p"
    resource = (await client.get(url, headers={"accept": "application/fhir+json"})).json()
    assert base64.b64decode(resource["data"]) == content
    assert resource["securityContext"]["reference"] == "Patient/p"
    again = await client.put(url, content=b"%PDF", headers={"content-type": "application/pdf"})
    assert again.status_code == 200
    assert (await client.get(url, headers={"accept": "*/*"})).headers["content-type"] == "application/pdf"
    as_json = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(b"x").decode()}
    assert (await client.post_json("/Binary", as_json)).status_code == 201
    other = await client.post("/Binary", content=b'{"a":1}', headers={"content-type": "application/json"})
    assert other.json()["contentType"] == "application/json"


async def test_search_entry_texts_are_the_stored_resources(client: Client) -> None:
    await client.put_json("/Patient/p", patient(id="p"))
    await client.put_json("/Observation/o", observation("Patient/p", id="o"))
    found = (await client.get("/Observation?_include=Observation:subject")).json()
    assert [(e["resource"]["resourceType"], e["search"]["mode"]) for e in found["entry"]] == [
        ("Observation", "match"),
        ("Patient", "include"),
    ]
    assert found["entry"][0]["fullUrl"] == "http://osler.test/fhir/Observation/o"
    assert found["entry"][0]["resource"] == (await client.get("/Observation/o")).json()
    assert json.dumps(found)
