"""A small ward to test with: one site, two wards, rooms, beds, patients; and short ways to write stays."""

from __future__ import annotations

import uuid
from typing import Any

from tests.conftest import Client
from tests.rest.resources import bundle, put

Resource = dict[str, Any]
OSLER = "https://osler.health/fhir/StructureDefinition/"
V2_0116 = "http://terminology.hl7.org/CodeSystem/v2-0116"


def place(id: str, kind: str, part_of: str | None = None, **more: Any) -> Resource:
    made = {
        "resourceType": "Location",
        "id": id,
        "status": "active",
        "name": id,
        "mode": "instance",
        "physicalType": {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/location-physical-type", "code": kind}
            ]
        },
        **more,
    }
    return made if part_of is None else {**made, "partOf": {"reference": f"Location/{part_of}"}}


def bed(id: str, room: str, code: str | None = None, **more: Any) -> Resource:
    if code is not None:
        more["operationalStatus"] = {"system": V2_0116, "code": code}
    return place(id, "bd", room, **more)


def patient(id: str, gender: str = "female", born: str = "1980-05-01") -> Resource:
    name = [{"family": id.title(), "given": ["Pat"]}]
    return {"resourceType": "Patient", "id": id, "gender": gender, "birthDate": born, "name": name}


def rules(**parts: Any) -> Resource:
    """The extension of ward rules; values by the sub-extension, with `_` for `-`."""
    kinds = {"gender": "valueCode", "isolation": "valueCode", "maximum-weight": "valueQuantity"}
    made = []
    for name, given in parts.items():
        url = name.replace("_", "-")
        for value in given if isinstance(given, list) else [given]:
            kind = kinds.get(url, "valueAge" if url.endswith("-age") else "valueCodeableConcept")
            made.append({"url": url, kind: value})
    return {"url": OSLER + "ward-rules", "extension": made}


def years(value: int) -> Resource:
    return {"value": value, "system": "http://unitsofmeasure.org", "code": "a", "unit": "years"}


def concept(text: str, code: str | None = None) -> Resource:
    return (
        {"text": text} if code is None else {"coding": [{"system": "urn:test", "code": code}], "text": text}
    )


def at(bed_id: str, status: str = "active", **more: Any) -> Resource:
    return {"location": {"reference": f"Location/{bed_id}"}, "status": status, **more}


def stay(
    id: str, patient_id: str, *places: Resource, status: str = "in-progress", code: str = "IMP", **more: Any
) -> Resource:
    made = {
        "resourceType": "Encounter",
        "id": id,
        "status": status,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code},
        "subject": {"reference": f"Patient/{patient_id}"},
        **more,
    }
    return {**made, "location": list(places)} if places else made


async def build(client: Client, *more: Resource) -> None:
    """Ward w1 with rooms r1 (beds b1, b2, b3) and r2 (bed b4), ward w2 with room r3 (beds b5, b6), and eight patients."""
    places = [
        place("site", "si"),
        place("house", "bu", "site"),
        place("w1", "wa", "house"),
        place("w2", "wa", "house"),
        place("r1", "ro", "w1"),
        place("r2", "ro", "w1"),
        place("r3", "ro", "w2"),
        *(bed(b, "r1") for b in ("b1", "b2", "b3")),
        bed("b4", "r2"),
        *(bed(b, "r3") for b in ("b5", "b6")),
    ]
    people = [patient(f"p{n}", "female" if n % 2 else "male") for n in range(1, 9)]
    known = {f"{r['resourceType']}/{r['id']}": r for r in (*places, *people, *more)}
    answer = await client.post_json("", bundle("transaction", *(put(r) for r in known.values())))
    assert answer.status_code == 200, answer.text


async def state(client: Client, bed_id: str) -> str | None:
    location = (await client.get(f"/Location/{bed_id}")).json()
    code = location.get("operationalStatus", {}).get("code")
    return code if code is None else str(code)


async def read(client: Client, address: str) -> Resource:
    answer = await client.get(f"/{address}")
    assert answer.status_code == 200, answer.text
    found: Resource = answer.json()
    return {k: v for k, v in found.items() if k != "meta"}


async def tasks(client: Client, bed_id: str, status: str = "requested") -> list[Resource]:
    found = (await client.get("/Task", params={"focus": f"Location/{bed_id}", "status": status})).json()
    return [entry["resource"] for entry in found.get("entry", ())]


def diagnostics(answer: Any) -> str:
    return " ".join(issue["diagnostics"] for issue in answer.json()["issue"])


def parameters(**values: Any) -> Resource:
    """Parameters by name (`_` for `-`); lists repeat, texts that are addresses are References."""
    made: list[Resource] = []
    for name, given in values.items():
        for value in given if isinstance(given, list) else [given]:
            made.append({"name": name.rstrip("_").replace("_", "-"), **_valued(name, value)})
    return {"resourceType": "Parameters", "parameter": made}


KINDS = {
    "at": "valueDateTime",
    "planned_start": "valueDateTime",
    "expected_discharge": "valueDateTime",
    "expected_return": "valueDateTime",
    "hold_until": "valueDateTime",
    "until": "valueDateTime",
    "from_": "valueDateTime",
    "as_of": "valueDateTime",
    "request_id": "valueUri",
    "period": "valuePeriod",
    "weight": "valueQuantity",
    "birth_date": "valueDate",
    "_count": "valuePositiveInt",
    "same_day": "valueDecimal",
    "class_": "valueCoding",
}


def _valued(name: str, value: Any) -> Resource:
    if name in KINDS:
        return {KINDS[name]: value}
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, dict):
        return {"valueCodeableConcept": value}
    if "/" in value:
        return {"valueReference": {"reference": value}}
    return {"valueCode": value}


async def call(client: Client, address: str, expected: int = 200, **values: Any) -> Resource:
    """The answer of an operation; a `request-id` is made unless it is given and the operation takes one."""
    if address.startswith("Encounter") and "request_id" not in values:
        values["request_id"] = f"urn:uuid:{uuid.uuid4()}"
    answer = await client.post_json(f"/{address}", parameters(**values))
    assert answer.status_code == expected, answer.text
    found: Resource = answer.json()
    return found
