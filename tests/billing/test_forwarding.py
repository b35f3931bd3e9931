"""Claims to payers that have a server of their own: only to addresses that are allowed, and nothing is written when they fail."""

from __future__ import annotations

import pytest

from fhir_r4.jsonio import decode
from fhir_server.operations.billing.forwarding import is_allowed
from tests.billing.cash import build, send
from tests.billing.insured import claim, coverage, sole
from tests.billing.stand_in import standing_in
from tests.conftest import Client, StartServer

IDENTIFIED = {"identifier": [{"system": "urn:claims", "value": "7"}]}


def answered(bundle: dict, outcome: str = "complete") -> dict:
    body = bundle["entry"][0]["resource"]
    return {
        "resourceType": "ClaimResponse",
        "id": "theirs",
        "status": "active",
        "type": body["type"],
        "use": body["use"],
        "patient": {"reference": "Patient/theirs"},
        "created": "2026-01-08",
        "insurer": {"reference": "Organization/theirs"},
        "request": {"reference": "Claim/theirs"},
        "outcome": outcome,
        "payment": {"type": {"text": "complete"}, "amount": {"value": 12.5, "currency": "EUR"}},
    }


async def house(start_server: StartServer, address: str, allowed: str) -> Client:
    client = await start_server(payer_addresses=(allowed,))
    endpoint = {
        "resourceType": "Endpoint",
        "id": "e1",
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "hl7-fhir-rest",
        },
        "payloadType": [{"text": "claims"}],
        "address": address,
    }
    payer = {"resourceType": "Organization", "id": "payer", "endpoint": [{"reference": "Endpoint/e1"}]}
    await build(client, endpoint, payer, coverage("c1", "none"))
    return client


async def test_a_claim_goes_to_the_payer_and_the_answer_is_kept(start_server: StartServer) -> None:
    with standing_in(lambda path, body: (200, answered(body))) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        sent = claim(None, "c1", ("care", "12.50"), **IDENTIFIED)
        found = [decode((await send(client, "POST", "Claim/$submit", sole(sent))).content) for _ in range(2)]
    assert [path for path, _, _ in payer.asked] == ["/fhir/Claim/$submit"]
    assert found[0] == found[1]
    assert found[0]["patient"] == {"reference": "Patient/p1"}
    assert found[0]["request"]["reference"].startswith("Claim/")
    assert found[0]["id"] != "theirs"


async def test_a_payer_that_has_not_decided_is_asked_again(start_server: StartServer) -> None:
    def answer(path: str, body: dict) -> tuple[int, object]:
        return 200, answered(body, "complete" if path.endswith("$inquire") else "queued")

    with standing_in(answer) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        sent = claim(None, "c1", ("care", "12.50"), **IDENTIFIED)
        first = decode((await send(client, "POST", "Claim/$submit", sole(sent))).content)
        again = decode((await send(client, "POST", "Claim/$inquire", sole(sent))).content)
    later = again["entry"][0]["resource"]
    assert (first["outcome"], later["outcome"], later["id"]) == ("queued", "complete", first["id"])


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, {}, 503),
        (200, b"not json", 503),
        (200, {"resourceType": "Patient"}, 503),
        (200, {"resourceType": "ClaimResponse"}, 503),
        (422, {"resourceType": "OperationOutcome", "issue": [{"diagnostics": "no such member"}]}, 422),
    ],
)
async def test_a_payer_that_fails_leaves_nothing_written(
    start_server: StartServer, status: int, body: object, expected: int
) -> None:
    with standing_in(lambda path, asked: (status, body)) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        sent = claim(None, "c1", ("care", "12.50"), **IDENTIFIED)
        answer = await send(client, "POST", "Claim/$submit", sole(sent))
    assert answer.status_code == expected, answer.text
    assert (await client.get("/Claim?_summary=count")).json()["total"] == 0


async def test_an_address_that_is_not_allowed_is_not_called(start_server: StartServer) -> None:
    with standing_in(lambda path, body: (200, answered(body))) as payer:
        client = await house(start_server, f"{payer.url}/fhir", "https://payer.test")
        sent = claim(None, "c1", ("care", "12.50"), **IDENTIFIED)
        answer = await send(client, "POST", "Claim/$submit", sole(sent))
    assert answer.status_code == 422
    assert payer.asked == []


async def test_a_claim_without_an_identifier_is_not_forwarded(start_server: StartServer) -> None:
    with standing_in(lambda path, body: (200, answered(body))) as payer:
        client = await house(start_server, f"{payer.url}/fhir", payer.url)
        answer = await send(client, "POST", "Claim/$submit", sole(claim(None, "c1", ("care", "12.50"))))
    assert answer.status_code == 422
    assert payer.asked == []


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://payer.test/fhir", True),
        ("https://payer.test/fhir/r4", True),
        ("https://payer.test/fhirs", False),
        ("https://payer.test/fhir/../admin", False),
        ("http://payer.test/fhir", False),
        ("https://payer.test:444/fhir", False),
        ("https://payer.test@evil.test/fhir", False),
    ],
)
def test_only_addresses_under_those_that_are_set_are_allowed(address: str, allowed: bool) -> None:
    assert is_allowed(address, ("https://payer.test/fhir/",)) is allowed
