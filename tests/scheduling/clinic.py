"""A clinic whose hours are stated by rules: a doctor in a role, a service, two rooms, and a scanner, in Berlin."""

from __future__ import annotations

from typing import Any

import httpx

from tests.scheduling.desk import Desk, parameters, ref, rules, schedule

BERLIN = {"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "Europe/Berlin"}
SPECIALTY = "http://snomed.info/sct"
CARDIOLOGY = {"coding": [{"system": SPECIALTY, "code": "394579002"}]}
CHECKUP = {"coding": [{"system": "http://example.org/visits", "code": "checkup"}]}
REQUIRED = "https://osler.health/fhir/StructureDefinition/required-resource"
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def hours(start: str, end: str, days: list[str] | None = None) -> list[dict[str, Any]]:
    return [
        {
            "daysOfWeek": days or WEEKDAYS,
            "availableStartTime": f"{start}:00",
            "availableEndTime": f"{end}:00",
        }
    ]


def role(id: str, practitioner: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "PractitionerRole",
        "id": id,
        "practitioner": ref(f"Practitioner/{practitioner}"),
        "availableTime": hours("09:00", "12:00"),
        **more,
    }


def location(id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Location", "id": id, "status": "active", "name": id, **more}


def rooms() -> list[dict[str, Any]]:
    opening = [{"daysOfWeek": WEEKDAYS, "openingTime": "08:00:00", "closingTime": "18:00:00"}]
    return [
        location(
            "house",
            extension=[BERLIN],
            address={"line": ["1 Main Street"], "city": "Bremen"},
            managingOrganization=ref("Organization/hospital"),
        ),
        *(location(f"room{n}", partOf=ref("Location/house"), hoursOfOperation=opening) for n in (1, 2)),
    ]


async def furnish(desk: Desk) -> None:
    """Doctors da (room 1, cardiology) and db (any), the two rooms and a scanner, each with a Schedule."""
    await desk.put_ok(
        {"resourceType": "Organization", "id": "hospital", "name": "Hospital"},
        *rooms(),
        {"resourceType": "Device", "id": "scanner"},
        *(
            {"resourceType": "Practitioner", "id": d, "identifier": [{"system": "urn:n", "value": d}]}
            for d in ("da", "db")
        ),
        role("ra", "da", location=[ref("Location/room1")], specialty=[CARDIOLOGY]),
        role("rb", "db", extension=[BERLIN], availableTime=hours("10:00", "14:00", ["mon", "tue"])),
        schedule("sa", "PractitionerRole/ra", serviceType=[CHECKUP]),
        schedule("sb", "PractitionerRole/rb"),
        schedule("s1", "Location/room1"),
        schedule("s2", "Location/room2"),
        schedule("scanner", "Device/scanner", extension=[BERLIN]),
    )


def minutes(number: int) -> dict[str, Any]:
    return {"value": number, "unit": "min", "system": "http://unitsofmeasure.org", "code": "min"}


async def find(desk: Desk, start: str, end: str, _count: int = 1000, **given: Any) -> httpx.Response:
    body = parameters(**given)
    plain = [
        {"name": "start", "valueDateTime": start},
        {"name": "end", "valueDateTime": end},
        {"name": "_count", "valuePositiveInt": _count},
    ]
    return await desk.post_json("Appointment/$find", {**body, "parameter": [*plain, *body["parameter"]]})


async def found(desk: Desk, start: str, end: str, **given: Any) -> list[dict[str, Any]]:
    """The proposals; checks that `total` is their number."""
    response = await find(desk, start, end, **given)
    assert response.status_code == 200, response.text
    bundle = response.json()
    entries = [e["resource"] for e in bundle.get("entry", ()) if e["search"]["mode"] == "match"]
    assert bundle["total"] == len(entries)
    return entries


def starts(proposals: list[dict[str, Any]]) -> list[str]:
    return [p["start"][:16] for p in proposals]


def actors(proposal: dict[str, Any]) -> list[str]:
    return [p["actor"]["reference"] for p in proposal["participant"] if p["required"] == "required"]


__all__ = [
    "Desk",
    "actors",
    "find",
    "found",
    "furnish",
    "hours",
    "minutes",
    "ref",
    "role",
    "rules",
    "schedule",
    "starts",
]
