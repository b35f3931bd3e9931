"""An access policy leaves no trace of what it hides: not in matches, chains, includes, totals, order, reads or history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.app import create_app
from fhir_server.context import Actor, FhirRequest
from fhir_server.interactions.indexing import begin
from fhir_server.search.rewrite import Policy
from fhir_server.search.tree import Chain, Everything, Not, Nothing, TokenIs
from fhir_server.settings import Settings
from tests.conftest import BASE, Client
from tests.rest.resources import ask, bundle, observation, patient, put

SECRET = TokenIs("_security", None, "secret")
OPEN = Not(SECRET)
POLICY = Policy(
    {"Patient": OPEN, "Observation": Chain("subject", "Patient", OPEN), "Encounter": Nothing()}, Everything()
)
SECURITY = {"security": [{"system": "http://example.org/labels", "code": "secret"}]}


def who(request: FhirRequest) -> Actor:
    """A nurse, whom the policy limits, unless the request says that it is the administrator's."""
    if request.headers.get("x-actor") == "admin":
        return Actor("admin", administrator=True)
    return Actor("nurse", policy=POLICY)


@pytest.fixture(params=["sqlite", "memory"])
async def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    store = f"sqlite:///{tmp_path}/osler.db" if request.param == "sqlite" else "memory:"
    app = create_app(Settings(log_level="error", store=store), actor_of=who)
    await begin(app.services)
    client = Client(transport=httpx.ASGITransport(app=app), base_url=BASE, timeout=30)
    client.app = app
    doctor = {"reference": "Practitioner/d1"}
    entries = [
        put({"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Müller"}]}),
        put(patient(id="seen", birthDate="1950", generalPractitioner=[doctor])),
        put(
            patient(
                id="hidden",
                birthDate="1940",
                meta=SECURITY,
                generalPractitioner=[doctor],
                link=[{"other": {"reference": "Patient/seen"}, "type": "seealso"}],
            )
        ),
        put(observation("Patient/seen", id="o-seen", performer=[doctor])),
        put(observation("Patient/hidden", id="o-hidden", performer=[doctor])),
        put(
            {
                "resourceType": "Encounter",
                "id": "e1",
                "status": "finished",
                "class": {"code": "AMB"},
                "subject": {"reference": "Patient/seen"},
            }
        ),
        # seen itself, it refers to what is hidden
        put({"resourceType": "Device", "id": "v1", "patient": {"reference": "Patient/hidden"}}),
        put({"resourceType": "Device", "id": "v2", "patient": {"reference": "Patient/seen"}}),
    ]
    answer = await client.post_json("", bundle("transaction", *entries), x_actor="admin")
    assert answer.status_code == 200, answer.text
    yield client
    await client.aclose()
    await app.close()


def listed(answer: dict[str, Any], modes: Sequence[str] = ("match", "include")) -> list[str]:
    return [
        f"{e['resource']['resourceType']}/{e['resource']['id']}"
        for e in answer.get("entry", [])
        if e.get("search", {}).get("mode", "match") in modes
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Patient", ["Patient/seen"]),
        ("Patient?name=osler&_sort=birthdate&_count=1", ["Patient/seen"]),
        ("Patient?_sort=-birthdate&_total=accurate", ["Patient/seen"]),
        ("Patient?_id=hidden", []),
        ("Patient?_id:missing=false", ["Patient/seen"]),
        ("Patient?gender:missing=true", ["Patient/seen"]),
        ("Patient?name:not=nobody", None),
        ("Observation", ["Observation/o-seen"]),
        ("Observation?subject=Patient/hidden", []),
        ("Encounter", []),
        ("Device?patient.name=osler", ["Device/v2"]),
        ("Device?patient:Patient._id=hidden", []),
        ("Device?patient.birthdate=1940", []),
        ("Practitioner?_has:Patient:general-practitioner:birthdate=1940", []),
        ("Practitioner?_has:Patient:general-practitioner:birthdate=1950", ["Practitioner/d1"]),
        ("Practitioner?_has:Observation:performer:subject=Patient/hidden", []),
        ("Patient?_has:Encounter:subject:status=finished", []),
        ("Patient?_has:Patient:link:birthdate=1940", []),
        ("Device?_id=v1&_include=Device:patient", ["Device/v1"]),
        ("Device?_id=v1&_include=*", ["Device/v1"]),
        (
            "Device?_id=v1&_include=Device:patient&_include:iterate=Patient:general-practitioner",
            ["Device/v1"],
        ),
        (
            "Device?_id=v2&_include=Device:patient&_include:iterate=Patient:general-practitioner",
            ["Device/v2", "Patient/seen", "Practitioner/d1"],
        ),
        (
            "Practitioner?_revinclude=Patient:general-practitioner&_revinclude=Observation:performer",
            ["Practitioner/d1", "Patient/seen", "Observation/o-seen"],
        ),
        ("Practitioner?_revinclude=Observation:*", ["Practitioner/d1", "Observation/o-seen"]),
        ("Patient?_revinclude=Patient:link&_revinclude=Encounter:subject", ["Patient/seen"]),
        ("Patient/seen/Observation", ["Observation/o-seen"]),
        ("Patient/hidden/Observation", []),
        ("Patient/seen/Encounter", []),
        ("?_type=Patient,Encounter,Device&_id=seen,hidden,e1,v1", ["Patient/seen", "Device/v1"]),
        ("?_id=seen,hidden,e1,v1", ["Patient/seen", "Device/v1"]),
    ],
)
async def test_searches_show_and_count_what_may_be_seen(
    hospital: Client, query: str, expected: list[str] | None
) -> None:
    answer = await hospital.get(f"/{query}")
    if expected is None:
        assert answer.status_code == 400
        return
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert sorted(listed(body)) == sorted(expected)
    assert not any(link["relation"] == "next" for link in body["link"])
    separator = "&" if "?" in query else "?"
    for counting in ("_total=accurate", "_summary=count"):
        if "_total" in query and "_total" in counting:
            continue
        counted = (await hospital.get(f"/{query}{separator}{counting}")).json()
        assert counted["total"] == len(listed(body, ("match",))), counting


async def test_hidden_resources_are_not_found_by_id(hospital: Client) -> None:
    absent = await hospital.get("/Patient/nobody")
    for path in ("/Patient/hidden", "/Observation/o-hidden", "/Encounter/e1"):
        answer = await hospital.get(path)
        assert answer.status_code == 404
        type, id = path[1:].split("/")
        assert answer.text == absent.text.replace("Patient/nobody", f"{type}/{id}")
        assert (await hospital.get(f"{path}/_history")).status_code == 404
        assert (await hospital.get(f"{path}/_history/1")).status_code == 404
        assert (await hospital.get(path, headers={"x-actor": "admin"})).status_code == 200
    for path in ("/Patient/seen", "/Observation/o-seen", "/Practitioner/d1"):
        assert (await hospital.get(path)).status_code == 200
        assert (await hospital.get(f"{path}/_history/1")).status_code == 200
    batch = await hospital.post_json(
        "", bundle("batch", ask("GET", "Patient/hidden"), ask("GET", "Patient/seen"))
    )
    assert [e["response"]["status"][:3] for e in batch.json()["entry"]] == ["404", "200"]


async def test_hidden_resources_cannot_be_patched_or_validated(hospital: Client) -> None:
    patch = [{"op": "add", "path": "/active", "value": True}]
    headers = {"content-type": "application/json-patch+json"}
    assert (await hospital.patch("/Patient/hidden", json=patch, headers=headers)).status_code == 404
    assert (await hospital.patch("/Patient/seen", json=patch, headers=headers)).status_code == 200
    assert (await hospital.post("/Patient/hidden/$validate")).status_code == 404


async def test_conditional_interactions_see_what_the_actor_sees(hospital: Client) -> None:
    created = await hospital.post_json("/Patient", patient(), if_none_exist="birthdate=1940")
    assert created.status_code == 201
    found = await hospital.post_json("/Patient", patient(), if_none_exist="birthdate=1950")
    assert found.status_code == 200
    assert found.json()["id"] == "seen"
    updated = await hospital.put_json("/Patient?birthdate=1940", patient(birthDate="1940"))
    assert updated.status_code == 201
    assert updated.json()["id"] != "hidden"
    await hospital.delete("/Observation?code=8867-4")
    left = await hospital.get("/Observation", headers={"x-actor": "admin"})
    assert listed(left.json()) == ["Observation/o-hidden"]
    reference = observation("Patient?birthdate=1940&name=osler", id="x")
    answer = await hospital.post_json("", bundle("transaction", put(reference)))
    assert answer.status_code == 200
    assert "Patient/hidden" not in (await hospital.get("/Observation/x")).text


async def test_history_shows_only_versions_that_may_be_seen(hospital: Client) -> None:
    def addresses(answer: httpx.Response) -> list[str]:
        assert answer.status_code == 200
        assert "total" not in answer.json()
        return [e["fullUrl"].removeprefix(f"{BASE}/") for e in answer.json().get("entry", [])]

    assert addresses(await hospital.get("/Patient/_history")) == ["Patient/seen"]
    everything = addresses(await hospital.get("/_history"))
    assert sorted(everything) == [
        "Device/v1",
        "Device/v2",
        "Observation/o-seen",
        "Patient/seen",
        "Practitioner/d1",
    ]
    # a page of which nothing is left is passed over
    page = await hospital.get("/Encounter/_history?_count=1")
    assert addresses(page) == []
    assert not any(link["relation"] == "next" for link in page.json()["link"])


async def test_a_version_is_seen_when_it_and_the_present_state_may_be(hospital: Client) -> None:
    admin = {"x_actor": "admin"}
    # once secret, open now: the old version stays hidden
    await hospital.put_json("/Patient/hidden", patient(id="hidden"), **admin)
    assert (await hospital.get("/Patient/hidden")).status_code == 200
    assert (await hospital.get("/Patient/hidden/_history/1")).status_code == 404
    history = (await hospital.get("/Patient/hidden/_history")).json()
    assert [e["resource"]["meta"]["versionId"] for e in history["entry"]] == ["2"]
    # open once, secret now: nothing of it is seen
    await hospital.put_json("/Patient/seen", patient(id="seen", meta=SECURITY), **admin)
    assert (await hospital.get("/Patient/seen/_history/1")).status_code == 404
    assert (await hospital.get("/Patient/seen/_history")).status_code == 404
    # chains of the policy follow
    assert (await hospital.get("/Observation/o-seen")).status_code == 404
    assert (await hospital.get("/Observation/o-hidden")).status_code == 200


async def test_deleted_resources_are_judged_by_their_last_state(hospital: Client) -> None:
    admin = {"x-actor": "admin"}
    await hospital.delete("/Patient/hidden", headers=admin)
    assert (await hospital.get("/Patient/hidden", headers=admin)).status_code == 410
    assert (await hospital.get("/Patient/hidden")).status_code == 404
    assert (await hospital.get("/Patient/hidden/_history")).status_code == 404
    assert (await hospital.get("/Patient/hidden/_history/2")).status_code == 404
    await hospital.delete("/Device/v2", headers=admin)
    assert (await hospital.get("/Device/v2")).status_code == 410
    assert (await hospital.get("/Device/v2/_history/2")).status_code == 410


async def test_everything_keeps_to_the_policy(hospital: Client) -> None:
    answer = (await hospital.get("/Patient/seen/$everything")).json()
    assert sorted(listed(answer)) == ["Observation/o-seen", "Patient/seen", "Practitioner/d1"]
    assert (await hospital.get("/Patient/hidden/$everything")).status_code == 404


async def test_an_explanation_is_for_administrators(hospital: Client) -> None:
    refused = await hospital.get("/Patient?_explain=true")
    assert refused.status_code == 403
    assert refused.json()["issue"][0]["code"] == "forbidden"
    assert (await hospital.get("/Patient?_explain=true", headers={"x-actor": "admin"})).status_code == 200
