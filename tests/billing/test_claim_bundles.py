"""Claims in Bundles with what they refer to: from senders, to payers of their own; and what is known of a payer's decision afterwards."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fhir_r4.jsonio import decode
from tests.billing.cash import Resource, ask, build, done, euros, invoice, put, read, send
from tests.billing.insured import category, claim, cost, coverage, plan, sole, told
from tests.billing.stand_in import standing_in
from tests.billing.test_forwarding import answered, house
from tests.conftest import Client, StartServer

D = Decimal
PATIENT = "urn:uuid:11111111-1111-4111-8111-111111111111"
ORDER = "urn:uuid:22222222-2222-4222-8222-222222222222"
COVER = "urn:uuid:33333333-3333-4333-8333-333333333333"
RECORD = {"system": "urn:records", "value": "4711"}


@pytest.fixture
async def till(client: Client) -> Client:
    await build(
        client,
        {"resourceType": "Patient", "id": "p1", "identifier": [RECORD]},
        {"resourceType": "Organization", "id": "payer", "name": "Payer"},
        plan("basic", category("all", cost("copaypct", "20"))),
        coverage("c1", "basic", identifier=[{"system": "urn:covers", "value": "1"}]),
    )
    return client


def bundle(first: Resource, *others: tuple[str, Resource]) -> Resource:
    entries = [{"fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000000", "resource": first}]
    entries += [{"fullUrl": full, "resource": r} for full, r in others]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def referring(use: str = "preauthorization", **more: Any) -> Resource:
    """A Claim whose patient, coverage and order stand in the Bundle."""
    insurance = [{"sequence": 1, "focal": True, "coverage": {"reference": COVER}}]
    made = claim(None, "c1", ("care", "100.00"), use=use, insurance=insurance, **more)
    made["item"][0]["extension"] = [{"url": "urn:test:order", "valueReference": {"reference": ORDER}}]
    return {**made, "patient": {"reference": PATIENT}}


def along(**patient: Any) -> tuple[tuple[str, Resource], ...]:
    order = {"resourceType": "ServiceRequest", "status": "active", "intent": "order"}
    cover = {**coverage("x", "basic"), "identifier": [{"system": "urn:covers", "value": "1"}]}
    return (
        (PATIENT, {"resourceType": "Patient", "identifier": [RECORD], **patient}),
        (COVER, {k: v for k, v in cover.items() if k != "id"} | {"beneficiary": {"reference": PATIENT}}),
        (ORDER, {**order, "subject": {"reference": PATIENT}}),
    )


async def submit(client: Client, resource: Resource, expected: int = 200, name: str = "submit") -> Any:
    answer = await send(client, "POST", f"Claim/${name}", sole(resource))
    assert answer.status_code == expected, answer.text
    return decode(answer.content)


async def test_a_bundle_is_answered_with_a_bundle(till: Client) -> None:
    answer = await submit(till, bundle(referring(), *along()))
    assert (answer["resourceType"], answer["type"]) == ("Bundle", "collection")
    response, *others = (e["resource"] for e in answer["entry"])
    assert (response["resourceType"], response["outcome"]) == ("ClaimResponse", "complete")
    assert response["preAuthRef"].startswith("PA-")
    assert response["patient"] == {"reference": "Patient/p1"}
    assert {r["resourceType"] for r in others} == {"Patient", "Organization"}
    assert [e["fullUrl"].rpartition("/fhir/")[2] for e in answer["entry"]][1] == "Patient/p1"


async def test_what_came_along_and_was_unknown_is_kept_with_the_claim(till: Client) -> None:
    await submit(till, bundle(referring(), *along(birthDate="1900-01-01")))
    (kept,) = (e["resource"] for e in (await till.get("/Claim")).json()["entry"])
    assert kept["insurance"][0]["coverage"] == {"reference": "Coverage/c1"}
    order = kept["item"][0]["extension"][0]["valueReference"]["reference"]
    assert (await read(till, order))["subject"] == {"reference": "Patient/p1"}
    assert "birthDate" not in await read(till, "Patient/p1")
    for type, count in (("Patient", 1), ("Coverage", 1), ("ServiceRequest", 1)):
        assert (await till.get(f"/{type}?_summary=count")).json()["total"] == count


async def test_a_patient_who_is_not_known_is_not_made_by_a_claim(till: Client) -> None:
    stranger = {"identifier": [{"system": "urn:records", "value": "1"}]}
    await submit(till, bundle(referring(), *along(**stranger)), 422)
    assert (await till.get("/Claim?_summary=count")).json()["total"] == 0
    assert (await till.get("/ServiceRequest?_summary=count")).json()["total"] == 0


@pytest.mark.parametrize(
    "sent",
    [
        {"resourceType": "Bundle", "type": "collection"},
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": {"resourceType": "Patient"}}],
        },
        {"resourceType": "Patient"},
    ],
)
async def test_what_has_no_claim_first_is_refused(till: Client, sent: Resource) -> None:
    await submit(till, sent, 400)


async def test_a_bundle_that_comes_again_is_answered_the_same(till: Client) -> None:
    named = {"identifier": [{"system": "urn:claims", "value": "7"}]}
    found = [await submit(till, bundle(referring(**named), *along())) for _ in range(2)]
    assert found[0]["entry"][0]["resource"] == found[1]["entry"][0]["resource"]
    assert (await till.get("/ServiceRequest?_summary=count")).json()["total"] == 1


async def test_an_inquiry_without_a_name_finds_the_claims_of_a_patient(till: Client) -> None:
    await submit(till, bundle(referring(), *along()))
    await submit(till, claim(None, "c1", ("care", "30.00")))
    asked = bundle(referring(), *along())
    found = await submit(till, asked, name="inquire")
    assert [e["resource"]["use"] for e in found["entry"]] == ["preauthorization"]
    before = bundle(referring(billablePeriod={"end": "2020-01-01"}), *along())
    await submit(till, before, 404, name="inquire")


# A payer of its own


async def test_a_claim_goes_out_with_what_it_refers_to(start_server: StartServer) -> None:
    with standing_in(lambda path, body: (200, answered(body))) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        await put(client, {"resourceType": "Practitioner", "id": "d1"})
        await put(client, {"resourceType": "Practitioner", "id": "d2"})
        team = [{"sequence": 1, "provider": {"reference": "Practitioner/d1"}}]
        sent = claim("k1", "c1", ("care", "12.50"), careTeam=team, identifier=[{"value": "7"}])
        await submit(client, sent)
    ((_, _, body),) = payer.asked
    named = [f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in body["entry"]]
    assert named[0] == "Claim/k1"
    assert set(named[1:]) == {
        "Patient/p1",
        "Coverage/c1",
        "Practitioner/d1",
        "Organization/payer",
        "Organization/house",
    }
    assert all(e["fullUrl"].endswith(n) for e, n in zip(body["entry"], named, strict=True))


async def test_a_bundle_goes_out_as_it_came(start_server: StartServer) -> None:
    with standing_in(lambda path, body: (200, answered(body))) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        await put(client, {"resourceType": "Patient", "id": "p1", "identifier": [RECORD]})
        await put(client, coverage("c1", "none", identifier=[{"system": "urn:covers", "value": "1"}]))
        sent = bundle(referring(identifier=[{"system": "urn:claims", "value": "7"}]), *along())
        answer = await submit(client, sent)
    ((_, _, body),) = payer.asked
    assert [e["resource"]["resourceType"] for e in body["entry"]] == [
        "Claim",
        "Patient",
        "Coverage",
        "ServiceRequest",
    ]
    assert body["entry"][0]["resource"]["patient"] == {"reference": PATIENT}
    assert answer["entry"][0]["resource"]["patient"] == {"reference": "Patient/p1"}


@pytest.mark.parametrize("by_item", [True, False])
async def test_a_decision_of_a_payer_is_explained_when_it_is_posted_and_counts_for_the_year(
    start_server: StartServer, by_item: bool
) -> None:
    def decide(path: str, body: dict) -> tuple[int, object]:
        made = {
            **answered(body),
            "payment": {"type": {"text": "paid"}, "amount": {"value": 80, "currency": "EUR"}},
        }
        if by_item:
            benefit = {"coding": [{"code": "benefit"}]}
            amount = {"value": 80, "currency": "EUR"}
            made["item"] = [{"itemSequence": 1, "adjudication": [{"category": benefit, "amount": amount}]}]
        return 200, made

    with standing_in(decide) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        await put(client, plan("basic", category("all", cost("copaypct", "20"), cost("maxbenefit", "100"))))
        await put(client, coverage("c1", "basic"))
        await put(client, invoice("i1", "100.00", "draft"))
        found = decode((await ask(client, "Invoice/i1/$split", coverage="Coverage/c1", claim=True)).content)
        shared, draft = (e["resource"] for e in found["entry"])
        await put(client, {**shared, "status": "issued"})
        named = {**draft, "identifier": [{"system": "urn:claims", "value": "7"}]}
        response = await submit(client, named)
        assert (await client.get("/ExplanationOfBenefit?_summary=count")).json()["total"] == 0
        answers = [await ask(client, f"ClaimResponse/{response['id']}/$post") for _ in range(2)]
    first, again = (decode(a.content) for a in answers)
    assert [e["resource"]["resourceType"] for e in first["entry"]] == [
        "PaymentReconciliation",
        "ExplanationOfBenefit",
    ]
    assert first == again
    explained = first["entry"][1]["resource"]
    assert explained["claimResponse"] == {"reference": f"ClaimResponse/{response['id']}"}
    assert told(explained["item"][0]["adjudication"]) == {"benefit": D("80.00")}
    await put(client, invoice("i2", "100.00", "draft"))
    shared = await done(client, "Invoice/i2/$split", coverage="Coverage/c1")
    left = next(p["valueMoney"] for p in shared["extension"][0]["extension"] if p["url"] == "amount")
    assert left == euros("20.00")
