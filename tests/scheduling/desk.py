"""A small clinic for the tests of appointments: one doctor and one room, at a time that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from fhir_r4.temporal import format_instant, parse_interval
from fhir_server.app import create_app
from fhir_server.http.dispatcher import ActorOf
from fhir_server.interactions.indexing import begin
from fhir_server.settings import Settings
from fhir_server.store.memory import MemoryStore
from fhir_server.store.protocol import Store
from fhir_server.store.sqlite.store import SqliteStore
from tests.conftest import BASE, Client, stop
from tests.store.making import Clock

NOW = parse_interval("2026-03-02T08:00:00Z")[0]
MINUTE = 60_000_000
RULES = "https://osler.health/fhir/StructureDefinition/scheduling-rules"
OURS = "https://osler.health/fhir/StructureDefinition/"


class Desk(Client):
    """A client of a server whose clock the test sets."""

    clock: Clock

    async def put_ok(self, *resources: dict[str, Any]) -> None:
        for resource in resources:
            response = await self.put_json(f"{resource['resourceType']}/{resource['id']}", resource)
            assert response.status_code in (200, 201), response.text

    async def read(self, address: str) -> dict[str, Any]:
        response = await self.get(address)
        assert response.status_code == 200, response.text
        return response.json()

    async def slot_status(self, id: str = "s1") -> str:
        return (await self.read(f"Slot/{id}"))["status"]

    async def operate(
        self, address: str, _headers: dict[str, str] | None = None, **given: Any
    ) -> httpx.Response:
        """Call an operation; the names of parameters are written with `_` for `-`."""
        names = {k.replace("_", "-"): v for k, v in _headers.items()} if _headers else {}
        body = parameters(**given)
        return await self.post_json(address, body, **names)

    async def set_status(self, id: str, status: str, **more: Any) -> httpx.Response:
        """PUT an Appointment as it is, with another status."""
        appointment = await self.read(f"Appointment/{id}")
        return await self.put_json(f"Appointment/{id}", {**appointment, "status": status, **more})


def parameters(**given: Any) -> dict[str, Any]:
    found = []
    for name, values in given.items():
        for value in values if isinstance(values, list) else [values]:
            found.append({"name": name.replace("_", "-"), **_value(value)})
    return {"resourceType": "Parameters", "parameter": found}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and "resourceType" in value:
        return {"resource": value}
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int):
        return {"valueInteger": value}
    if isinstance(value, str):
        return {"valueString": value}
    for kind, member in (
        ("Reference", "reference"),
        ("CodeableConcept", "coding"),
        ("CodeableConcept", "text"),
    ):
        if member in value:
            return {f"value{kind}": value}
    return value


@asynccontextmanager
async def desk_at(
    store: Store, clock: Clock, actor_of: ActorOf | None = None, **settings: Any
) -> AsyncIterator[Desk]:
    app = create_app(Settings(log_level="error", **settings), store, clock=clock, actor_of=actor_of)
    await begin(app.services)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    client = Desk(transport=transport, base_url=BASE, timeout=30)
    client.app, client.clock = app, clock
    try:
        yield client
    finally:
        await stop(client)


def store_of(kind: str, folder: Path, clock: Clock) -> Store:
    return MemoryStore(clock) if kind == "memory" else SqliteStore(folder / "osler.db", clock, readers=1)


def at(minutes: int) -> str:
    """The instant so many minutes after tomorrow 09:00 UTC."""
    return format_instant(parse_interval("2026-03-03T09:00:00Z")[0] + minutes * MINUTE)


def ref(address: str) -> dict[str, str]:
    return {"reference": address}


def schedule(id: str, *actors: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Schedule", "id": id, "active": True, "actor": [ref(a) for a in actors], **more}


def rules(**stated: Any) -> list[dict[str, Any]]:
    """The extension with rules: integers as such, minutes as a string such as `10 min`."""
    parts = []
    for name, value in stated.items():
        url = name.replace("_", "-")
        if isinstance(value, str):
            number, unit = value.split()
            duration = {
                "value": int(number),
                "unit": unit,
                "system": "http://unitsofmeasure.org",
                "code": unit,
            }
            parts.append({"url": url, "valueDuration": duration})
        elif isinstance(value, bool):
            parts.append({"url": url, "valueBoolean": value})
        else:
            parts.append({"url": url, "valuePositiveInt": value})
    return [{"url": RULES, "extension": parts}]


def slot(id: str = "s1", start: int = 0, end: int = 30, schedule: str = "d1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Slot",
        "id": id,
        "schedule": ref(f"Schedule/{schedule}"),
        "status": "free",
        "start": at(start),
        "end": at(end),
        **more,
    }


def appointment(
    *actors: str,
    start: int = 0,
    end: int = 30,
    slots: tuple[str, ...] = (),
    status: str = "booked",
    **more: Any,
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Appointment",
        "status": status,
        "start": at(start),
        "end": at(end),
    }
    if slots:
        made["slot"] = [ref(f"Slot/{id}") for id in slots]
    made["participant"] = [
        {"actor": ref(actor), "required": "required", "status": "accepted"}
        for actor in ("Patient/p1", *actors)
    ]
    return {**made, **more}


def hold(*actors: str, expires: int, **more: Any) -> dict[str, Any]:
    """A pending Appointment that is held until so many microseconds after NOW."""
    extension = {"url": OURS + "hold-expires", "valueInstant": format_instant(NOW + expires)}
    return appointment(*actors, status="pending", extension=[extension], **more)
