"""Token searches by sets of codes: those of R4, and those that are stored on this server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Client
from tests.rest.resources import bundle, observation, put

LOCAL = "http://example.org/CodeSystem/ward-scale"


def coded(id: str, code: str, system: str = LOCAL) -> dict[str, Any]:
    return put(observation(id=id, code={"coding": [{"system": system, "code": code}]}))


@pytest.fixture
async def house(client: Client) -> Client:
    system = {
        "resourceType": "CodeSystem",
        "id": "scale",
        "url": LOCAL,
        "status": "active",
        "content": "complete",
        "hierarchyMeaning": "is-a",
        "concept": [
            {"code": "bad", "concept": [{"code": "worse", "concept": [{"code": "worst"}]}]},
            {"code": "good"},
        ],
    }
    value_set = {
        "resourceType": "ValueSet",
        "id": "sad",
        "url": "http://example.org/ValueSet/sad",
        "version": "2",
        "status": "active",
        "compose": {
            "include": [
                {"system": LOCAL, "filter": [{"property": "concept", "op": "is-a", "value": "worse"}]}
            ]
        },
    }
    entries = [
        put(system),
        put(value_set),
        coded("a", "bad"),
        coded("b", "worse"),
        coded("c", "worst"),
        coded("d", "good"),
        coded("e", "worst", "http://example.org/other"),
    ]
    answer = await client.post_json("", bundle("transaction", *entries))
    assert answer.status_code == 200, answer.text
    return client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("code:in=http://example.org/ValueSet/sad", ["b", "c"]),
        ("code:in=http://example.org/ValueSet/sad|2", ["b", "c"]),
        ("code:in=ValueSet/sad", ["b", "c"]),
        ("code:in=http://osler.test/fhir/ValueSet/sad", ["b", "c"]),
        ("code:not-in=ValueSet/sad", ["a", "d", "e"]),
        (f"code:below={LOCAL}|worse", ["b", "c"]),
        (f"code:above={LOCAL}|worse", ["a", "b"]),
        ("status:in=http://hl7.org/fhir/ValueSet/observation-status&code=good", ["d"]),
    ],
)
async def test_sets_of_codes_are_those_of_the_stored_terminology(
    house: Client, query: str, expected: list[str]
) -> None:
    answer = await house.get(f"/Observation?{query}")
    assert answer.status_code == 200, answer.text
    assert [e["resource"]["id"] for e in answer.json().get("entry", [])] == expected


@pytest.mark.parametrize(
    "query",
    [
        "code:in=http://example.org/ValueSet/unknown",
        "code:in=ValueSet/absent",
        "code:below=http://x|y",
        "code:in=",
    ],
)
async def test_what_cannot_be_listed_is_refused(house: Client, query: str) -> None:
    answer = await house.get(f"/Observation?{query}")
    assert 400 <= answer.status_code < 500
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_conditional_writes_may_ask_for_sets_of_codes(house: Client) -> None:
    answer = await house.delete("/Observation?code:in=ValueSet/sad")
    assert answer.status_code == 204
    left = (await house.get("/Observation")).json()
    assert [e["resource"]["id"] for e in left["entry"]] == ["a", "d", "e"]
