"""A small till to test with: invoices that are issued, an account, and short ways to pay."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from fhir_r4.jsonio import decode, encode
from fhir_server.resources.billing.invoicing import with_extension
from fhir_server.resources.billing.numbering import Series, number_extension
from tests.conftest import Client

Resource = dict[str, Any]
OSLER = "https://osler.health/fhir/StructureDefinition/"


def euros(text: str | int, currency: str = "EUR") -> Resource:
    return {"value": Decimal(str(text)), "currency": currency}


def invoice(id: str, gross: str, status: str = "issued", currency: str = "EUR", **more: Any) -> Resource:
    return {
        "resourceType": "Invoice",
        "id": id,
        "status": status,
        "subject": {"reference": "Patient/p1"},
        "date": "2026-01-05",
        "issuer": {"reference": "Organization/house"},
        "account": {"reference": "Account/a1"},
        "lineItem": [
            {
                "sequence": 1,
                "chargeItemCodeableConcept": {"text": "Care"},
                "priceComponent": [{"type": "base", "amount": euros(gross, currency)}],
            }
        ],
        "totalNet": euros(gross, currency),
        "totalGross": euros(gross, currency),
        **more,
    }


def numbered(made: Resource, number: int = 1) -> Resource:
    """The invoice with the number that it gets when it is issued."""
    return with_extension(made, number_extension(Series("Organization/house", "INV", 2026), number))


async def send(client: Client, method: str, address: str, resource: Resource | None = None) -> Any:
    body = None if resource is None else encode(resource)
    return await client.request(
        method,
        f"/{address}" if address else "",
        content=body,
        headers={"content-type": "application/fhir+json"},
    )


async def put(client: Client, resource: Resource, expected: tuple[int, ...] = (200, 201)) -> Any:
    answer = await send(client, "PUT", f"{resource['resourceType']}/{resource['id']}", resource)
    assert answer.status_code in expected, answer.text
    return answer


async def read(client: Client, address: str) -> Resource:
    """The resource with exact decimals."""
    answer = await client.get(f"/{address}")
    assert answer.status_code == 200, answer.text
    found: Resource = decode(answer.content)
    return found


async def build(client: Client, *more: Resource) -> None:
    """The house, a patient and an account."""
    for resource in (
        {"resourceType": "Organization", "id": "house", "name": "House"},
        {"resourceType": "Patient", "id": "p1"},
        {"resourceType": "Account", "id": "a1", "status": "active", "subject": [{"reference": "Patient/p1"}]},
        *more,
    ):
        await put(client, resource)


KINDS = {"amount": "valueMoney", "tendered": "valueMoney", "request_id": "valueUri", "method": "valueCode"}
KINDS |= {
    "overpay": "valueCode",
    "reference": "valueString",
    "reason": "valueString",
    "dry_run": "valueBoolean",
    "claim": "valueBoolean",
}


def parameters(**values: Any) -> Resource:
    made = []
    for name, given in values.items():
        for value in given if isinstance(given, list) else [given]:
            kind = KINDS.get(name, "valueReference")
            if kind == "valueReference":
                value = {"reference": value}
            if kind == "valueMoney" and not isinstance(value, dict):
                value = euros(value)
            made.append({"name": name.replace("_", "-"), kind: value})
    return {"resourceType": "Parameters", "parameter": made}


async def ask(client: Client, address: str, **values: Any) -> Any:
    """The answer to an operation; with a `request-id` of its own unless it is given."""
    values.setdefault("request_id", f"urn:uuid:{uuid.uuid4()}")
    return await send(client, "POST", address, parameters(**values))


async def done(client: Client, address: str, **values: Any) -> Resource:
    """The resource that an operation answers with; the first of a Bundle."""
    answer = await ask(client, address, **values)
    assert answer.status_code == 200, answer.text
    found: Resource = decode(answer.content)
    return found["entry"][0]["resource"] if found["resourceType"] == "Bundle" else found


def diagnostics(answer: Any) -> str:
    return " ".join(issue["diagnostics"] for issue in answer.json()["issue"])


def payment(id: str, amount: str, *details: tuple[str, str], **more: Any) -> Resource:
    """A PaymentReconciliation; details are (reference, amount)."""
    return {
        "resourceType": "PaymentReconciliation",
        "id": id,
        "status": "active",
        "created": "2026-01-06",
        "paymentDate": "2026-01-06",
        "paymentAmount": euros(amount),
        "detail": [
            {"type": {"text": "Payment"}, "request": {"reference": to}, "amount": euros(part)}
            for to, part in details
        ],
        **more,
    }
