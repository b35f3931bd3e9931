"""Search over HTTP: https://hl7.org/fhir/R4/search.html. What a query means is tested in tests/search."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Client
from tests.rest.resources import bundle, observation, patient, put

LOINC = "http://loinc.org"


def ids(answer: dict[str, Any], mode: str = "match") -> list[str]:
    return [
        f"{e['resource']['resourceType']}/{e['resource']['id']}"
        for e in answer.get("entry", [])
        if e["search"]["mode"] == mode
    ]


@pytest.fixture
async def hospital(client: Client) -> Client:
    def measured(id: str, subject: str, value: str, date: str, code: str = "8867-4") -> dict[str, Any]:
        return put(
            observation(
                f"Patient/{subject}",
                id=id,
                code={"coding": [{"system": LOINC, "code": code}]},
                effectiveDateTime=date,
                valueQuantity={
                    "value": float(value),
                    "unit": "/min",
                    "system": "http://unitsofmeasure.org",
                    "code": "/min",
                },
                performer=[{"reference": "Practitioner/d1"}],
            )
        )

    entries = [
        put({"resourceType": "Organization", "id": "o1", "name": "Ward"}),
        put({"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Müller"}]}),
        put(
            patient(
                id="p1",
                gender="male",
                birthDate="1950-01-02",
                active=True,
                managingOrganization={"reference": "Organization/o1"},
                generalPractitioner=[{"reference": "Practitioner/d1"}],
            )
        ),
        put(
            patient(
                id="p2", name=[{"family": "Çelik", "given": ["Ayşe"]}], gender="female", birthDate="1980-05"
            )
        ),
        put(patient(id="p3", name=[{"family": "Osborne"}], birthDate="2001-12-31")),
        measured("a", "p1", "60.5", "2024-01-01T10:00:00Z"),
        measured("b", "p1", "80.5", "2024-02-01T10:00:00Z"),
        measured("c", "p2", "100.5", "2024-03-01T10:00:00Z"),
        measured("d", "p2", "20.5", "2024-04-01T10:00:00Z", "9279-1"),
    ]
    answer = await client.post_json("", bundle("transaction", *entries))
    assert answer.status_code == 200, answer.text
    return client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Patient?family=os", ["p1", "p3"]),
        ("Patient?name=celik", ["p2"]),
        ("Patient?name:exact=Osborne", ["p3"]),
        ("Patient?name:contains=borne", ["p3"]),
        ("Patient?gender=male,female", ["p1", "p2"]),
        ("Patient?gender:not=male", ["p2", "p3"]),
        ("Patient?gender:missing=true", ["p3"]),
        ("Patient?active=true", ["p1"]),
        ("Patient?birthdate=ge1980&birthdate=lt2000", ["p2"]),
        ("Patient?birthdate=1980-05", ["p2"]),
        ("Patient?_id=p1,p3", ["p1", "p3"]),
        ("Patient?organization=Organization/o1", ["p1"]),
        ("Patient?organization=o1", ["p1"]),
        ("Patient?organization:Organization=o1", ["p1"]),
        ("Patient?organization=http://osler.test/fhir/Organization/o1", ["p1"]),
        ("Patient?organization.name=ward", ["p1"]),
        ("Patient?general-practitioner:Practitioner.family=muller", ["p1"]),
        ("Patient?_has:Observation:patient:code=9279-1", ["p2"]),
        (f"Patient?_has:Observation:patient:code={LOINC}|8867-4", ["p1", "p2"]),
        ("Observation?patient=Patient/p1&code=8867-4", ["a", "b"]),
        ("Observation?patient=p2&value-quantity=gt50", ["c"]),
        ("Observation?value-quantity=lt70|http://unitsofmeasure.org|/min", ["a", "d"]),
        ("Observation?date=ge2024-02-01&date=le2024-03-31", ["b", "c"]),
        ("Observation?patient.gender=female", ["c", "d"]),
        ("Observation?subject:Patient.name=osler", ["a", "b"]),
        ("Observation?performer=Practitioner/d1&_sort=-date", ["d", "c", "b", "a"]),
        ("Observation?_sort=value-quantity", ["d", "a", "b", "c"]),
        ("Observation?_sort=patient,-date", ["b", "a", "d", "c"]),
        ("Patient?_sort=gender", ["p2", "p1", "p3"]),
        ("Patient/p1/Observation?_sort=date", ["a", "b"]),
        ("Patient/p1/Observation?code=nothing", []),
        ("Patient?_lastUpdated=gt2020", ["p1", "p2", "p3"]),
        ("Patient?_lastUpdated=lt2020", []),
    ],
)
async def test_queries_find_what_they_should(hospital: Client, query: str, expected: list[str]) -> None:
    answer = await hospital.get(f"/{query}")
    assert answer.status_code == 200, answer.text
    assert [i.split("/")[1] for i in ids(answer.json())] == expected


async def test_post_search_finds_the_same(hospital: Client) -> None:
    posted = await hospital.post("/Patient/_search?gender=male", data={"family": "os"})
    assert ids(posted.json()) == ["Patient/p1"]
    everywhere = await hospital.post("/_search", data={"_type": "Patient,Organization", "_id": "p1,o1"})
    assert sorted(ids(everywhere.json())) == ["Organization/o1", "Patient/p1"]


async def test_includes_bring_what_is_referred_to(hospital: Client) -> None:
    forward = (
        await hospital.get(
            "/Patient?_id=p1&_include=Patient:organization&_include=Patient:general-practitioner"
        )
    ).json()
    assert ids(forward) == ["Patient/p1"]
    assert sorted(ids(forward, "include")) == ["Organization/o1", "Practitioner/d1"]
    reverse = (await hospital.get("/Patient?_id=p1&_revinclude=Observation:patient")).json()
    assert sorted(ids(reverse, "include")) == ["Observation/a", "Observation/b"]
    everything = (await hospital.get("/Patient?_id=p1&_include=*")).json()
    assert sorted(ids(everything, "include")) == ["Organization/o1", "Practitioner/d1"]
    iterated = (
        await hospital.get(
            "/Observation?_id=a&_include=Observation:patient&_include:iterate=Patient:organization"
        )
    ).json()
    assert sorted(ids(iterated, "include")) == ["Organization/o1", "Patient/p1"]


async def test_truncated_includes_are_told(start_server: Any) -> None:
    client = await start_server(max_included=2)
    entries = [put(patient(id="p1")), *(put(observation("Patient/p1", id=f"o{n}")) for n in range(5))]
    await client.post_json("", bundle("transaction", *entries))
    answer = (await client.get("/Patient?_revinclude=Observation:patient")).json()
    assert len(ids(answer, "include")) == 2
    assert any(e["search"]["mode"] == "outcome" for e in answer["entry"])


@pytest.mark.parametrize("sort", ["", "&_sort=-date", "&_sort=value-quantity", "&_sort=-code,date"])
async def test_pages_neither_repeat_nor_lose_rows(hospital: Client, sort: str) -> None:
    whole = ids((await hospital.get(f"/Observation?{sort}")).json())
    seen: list[str] = []
    url: str | None = f"/Observation?_count=1{sort}"
    while url is not None:
        page = (await hospital.get(url)).json()
        seen += ids(page)
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    assert seen == whole
    assert len(whole) == 4


async def test_totals_and_counts(hospital: Client) -> None:
    accurate = (await hospital.get("/Observation?_total=accurate&_count=1")).json()
    assert accurate["total"] == 4
    assert len(accurate["entry"]) == 1
    counted = (await hospital.get("/Observation?_count=0")).json()
    assert counted["total"] == 4
    assert "entry" not in counted


async def test_updated_and_deleted_resources_are_found_as_they_are_now(hospital: Client) -> None:
    await hospital.put_json("/Patient/p1", patient(id="p1", name=[{"family": "Changed"}]))
    assert ids((await hospital.get("/Patient?name=changed")).json()) == ["Patient/p1"]
    assert ids((await hospital.get("/Patient?name=osler")).json()) == []
    assert ids((await hospital.get("/Patient?gender=male")).json()) == []
    await hospital.delete("/Patient/p2")
    assert ids((await hospital.get("/Patient?name=celik")).json()) == []
    assert ids((await hospital.get("/Observation?patient.gender=female")).json()) == []


async def test_self_link_says_what_was_processed(hospital: Client) -> None:
    answer = (await hospital.get("/Patient?name=osler&_count=5&_sort=-birthdate")).json()
    links = {link["relation"]: link["url"] for link in answer["link"]}
    assert links["self"] == "http://osler.test/fhir/Patient?name=osler&_count=5&_sort=-birthdate"


@pytest.mark.parametrize("query", ["Observation?code-value-quantity=8867-4$x", "Location?near=here"])
async def test_a_value_that_nothing_can_have_finds_nothing_and_is_told(hospital: Client, query: str) -> None:
    answer = (await hospital.get(f"/{query}", headers={"prefer": "handling=strict"})).json()
    assert answer["total"] == 0
    (told,) = answer["entry"]
    assert told["search"]["mode"] == "outcome"
    assert "Nothing can match" in told["resource"]["issue"][0]["diagnostics"]
