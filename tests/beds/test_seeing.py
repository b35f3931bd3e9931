"""What an access policy hides is on no board, is found by nobody, is counted in nothing, and cannot be moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.app import create_app
from fhir_server.context import Actor, FhirRequest
from fhir_server.interactions.indexing import begin
from fhir_server.operations.beds.showing import events
from fhir_server.search.rewrite import Policy
from fhir_server.search.tree import Chain, Everything, IdIs, Not, TokenIs, negation
from fhir_server.settings import Settings
from tests.beds.ward import OSLER, at, bed, build, parameters, patient, stay
from tests.conftest import BASE, Client, stop

OPEN = Not(TokenIs("_security", None, "secret"))
POLICY = Policy(
    {
        "Patient": OPEN,
        "Encounter": Chain("subject", "Patient", OPEN),
        "Location": negation(IdIs(("w2", "r3", "b5", "b6"))),
    },
    Everything(),
)
NURSE = Actor("nurse", policy=POLICY, permissions=frozenset())
SECRET = {"security": [{"system": "http://example.org/labels", "code": "secret"}]}


def who(request: FhirRequest) -> Actor:
    return NURSE if request.headers.get("x-actor") == "nurse" else Actor("admin", administrator=True)


@pytest.fixture(params=["sqlite", "memory"])
async def ward(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """Seen Patient/p1 in b1, hidden Patient/p2 in b4, and ward w2 hidden with Patient/p3 in b5."""
    store = f"sqlite:///{tmp_path}/osler.db" if request.param == "sqlite" else "memory:"
    app = create_app(Settings(log_level="error", store=store), actor_of=who)
    await begin(app.services)
    client = Client(transport=httpx.ASGITransport(app=app), base_url=BASE, timeout=30)
    client.app = app
    await build(client, {**patient("p2", "male"), "meta": SECRET})
    for n, where in (1, "b1"), (2, "b4"), (3, "b5"):
        place = at(where, period={"start": "2020-03-02T08:00:00Z"})
        made = stay(f"e{n}", f"p{n}", place, period={"start": "2020-03-02T08:00:00Z"})
        assert (await client.put_json(f"/Encounter/e{n}", made)).status_code == 201
    yield client
    await stop(client)


async def ask(client: Client, address: str, actor: str = "nurse", **values: Any) -> httpx.Response:
    return await client.post_json(f"/{address}", parameters(**values), x_actor=actor)


async def test_the_board_has_what_may_be_seen(ward: Client) -> None:
    whole = await ward.get("/Location/$bed-board", headers={"x-actor": "admin"})
    assert all(name in whole.text for name in ("Encounter/e2", "Patient/p2", "P2", "b5"))
    board = (await ward.get("/Location/$bed-board", headers={"x-actor": "nurse"})).json()
    assert [e["resource"]["id"] for e in board["entry"]] == ["b1", "b2", "b3", "b4"]
    assert "Encounter/e1" in str(board)
    assert not any(name in str(board) for name in ("Encounter/e2", "Patient/p2", "P2", "Encounter/e3"))
    (counts,) = board["meta"]["extension"]
    assert {p["url"]: p["valueUnsignedInt"] for p in counts["extension"]}["O"] == 2
    hidden = await ward.get("/Location/w2/$bed-board", headers={"x-actor": "nurse"})
    assert hidden.status_code == 404


async def test_a_stream_of_the_board_tells_what_may_be_seen(ward: Client) -> None:
    stream = events(ward.app.services, None, None, NURSE)
    first = (await anext(stream)).decode()
    assert "Encounter/e1" in first
    assert "Encounter/e2" not in first
    await ward.put_json("/Encounter/e3", stay("e3", "p3", at("b6")))
    await ward.put_json("/Encounter/e2", stay("e2", "p2", at("b2")))
    told = [(await anext(stream)).decode() for _ in range(2)]
    assert ['"b2"' in told[0] or '"b4"' in told[0], "Encounter/e2" in "".join(told)] == [True, False]
    await stream.aclose()


async def test_beds_are_found_where_one_may_look_without_names(ward: Client) -> None:
    found = (await ask(ward, "Location/$find-bed", gender="female", birth_date="1980-01-01")).json()
    beds = {e["resource"]["id"] for e in found["entry"] if e["search"]["mode"] == "match"}
    assert beds == {"b2", "b3"}
    (outcome,) = [e["resource"] for e in found["entry"] if e["search"]["mode"] == "outcome"]
    told = " ".join(i["diagnostics"] for i in outcome["issue"])
    assert ("Encounter/e1" in told, "Encounter/e2" in told, "The bed is occupied." in told) == (
        True,
        False,
        True,
    )
    for hidden in ({"ward": "Location/w2"}, {"patient": "Patient/p2"}, {"encounter": "Encounter/e2"}):
        assert (await ask(ward, "Location/$find-bed", **hidden)).status_code == 404


async def test_occupancy_counts_what_may_be_seen(ward: Client) -> None:
    period = {"start": "2020-03-03", "end": "2020-03-03"}

    async def numbers(actor: str) -> list[int]:
        report = (
            await ask(ward, "Location/$occupancy", actor, period=period, basis="midnight", as_of="2999-01-01")
        ).json()
        return [p["count"] for p in report["group"][0]["population"]]

    assert (await numbers("admin"))[0] == 3
    assert (await numbers("nurse"))[0] == 1


async def test_what_is_hidden_cannot_be_moved_or_named(ward: Client) -> None:
    moved = {"request_id": "urn:1", "bed": "Location/b2"}
    assert (await ask(ward, "Encounter/e2/$transfer", **moved)).status_code == 404
    assert (await ask(ward, "Encounter/$admit", patient="Patient/p2", **moved)).status_code == 404
    hidden = {"request_id": "urn:2", "bed": "Location/b6"}
    assert (await ask(ward, "Encounter/e1/$transfer", **hidden)).status_code == 404
    assert (await ask(ward, "Encounter/e1/$transfer", **moved)).status_code == 200


async def test_who_may_not_see_the_holder_is_not_told_the_name(ward: Client) -> None:
    taken = stay("e9", "p5", at("b4"))
    for actor, told in ("admin", True), ("nurse", False):
        answer = await ward.put_json("/Encounter/e9", taken, x_actor=actor)
        assert (answer.status_code, "Encounter/e2" in answer.text) == (409, told)


async def test_a_ward_rule_is_overridden_with_the_permission_alone(ward: Client) -> None:
    assert (await ward.put_json("/Location/b2", bed("b2", "r1", "H"))).status_code == 200
    reason = {"url": "reason", "valueCodeableConcept": {"text": "no other bed"}}
    override = {"url": OSLER + "ward-rule-override", "extension": [reason]}
    let_in = stay("e9", "p5", at("b2", extension=[override]))
    for actor, status in ("nurse", 403), ("admin", 201):
        assert (await ward.put_json("/Encounter/e9", let_in, x_actor=actor)).status_code == status
