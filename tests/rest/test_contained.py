"""Contained resources in searches, over HTTP: https://hl7.org/fhir/R4/search.html#contained."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.app import create_app
from fhir_server.bulk.jobs import JobRunner
from fhir_server.context import Actor
from fhir_server.interactions.indexing import begin
from fhir_server.search.rewrite import Policy, limited
from fhir_server.search.tree import Chain, Everything, Not, Nothing, TokenIs
from fhir_server.settings import Settings
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.rows import CONTAINER, INDEX_TABLES
from tests.conftest import BASE, Client, StartServer
from tests.rest.resources import bundle, patient, put

DRUGS = "http://example.org/medications"


def concept(code: str) -> dict[str, Any]:
    return {"coding": [{"system": DRUGS, "code": code}]}


def medication(id: str, code: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Medication",
        "id": id,
        "code": concept(f"drug-{code}"),
        "ingredient": [{"itemCodeableConcept": concept(code)}],
        **more,
    }


def request(id: str, drug: str, *contained: dict[str, Any], **more: Any) -> dict[str, Any]:
    inside = {"contained": list(contained)} if contained else {}
    return {
        "resourceType": "MedicationRequest",
        "id": id,
        **inside,
        "status": "active",
        "intent": "order",
        "medicationReference": {"reference": drug},
        "subject": {"reference": "Patient/p1"},
        **more,
    }


MAKER = {"resourceType": "Organization", "id": "o1", "name": "Inner Works"}
RESOURCES = (
    patient(id="p1"),
    {"resourceType": "Organization", "id": "org", "name": "Outer Works"},
    medication("own", "abc", manufacturer={"reference": "Organization/org"}),
    request("23", "#m1", medication("m1", "abc", manufacturer={"reference": "#o1"}), MAKER),
    request("24", "Medication/own"),
    request("25", "#m1", medication("m1", "xyz", manufacturer={"reference": "Organization/org"})),
    # two that match, in one container
    request(
        "26",
        "#m2",
        medication("m1", "abc"),
        medication("m2", "abc"),
        supportingInformation=[{"reference": "#m1"}],
    ),
    {
        "resourceType": "Observation",
        "id": "v1",
        "contained": [{"resourceType": "Patient", "id": "p", "name": [{"family": "Within"}]}],
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "#p"},
    },
)


@pytest.fixture
async def pharmacy(client: Client) -> Client:
    answer = await client.post_json("", bundle("transaction", *map(put, RESOURCES)))
    assert answer.status_code == 200, answer.text
    return client


async def found(client: Client, query: str, mode: str = "match") -> list[str]:
    answer = await client.get(query)
    assert answer.status_code == 200, answer.text
    return [
        entry["fullUrl"].removeprefix(f"{BASE}/")
        for entry in answer.json().get("entry", ())
        if entry["search"]["mode"] == mode
    ]


IN_23, IN_24, IN_25, IN_26 = (f"MedicationRequest/{n}" for n in (23, 24, 25, 26))
OWN = "Medication/own"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # the examples of the specification
        ("MedicationRequest?medication.ingredient-code=abc", [IN_23, IN_24, IN_26]),
        ("Medication?ingredient-code=abc", [OWN]),
        ("Medication?ingredient-code=abc&_contained=false", [OWN]),
        ("Medication?ingredient-code=abc&_contained=true", [IN_23, IN_26]),
        ("Medication?ingredient-code=abc&_contained=both", [OWN, IN_23, IN_26]),
        ("Medication?ingredient-code=abc&_contained=true&_containedType=container", [IN_23, IN_26]),
        ("Medication?ingredient-code=abc&_contained=true&_containedType=contained",
         [f"{IN_23}#m1", f"{IN_26}#m1", f"{IN_26}#m2"]),
        ("Medication?ingredient-code=abc&_contained=both&_containedType=contained",
         [OWN, f"{IN_23}#m1", f"{IN_26}#m1", f"{IN_26}#m2"]),
        # chains
        ("MedicationRequest?medication.ingredient-code=xyz", [IN_25]),
        ("MedicationRequest?medication.ingredient-code=xyz&medication.code=drug-xyz", [IN_25]),
        ("MedicationRequest?medication.manufacturer.name=inner", [IN_23]),
        ("MedicationRequest?medication.manufacturer.name=outer", [IN_24, IN_25]),
        ("MedicationRequest?medication:Medication.manufacturer:Organization.name:contains=works", [IN_23, IN_24, IN_25]),
        ("MedicationRequest?medication._id=m1", [IN_23, IN_25]),
        ("MedicationRequest?_filter=medication.code eq drug-xyz", [IN_25]),
        ("Observation?subject.name=within", ["Observation/v1"]),
        ("Observation?patient.name=within", ["Observation/v1"]),
        ("Observation?patient.name=osler", []),
        ("Patient?_has:MedicationRequest:subject:medication.ingredient-code=xyz", ["Patient/p1"]),
        ("Organization?_has:Medication:manufacturer:code=drug-xyz", []),
        # nothing of it is in ordinary searches
        ("Organization?name:contains=works", ["Organization/org"]),
        ("Patient?name=within", []),
        ("MedicationRequest?medication:missing=true", []),
        ("?_type=Medication,Organization", ["Organization/org", OWN]),
        # what is contained, by its own parameters
        ("Medication?_contained=true&_containedType=contained&_id=m2", [f"{IN_26}#m2"]),
        ("Medication?_contained=both&_containedType=contained&_id=m2,own", [OWN, f"{IN_26}#m2"]),
        ("Medication?_contained=true&manufacturer.name=inner", [IN_23]),
        ("Medication?_contained=true&manufacturer.name=outer", [IN_25]),
        ("Medication?_contained=true&manufacturer:missing=true", [IN_26]),
        ("Medication?_contained=true&ingredient-code:not=abc", [IN_25]),
        ("Medication?_contained=true&_has:MedicationRequest:medication:status=active&code=drug-abc", [IN_23, IN_26]),
        ("Medication?_contained=true&_has:MedicationRequest:medication:status=stopped", []),
        ("Medication?_contained=true&_lastUpdated=lt2020", []),
        ("?_type=Medication,Organization&_contained=true&_containedType=contained",
         [f"{IN_23}#m1", f"{IN_23}#o1", f"{IN_25}#m1", f"{IN_26}#m1", f"{IN_26}#m2"]),
        ("?_type=Medication,Organization&_contained=true", [IN_23, IN_25, IN_26]),
        ("?_contained=true&_lastUpdated=gt2020", [IN_23, IN_25, IN_26, "Observation/v1"]),
        # order
        ("Medication?_contained=true&_containedType=contained&_sort=-code,-_id",
         [f"{IN_25}#m1", f"{IN_26}#m2", f"{IN_26}#m1", f"{IN_23}#m1"]),
        ("Medication?_contained=both&_sort=-ingredient-code", [IN_25, OWN, IN_23, IN_26]),
    ],
)  # fmt: skip
async def test_a_query_finds_what_is_contained_as_it_says(pharmacy, query, expected):
    assert await found(pharmacy, query) == expected


async def test_a_contained_resource_is_shown_alone_with_the_address_of_its_container(pharmacy):
    query = "Medication?_contained=true&_containedType=contained&code=drug-xyz"
    (entry,) = (await pharmacy.get(query)).json()["entry"]
    assert entry == {
        "fullUrl": f"{BASE}/MedicationRequest/25#m1",
        "resource": medication("m1", "xyz", manufacturer={"reference": "Organization/org"}),
        "search": {"mode": "match"},
    }


async def test_a_container_is_shown_whole_and_as_a_match(pharmacy):
    (entry,) = (await pharmacy.get("Medication?_contained=true&code=drug-xyz")).json()["entry"]
    assert entry["fullUrl"] == f"{BASE}/MedicationRequest/25"
    assert entry["resource"] == (await pharmacy.get("MedicationRequest/25")).json()
    assert entry["search"] == {"mode": "match"}


async def test_parts_of_contained_resources_can_be_asked_for(pharmacy):
    query = "Medication?_contained=true&_containedType=contained&code=drug-xyz&_elements=code"
    (entry,) = (await pharmacy.get(query)).json()["entry"]
    assert set(entry["resource"]) == {"resourceType", "id", "meta", "code"}


async def test_a_contained_resource_can_be_shown_as_xml(pharmacy):
    query = "Medication?_contained=true&_containedType=contained&code=drug-xyz&_format=xml"
    text = (await pharmacy.get(query)).text
    assert f'<fullUrl value="{BASE}/MedicationRequest/25#m1"/>' in text
    assert '<resource><Medication><id value="m1"/>' in "".join(text.split("\n"))


async def test_a_contained_resource_is_found_by_post_too(pharmacy):
    form = {"_contained": "true", "ingredient-code": "xyz"}
    (entry,) = (await pharmacy.post("Medication/_search", data=form)).json()["entry"]
    assert entry["resource"]["id"] == "25"


async def test_conditional_writes_look_into_contained_resources(pharmacy):
    new = request("x", "Medication/own")
    answer = await pharmacy.post_json("MedicationRequest", new, if_none_exist="medication.code=drug-xyz")
    assert answer.status_code == 200
    assert answer.json()["id"] == "25"
    answer = await pharmacy.post_json("Medication", medication("x", "xyz"), if_none_exist="code=drug-xyz")
    assert answer.status_code == 201
    refused = await pharmacy.post_json(
        "Medication", medication("x", "q"), if_none_exist="code=q&_contained=true"
    )
    assert refused.status_code == 400


async def test_totals_count_what_is_shown(pharmacy):
    async def total(query: str) -> int:
        return (await pharmacy.get(f"Medication?ingredient-code=abc&{query}&_total=accurate")).json()["total"]

    assert await total("_contained=true") == 2
    assert await total("_contained=true&_containedType=contained") == 3
    assert await total("_contained=both&_summary=count") == 3
    assert await total("_contained=both&_containedType=contained&_count=0") == 4


async def test_what_a_contained_resource_refers_to_is_included(pharmacy):
    query = "Medication?_contained=true&_include=Medication:manufacturer"
    assert await found(pharmacy, query, "include") == ["Organization/org"]
    # what is contained beside it is in the container already
    assert await found(pharmacy, f"{query}&ingredient-code=abc", "include") == []
    assert await found(pharmacy, "MedicationRequest?_id=23&_include=*", "include") == ["Patient/p1"]
    assert await found(pharmacy, "Organization?_revinclude=*", "include") == [OWN]


async def test_the_containers_can_be_included_with_what_they_contain(pharmacy):
    query = "Medication?_contained=both&_containedType=contained&_revinclude=MedicationRequest:medication"
    assert await found(pharmacy, f"{query}&ingredient-code=abc", "include") == [IN_23, IN_24, IN_26]
    # shown as matches they are not shown again
    assert await found(pharmacy, "Medication?_contained=both&_revinclude=*", "include") == [IN_24]


@pytest.mark.parametrize("shown", ["container", "contained"])
async def test_pages_show_every_match_once(client, shown):
    drugs = [medication(f"m{k}", "abc" if k % 3 else "xyz") for k in range(4)]
    writes = [put(request(f"r{n}", "#m1", *drugs)) for n in range(7)]
    assert (await client.post_json("", bundle("transaction", *writes))).status_code == 200
    query = f"Medication?_contained=true&_containedType={shown}&ingredient-code=abc&_sort=-_id&_count=3"
    seen: list[str] = []
    address: str | None = query
    meanwhile = True
    while address is not None:
        answer = (await client.get(address)).json()
        seen += [entry["fullUrl"] for entry in answer["entry"]]
        address = next((link["url"] for link in answer["link"] if link["relation"] == "next"), None)
        if meanwhile:
            # one that matched matches no more, one that did not does now
            await client.put_json("MedicationRequest/r1", request("r1", "#m0", medication("m0", "xyz")))
            await client.put_json("MedicationRequest/new", request("new", "#m1", *drugs))
            meanwhile = False
    assert len(seen) == len(set(seen))
    # of what was written meanwhile only what is no more contained is missing
    assert len(seen) == (6 if shown == "container" else 12)
    assert not any("new" in url for url in seen)


async def test_what_is_written_over_or_deleted_is_found_no_more(pharmacy):
    await pharmacy.put_json("MedicationRequest/23", request("23", "#m9", medication("m9", "new")))
    await pharmacy.put_json("MedicationRequest/25", request("25", "Medication/own"))
    await pharmacy.delete("MedicationRequest/26")
    shown = "Medication?_contained=true&_containedType=contained"
    assert await found(pharmacy, shown) == [f"{IN_23}#m9"]
    assert await found(pharmacy, "Organization?_contained=true") == []
    assert await found(pharmacy, "MedicationRequest?medication.ingredient-code=abc,xyz") == [IN_24, IN_25]
    await pharmacy.put_json("MedicationRequest/26", request("26", "#m1", medication("m1", "again")))
    assert await found(pharmacy, f"{shown}&ingredient-code=again") == [f"{IN_26}#m1"]


async def test_a_version_that_is_read_says_nothing_of_its_index(pharmacy):
    history = (await pharmacy.get("_history")).json()
    assert history["total"] == len(RESOURCES)
    assert (await pharmacy.get("Medication/MedicationRequest%2F23%23m1")).status_code in (400, 404)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("Medication?_contained=yes", 400),
        ("Medication?_contained=true&_contained=false", 400),
        ("Medication?_contained:exact=true", 400),
        ("Medication?_contained=true&_containedType=both", 400),
        ("Medication?_containedType=contained", 400),
        ("Medication?_contained=false&_containedType=contained", 400),
        ("Medication?_contained=true&_text=abc", 400),
        ("Patient/p1/MedicationRequest?_contained=true", 400),
        ("MedicationRequest/23/_history?_contained=true", 400),
    ],
)
async def test_what_makes_no_sense_is_refused(pharmacy, query, status):
    answer = await pharmacy.get(query)
    assert answer.status_code == status, answer.text
    assert "_contained" in answer.text or "_text" in answer.text


async def test_self_says_what_was_asked(pharmacy):
    query = "Medication?ingredient-code=abc&_contained=both&_containedType=contained"
    answer = (await pharmacy.get(query)).json()
    assert answer["link"][0] == {"relation": "self", "url": f"{BASE}/{query}"}


BATCH = {
    "resourceType": "SearchParameter",
    "id": "batch",
    "url": "http://example.org/SearchParameter/batch",
    "name": "Batch",
    "status": "active",
    "description": "The lot of a drug",
    "code": "batch",
    "base": ["Medication"],
    "type": "token",
    "expression": "Medication.batch.lotNumber",
}


async def idle(client: Client) -> None:
    runner = client.app.services.jobs
    assert isinstance(runner, JobRunner)
    await runner.idle()


async def test_parameters_of_ones_own_find_what_is_contained(client):
    def of_batch(id: str) -> dict[str, Any]:
        return request(id, "#m1", medication("m1", "abc", batch={"lotNumber": "L7"}))

    await client.put_json("MedicationRequest/old", of_batch("old"))
    assert (await client.put_json("SearchParameter/batch", BATCH)).status_code == 201
    await client.put_json("MedicationRequest/new", of_batch("new"))
    # there is no Medication but contained ones, and one of these is not indexed
    for query in ("MedicationRequest?medication.batch=L7", "Medication?_contained=true&batch=L7"):
        assert await found(client, query) == ["MedicationRequest/new"]
        told = (await client.get(query)).json()["entry"][-1]["resource"]["issue"][0]["diagnostics"]
        assert "batch of Medication is not fully indexed" in told
    await client.post("SearchParameter/batch/$reindex")
    await idle(client)
    for query in ("MedicationRequest?medication.batch=L7", "Medication?_contained=true&batch=L7"):
        assert await found(client, query) == ["MedicationRequest/old", "MedicationRequest/new"]
        assert len((await client.get(query)).json()["entry"]) == 2


OPEN = Not(TokenIs("_security", None, "secret"))
SECRET = {"security": [{"system": "http://example.org/labels", "code": "secret"}]}
POLICY = Policy(
    {"MedicationRequest": OPEN, "Observation": Chain("subject", "Patient", TokenIs("gender", None, "male"))},
    Everything(),
)


@pytest.fixture(params=["sqlite", "memory"])
async def ward(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """A pharmacy whose request 23 is hidden, as are observations but of men."""
    store = f"sqlite:///{tmp_path}/osler.db" if request.param == "sqlite" else "memory:"
    app = create_app(
        Settings(log_level="error", store=store),
        actor_of=lambda r: Actor("admin") if "x-admin" in r.headers else Actor("nurse", policy=POLICY),
    )
    await begin(app.services)
    client = Client(transport=httpx.ASGITransport(app=app), base_url=BASE, timeout=30)
    man = {"resourceType": "Patient", "id": "p", "gender": "male"}
    seen = {**RESOURCES[-1], "id": "v2", "contained": [man]}
    entries = [put({**r, "meta": SECRET} if r["id"] == "23" else r) for r in (*RESOURCES, seen)]
    answer = await client.post_json("", bundle("transaction", *entries), x_admin="1")
    assert answer.status_code == 200, answer.text
    yield client
    await client.aclose()
    await app.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Medication?_contained=true&ingredient-code=abc", [IN_26]),
        ("Medication?_contained=both&ingredient-code=abc", [OWN, IN_26]),
        (
            "Medication?_contained=true&_containedType=contained",
            [f"{IN_25}#m1", f"{IN_26}#m1", f"{IN_26}#m2"],
        ),
        ("Organization?_contained=true", []),
        ("MedicationRequest?medication.ingredient-code=abc", [IN_24, IN_26]),
        ("Observation", ["Observation/v2"]),
        ("Patient?_contained=true", ["Observation/v2"]),
        ("?_contained=true", [IN_25, IN_26, "Observation/v2"]),
    ],
)
async def test_a_contained_resource_is_seen_with_its_container_alone(ward, query, expected):
    assert await found(ward, query) == expected


async def test_a_policy_looks_into_contained_resources_on_reads_as_in_searches(ward):
    assert (await ward.get("Observation/v1")).status_code == 404
    assert (await ward.get("Observation/v2")).status_code == 200


async def test_a_contained_resource_is_seen_though_others_of_its_type_are_not(client):
    await client.post_json("", bundle("transaction", *map(put, RESOURCES)))
    policy = Policy({"Medication": Nothing()}, Everything())
    asked = Chain("medication", "Medication", TokenIs("ingredient-code", None, "abc"))
    where = limited(asked, ("MedicationRequest",), policy)
    assert await client.app.services.store.matching_ids("MedicationRequest", where, 9) == ("23", "26")


async def test_a_job_indexes_what_an_older_program_did_not(start_server: StartServer, tmp_path: Path):
    before = await start_server()
    await before.post_json("", bundle("transaction", *map(put, RESOURCES)))
    await before.app.close()
    path = tmp_path / "osler-0.db"
    with closing(sqlite3.connect(path)) as connection:
        for table in INDEX_TABLES:
            connection.execute(
                f"DELETE FROM {table.name} WHERE rid IN (SELECT rid FROM resource WHERE type<0)"
            )
        connection.execute("DELETE FROM resource WHERE type<0")
        connection.execute(f"UPDATE resource SET kinds=kinds & ~{CONTAINER}")
        connection.execute("DELETE FROM fingerprint")
        connection.commit()
    client = await start_server(store=f"sqlite:///{path}")
    shown = "Medication?_contained=true&_containedType=contained&ingredient-code=abc"
    assert await found(client, shown) == []
    await client.post("$reindex")
    await idle(client)
    assert await found(client, shown) == [f"{IN_23}#m1", f"{IN_26}#m1", f"{IN_26}#m2"]
    extractor = client.app.services.extractor
    assert check(path, extractor.extract).problems == []
