"""`_explain=true`: how a search was understood and answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Client, StartServer
from tests.rest.resources import bundle, observation, patient, put


def parts(answer: dict[str, Any], name: str) -> list[Any]:
    rows = [p for p in answer["parameter"] if p["name"] == name]
    return [p.get("part") or next(v for k, v in p.items() if k.startswith("value")) for p in rows]


@pytest.fixture
async def hospital(client: Client) -> Client:
    entries = [
        put(patient(id="p1", birthDate="1950")),
        put(patient(id="p2")),
        put(observation("Patient/p1", id="o1")),
    ]
    await client.post_json("", bundle("transaction", *entries))
    return client


async def test_an_explanation_has_the_tree_and_what_it_took(hospital: Client) -> None:
    answer = (await hospital.get("/Patient?name=osler&birthdate=ge1940&_explain=true")).json()
    assert answer["resourceType"] == "Parameters"
    (tree,) = parts(answer, "tree")
    lines = tree.splitlines()
    assert lines[0].startswith("SearchQuery types=('Patient',)")
    assert lines[1].strip() == "where: And"
    assert any("TextIs param='name' text='osler'" in line for line in lines)
    assert parts(answer, "matches") == [1]
    assert parts(answer, "read")[0] > 0
    assert parts(answer, "unit")[0]
    assert parts(answer, "microseconds")[0] >= 0


async def test_the_explanation_of_a_chain_shows_its_links(hospital: Client) -> None:
    answer = (await hospital.get("/Observation?subject:Patient.name=osler&_explain=true")).json()
    (tree,) = parts(answer, "tree")
    assert "where: Chain param='subject' target='Patient'" in tree
    assert parts(answer, "matches") == [1]


async def test_statements_come_with_their_plan_and_without_values(start_server: StartServer) -> None:
    client = await start_server()
    await client.put_json("/Patient/p1", patient(id="p1"))
    answer = (await client.get("/Patient?name=osler&_sort=-birthdate&_explain=true")).json()
    statements = parts(answer, "statement")
    assert statements
    for statement in statements:
        told: dict[str, list[Any]] = {}
        for part in statement:
            told.setdefault(part["name"], []).append(next(v for k, v in part.items() if k != "name"))
        (sql,) = told["sql"]
        assert "SELECT" in sql
        assert "osler" not in sql.lower()
        assert told["plan"]
        assert told["read"][0] > 0
    total = parts(answer, "read")[0]
    assert total == sum(p["valueInteger"] for s in statements for p in s if p["name"] == "read")
    assert "osler" in parts(answer, "tree")[0]


async def test_an_explanation_is_also_given_in_xml(hospital: Client) -> None:
    answer = await hospital.get("/Patient?name=osler&_explain=true&_format=xml")
    assert answer.status_code == 200
    assert "SearchQuery" in answer.text


async def test_explain_false_is_a_plain_search(hospital: Client) -> None:
    answer = (await hospital.get("/Patient?name=osler&_explain=false")).json()
    assert answer["resourceType"] == "Bundle"
    assert len(answer["entry"]) == 2


async def test_explain_takes_true_or_false(hospital: Client) -> None:
    assert (await hospital.get("/Patient?_explain=perhaps")).status_code == 400


async def test_what_was_ignored_is_in_the_explanation(hospital: Client) -> None:
    answer = await hospital.get("/Patient?nonsense=1&_explain=true", headers={"Prefer": "handling=lenient"})
    (outcome,) = [p["resource"] for p in answer.json()["parameter"] if p["name"] == "outcome"]
    assert "nonsense" in outcome["issue"][0]["diagnostics"]
