"""A small billing office to test with: a hospital, a patient, an account, a stay, a price list; and short ways to work there."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from fhir_r4.jsonio import decode_object, encode
from fhir_server.app import Application
from tests.conftest import Client
from tests.rest.resources import bundle, put

Resource = dict[str, Any]
OSLER = "https://osler.health/fhir/StructureDefinition/"
LIST = "https://hospital.test/ChargeItemDefinition/"
CODES = "https://hospital.test/codes"
D = Decimal


def code(name: str) -> Resource:
    return {"coding": [{"system": CODES, "code": name}], "text": name.title()}


def money(value: str, currency: str = "EUR") -> Resource:
    return {"value": D(value), "currency": currency}


def definition(
    name: str, *components: Resource, version: str = "1", for_code: Resource | None = None, **more: Any
) -> Resource:
    made = {
        "resourceType": "ChargeItemDefinition",
        "id": f"{name}-{version}",
        "url": LIST + name,
        "version": version,
        "status": "active",
        "code": for_code or code(name),
        **more,
    }
    return (
        made if "propertyGroup" in more else {**made, "propertyGroup": [{"priceComponent": list(components)}]}
    )


def base(value: str, currency: str = "EUR") -> Resource:
    return {"type": "base", "amount": money(value, currency)}


def tax(rate: str, name: str = "VAT") -> Resource:
    return {"type": "tax", "factor": D(rate), "code": {"text": name}}


def charge(id: str, name: str = "visit", status: str = "billable", **more: Any) -> Resource:
    return {
        "resourceType": "ChargeItem",
        "id": id,
        "status": status,
        "definitionCanonical": [LIST + name],
        "code": code(name),
        "subject": {"reference": "Patient/p1"},
        "context": {"reference": "Encounter/e1"},
        "occurrenceDateTime": "2026-03-02",
        "account": [{"reference": "Account/a1"}],
        **more,
    }


def entry(**parts: Any) -> Resource:
    """An entry of the settings; parts by name with `_` for `-`."""
    kinds = {"from": "valueDate", "payment-days": "valueUnsignedInt", "currency": "valueCode"}
    made: list[Resource] = []
    for name, value in parts.items():
        url = name.rstrip("_").replace("_", "-")
        if isinstance(value, bool):
            made.append({"url": url, "valueBoolean": value})
        elif url == "tax-group":
            inner = [{"url": "code", "valueCode": value[0]}, {"url": "rate", "valueDecimal": D(value[1])}]
            made.append({"url": url, "extension": inner})
        elif isinstance(value, dict):
            made.append({"url": url, "valueMoney": value})
        elif "series" in url or url == "fiscal-year-start":
            made.append({"url": url, "valueString": value})
        else:
            made.append({"url": url, kinds.get(url, "valueCode"): value})
    return {"url": OSLER + "hospital-settings", "extension": made}


def hospital_settings(*entries: Resource) -> Resource:
    coding = {"system": "https://osler.health/fhir/CodeSystem/billing", "code": "hospital-settings"}
    return {
        "resourceType": "Basic",
        "id": "hospital-settings",
        "extension": list(entries),
        "code": {"coding": [coding]},
    }


def stay(id: str = "e1", account: str = "a1", patient: str = "p1", **more: Any) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": id,
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": f"Patient/{patient}"},
        "period": {"start": "2026-03-01T08:00:00Z"},
        "account": [{"reference": f"Account/{account}"}],
        **more,
    }


HOSPITAL: Resource = {
    "resourceType": "Organization",
    "id": "h1",
    "name": "St. Luke's Hospital",
    "identifier": [
        {"system": "urn:iso:std:iso:13616", "value": "DE89 3704 0044 0532 0130 00"},
        {"system": "urn:iso:std:iso:9362", "value": "COBADEFFXXX"},
        {"type": {"coding": [{"code": "TAX"}]}, "value": "DE 123 456 789"},
    ],
    "telecom": [
        {"system": "phone", "value": "+49 30 1234-0"},
        {"system": "email", "value": "billing@st-lukes.test"},
    ],
    "address": [{"line": ["Am Park 7"], "postalCode": "10115", "city": "Berlin", "country": "Germany"}],
}
PATIENT: Resource = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Müller-Łukasz", "given": ["Zoë"]}],
    "address": [{"line": ["Rosenweg 3", "3. Stock"], "postalCode": "80331", "city": "München"}],
}
ACCOUNT: Resource = {
    "resourceType": "Account",
    "id": "a1",
    "status": "active",
    "subject": [{"reference": "Patient/p1"}],
    "owner": {"reference": "Organization/h1"},
}
PRICES = (
    definition("visit", base("100.00"), tax("0.20")),
    definition("xray", base("57.50"), tax("0.20")),
    definition("plain", base("10.00")),
)


async def send(client: Client, method: str, url: str, resource: Resource, **headers: str) -> Any:
    """A request whose decimals are written as they are."""
    names = {"content-type": "application/fhir+json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await client.request(method, url, content=encode(resource), headers=names)


async def build(client: Client, *more: Resource) -> None:
    """The hospital h1, the patient p1 with account a1 and visit e1, the price list, and what is given besides."""
    known = {
        f"{r['resourceType']}/{r['id']}": r for r in (HOSPITAL, PATIENT, ACCOUNT, stay(), *PRICES, *more)
    }
    answer = await send(client, "POST", "", bundle("transaction", *(put(r) for r in known.values())))
    assert answer.status_code == 200, answer.text


async def write(client: Client, resource: Resource, expected: int = 201) -> Resource:
    answer = await send(client, "PUT", f"/{resource['resourceType']}/{resource['id']}", resource)
    assert answer.status_code == expected, answer.text
    return decode_object(answer.content)


async def read(client: Client, address: str) -> Resource:
    """The resource as it stands, without its meta."""
    answer = await client.get(f"/{address}")
    assert answer.status_code == 200, answer.text
    return {k: v for k, v in decode_object(answer.content).items() if k != "meta"}


def parameters(**values: Any) -> Resource:
    made: list[Resource] = []
    for name, given in values.items():
        for value in given if isinstance(given, list) else [given]:
            made.append({"name": name.rstrip("_").replace("_", "-"), **_valued(name, value)})
    return {"resourceType": "Parameters", "parameter": made}


KINDS = {
    "request_id": "valueUri",
    "until": "valueDateTime",
    "date": "valueDateTime",
    "at": "valueDateTime",
    "occurrence": "valueDateTime",
    "period": "valuePeriod",
    "series": "valueString",
    "reason": "valueString",
    "split_by": "valueCode",
    "charges": "valueCode",
    "year": "valueInteger",
    "quantity": "valueDecimal",
    "sequence": "valuePositiveInt",
    "code": "valueCodeableConcept",
}


def _valued(name: str, value: Any) -> Resource:
    if name == "line":
        return {"part": parameters(**value)["parameter"]}
    if name in KINDS:
        return {KINDS[name]: value}
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, dict):
        return {"resource": value} if "resourceType" in value else {"valueMoney": value}
    return {"valueReference": {"reference": value}}


READS = ("$price", "$statement", "$ageing", "$render", "$verify-series")


async def call(client: Client, address: str, expected: int = 200, **values: Any) -> Resource:
    """The answer of an operation; a `request-id` is made unless it is given or the operation takes none."""
    name = address.rpartition("/")[2]
    if name not in (*READS, "$apply") and "request_id" not in values:
        values["request_id"] = f"urn:uuid:{uuid.uuid4()}"
    answer = await send(client, "POST", f"/{address}", parameters(**values))
    assert answer.status_code == expected, answer.text
    return decode_object(answer.content)


def resources(bundle: Resource) -> list[Resource]:
    return [
        e["resource"] for e in bundle.get("entry", ()) if e["resource"]["resourceType"] != "OperationOutcome"
    ]


def told(answer: Resource) -> str:
    return " ".join(issue["diagnostics"] for issue in answer["issue"])


async def drafted(client: Client, **values: Any) -> Resource:
    """The one draft that $invoice makes of account a1."""
    (made,) = resources(await call(client, "Account/a1/$invoice", **values))
    return made


async def issued(client: Client, *charges: Resource, **values: Any) -> Resource:
    """An invoice over the charges, issued."""
    for one in charges:
        await write(client, one)
    names = [f"ChargeItem/{c['id']}" for c in charges]
    draft = await drafted(client, **({"charge_item": names} if names else {}))
    return await call(client, f"Invoice/{draft['id']}/$issue", **values)


def number(invoice: Resource) -> str:
    system = "https://osler.health/fhir/sid/invoice-number"
    return next(i["value"] for i in invoice["identifier"] if i.get("system") == system)


def gross(invoice: Resource) -> Decimal:
    value = invoice["totalGross"]["value"]
    return D(value)


async def in_background(app: Application) -> None:
    """What a server does besides answering, once."""
    await app.worker.step()
