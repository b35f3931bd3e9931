"""scheduling: $find over four weeks of 50 schedules that are booked to three fifths, and $book of what it offers.

Beside them stands the wait of a bare create on the same server, in the same run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from benchmarks import workload
from benchmarks.client import Load, drive, wire
from benchmarks.figures import Figure
from benchmarks.options import Options

SCHEDULES = 50
WEEKS = 4
BOOKED = 0.6
FINDS = 300
BOOKINGS = 200
RULES = "https://osler.health/fhir/StructureDefinition/scheduling-rules"
# half hours of a working day, from 8 to 12 and from 13 to 17
HALVES = (*range(16, 24), *range(26, 34))


def run(options: Options) -> list[Figure]:
    first = datetime.now(UTC).date() + timedelta(days=1)
    with tempfile.TemporaryDirectory() as folder, options.serving(folder) as server:
        port = server.port
        booked = load(port, first)
        question = f"/fhir/Appointment/$find?start={first}&end={first + timedelta(days=7 * WEEKS - 1)}"
        offered = ask(port, f"{question}&_count=1000")
        finds = drive(port, [wire("GET", question)] * options.amount(FINDS), 1).require(200)
        proposals = Random(1).sample(offered["entry"], min(len(offered["entry"]), options.amount(BOOKINGS)))
        bookings = drive(port, [book(p["resource"]["id"]) for p in proposals], 1).require(200)
        bare = drive(port, list(creates(options.amount(BOOKINGS))), 1).require(201)
    note = f"{SCHEDULES} schedules, {booked:,} bookings, {offered['total']:,} proposals; p50 {ms(finds, 0.5):.1f} ms"
    beside = (
        f"p50 {ms(bookings, 0.5):.1f} ms; a bare create p50 {ms(bare, 0.5):.1f}, p95 {ms(bare, 0.95):.1f} ms"
    )
    return [
        Figure("$find over four weeks, p95", ms(finds, 0.95), "ms", target=50, at_most=True, note=note),
        Figure("$book, p95", ms(bookings, 0.95), "ms", target=25, at_most=True, note=beside),
    ]


def ms(load: Load, share: float) -> float:
    return load.percentile(share) * 1000


def load(port: int, first: date) -> int:
    """Put the schedules and their bookings on the server; how many bookings."""
    requests = [
        wire("PUT", f"/fhir/{r['resourceType']}/{r['id']}", workload.as_bytes(r))
        for number in range(SCHEDULES)
        for r in staff(number)
    ]
    drive(port, requests, 4).require(201)
    chance = Random(2)
    bundles = [bundle(number, first, chance) for number in range(SCHEDULES)]
    drive(port, [wire("POST", "/fhir", workload.as_bytes(b)) for b in bundles], 1).require(200)
    return sum(len(b["entry"]) for b in bundles)


def staff(number: int) -> Iterator[dict[str, Any]]:
    days = ["mon", "tue", "wed", "thu", "fri"]
    hours = [("08:00:00", "12:00:00"), ("13:00:00", "17:00:00")]
    yield {"resourceType": "Practitioner", "id": f"p{number}"}
    yield {
        "resourceType": "PractitionerRole",
        "id": f"r{number}",
        "practitioner": {"reference": f"Practitioner/p{number}"},
        "availableTime": [
            {"daysOfWeek": days, "availableStartTime": start, "availableEndTime": end} for start, end in hours
        ],
    }
    length = {"value": 30, "unit": "min", "system": "http://unitsofmeasure.org", "code": "min"}
    yield {
        "resourceType": "Schedule",
        "id": f"s{number}",
        "extension": [{"url": RULES, "extension": [{"url": "duration", "valueDuration": length}]}],
        "actor": [{"reference": f"PractitionerRole/r{number}"}],
    }


def bundle(number: int, first: date, chance: Random) -> dict[str, Any]:
    entries = []
    for day in (first + timedelta(days=n) for n in range(7 * WEEKS)):
        for half in HALVES if day.weekday() < 5 else ():
            if chance.random() < BOOKED:
                start = datetime(day.year, day.month, day.day, tzinfo=UTC) + half * timedelta(minutes=30)
                resource = appointment(f"PractitionerRole/r{number}", start)
                entries.append({"resource": resource, "request": {"method": "POST", "url": "Appointment"}})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def appointment(actor: str, start: datetime) -> dict[str, Any]:
    return {
        "resourceType": "Appointment",
        "status": "booked",
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=30)).isoformat(),
        "participant": [
            {"actor": {"reference": reference}, "required": "required", "status": "accepted"}
            for reference in ("Patient/p", actor)
        ],
    }


def ask(port: int, path: str) -> dict[str, Any]:
    answers: list[bytes] = []
    drive(port, [wire("GET", path)], 1, answered=lambda _, body: answers.append(body)).require(200)
    found: dict[str, Any] = json.loads(answers[0])
    return found


def book(proposal: str) -> bytes:
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "appointment-reference", "valueReference": {"reference": f"Appointment/{proposal}"}},
            {
                "name": "patient-resource",
                "resource": {"resourceType": "Patient", "name": [{"text": proposal}]},
            },
        ],
    }
    return wire("POST", "/fhir/Appointment/$book", workload.as_bytes(parameters))


def creates(count: int) -> Iterator[bytes]:
    for patient in workload.patients(count):
        yield wire("POST", "/fhir/Patient", workload.as_bytes(patient))
