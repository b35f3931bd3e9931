"""Partner clinics that know only plain FHIR book over HTTP: by hand with httpx, and with two client libraries.

Each partner does the same: it searches a free Slot, posts an Appointment, is refused what another has taken, and cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import requests
from fhirclient.models.appointment import Appointment
from fhirclient.models.bundle import Bundle
from fhirclient.models.slot import Slot
from fhirclient.server import FHIRServer
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome

from tests.scenarios.conftest import QUIET
from tests.scenarios.servers import Server, osler, serving
from tests.scenarios.writers import HEADERS

DAY = "2091-03-05"
ON_BOTH_STORES = pytest.mark.parametrize("address", ["sqlite", "mongo"], indirect=True)
NINE = datetime(2091, 3, 5, 9, tzinfo=UTC)
HOURS = ("09:00", "09:30", "10:00")


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """The store: a file, or MongoDB where the test asks for both."""
    if getattr(request, "param", "sqlite") == "mongo":
        return str(request.getfixturevalue("mongo_address"))
    return f"sqlite:///{tmp_path}/osler.db"


@pytest.fixture
def alone(address: str) -> Iterator[Server]:
    with serving(address, variables=QUIET) as running:
        yield running


@pytest.fixture
def desk(alone: Server) -> Iterator[httpx.Client]:
    """The hospital's own desk: it has published three free Slots of a doctor."""
    with httpx.Client(base_url=base_of(alone), headers=HEADERS, timeout=30) as client:
        put(client, {"resourceType": "Practitioner", "id": "d"})
        put(client, {"resourceType": "Patient", "id": "p"})
        schedule = {"resourceType": "Schedule", "id": "s", "actor": [{"reference": "Practitioner/d"}]}
        put(client, schedule)
        for start, end in zip(HOURS, (*HOURS[1:], "10:30"), strict=True):
            put(client, slot(start, end))
        yield client


@pytest.fixture
def store(alone: Server, address: str) -> Iterator[str]:
    """The store of the server; when the test is over nothing in it contradicts anything."""
    yield address
    assert alone.terminate() == 0
    checked = osler("check", "--store", address)
    assert checked.code == 0, checked.output


def base_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/fhir/"


def put(client: httpx.Client, resource: dict[str, Any]) -> None:
    response = client.put(f"{resource['resourceType']}/{resource['id']}", json=resource)
    assert response.status_code == 201, response.text


def slot(start: str, end: str) -> dict[str, Any]:
    return {
        "resourceType": "Slot",
        "id": f"at-{start.replace(':', '')}",
        "schedule": {"reference": "Schedule/s"},
        "status": "free",
        "start": f"{DAY}T{start}:00Z",
        "end": f"{DAY}T{end}:00Z",
    }


def booking(slot: dict[str, Any]) -> dict[str, Any]:
    """What a partner sends to book a Slot that it has found."""
    return {
        "resourceType": "Appointment",
        "status": "booked",
        "slot": [{"reference": f"Slot/{slot['id']}"}],
        "start": slot["start"],
        "end": slot["end"],
        "participant": [{"actor": {"reference": "Patient/p"}, "status": "accepted"}],
    }


def free(client: httpx.Client) -> list[str]:
    """The ids of the Slots that the desk sees free."""
    found = client.get("Slot", params={"schedule": "Schedule/s", "status": "free", "_sort": "start"}).json()
    return [entry["resource"]["id"] for entry in found.get("entry", ())]


def made(partner: SyncFHIRClient, resource: dict[str, Any]) -> Any:
    """The resource as fhirpy has it before it is saved."""
    return partner.resource(resource["resourceType"], **resource)


@ON_BOTH_STORES
def test_a_partner_with_plain_http_books_moves_and_cancels(desk: httpx.Client, store: str) -> None:
    found = desk.get(f"Slot?schedule.actor=Practitioner/d&status=free&start=ge{DAY}&_sort=start").json()
    nine, half_past, ten = (entry["resource"] for entry in found["entry"])
    booked = desk.post("Appointment", json=booking(nine))
    assert booked.status_code == 201
    appointment = booked.json()
    address = f"Appointment/{appointment['id']}"
    assert booked.headers["location"].endswith(f"/{address}/_history/1")
    assert free(desk) == [half_past["id"], ten["id"]]

    # what another partner has seen free meanwhile is refused, by the Slot and by the doctor alike
    late = desk.post("Appointment", json=booking(nine))
    assert (late.status_code, late.json()["issue"][0]["code"]) == (409, "conflict")
    doctor = {"actor": {"reference": "Practitioner/d"}, "required": "required", "status": "accepted"}
    named = {k: v for k, v in booking(nine).items() if k != "slot"}
    named["participant"] = [*named["participant"], doctor]
    assert desk.post("Appointment", json=named).status_code == 409

    # moved by a PUT: the old Slot is free again in the same moment
    moved = {**appointment, "slot": [{"reference": f"Slot/{ten['id']}"}]}
    moved |= {"start": ten["start"], "end": ten["end"]}
    stale = desk.put(address, json=moved, headers={"if-match": 'W/"7"'})
    assert stale.status_code == 412
    answer = desk.put(address, json=moved, headers={"if-match": booked.headers["etag"]})
    assert (answer.status_code, free(desk)) == (200, [nine["id"], half_past["id"]])

    # no partner sets a Slot free that is taken, nor takes a way that the states do not allow
    freed = {**desk.get(f"Slot/{ten['id']}").json(), "status": "free"}
    assert desk.put(f"Slot/{ten['id']}", json=freed).status_code == 422
    assert desk.put(address, json={**answer.json(), "status": "fulfilled"}).status_code == 422

    cancelled = desk.put(address, json={**answer.json(), "status": "cancelled"})
    assert (cancelled.status_code, len(free(desk))) == (200, 3)
    again = desk.put(address, json={**cancelled.json(), "status": "booked"})
    assert again.status_code == 422


def test_a_transaction_of_a_partner_books_all_or_nothing(desk: httpx.Client, store: str) -> None:
    assert desk.post("Appointment", json=booking(slot("10:00", "10:30"))).status_code == 201
    entries = [
        {"resource": booking(slot(start, end)), "request": {"method": "POST", "url": "Appointment"}}
        for start, end in (("09:30", "10:00"), ("10:00", "10:30"))
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert desk.post("", json=bundle).status_code == 409
    assert free(desk) == ["at-0900", "at-0930"]


@ON_BOTH_STORES
def test_a_partner_with_fhirpy_books_and_cancels(desk: httpx.Client, alone: Server, store: str) -> None:
    partner = SyncFHIRClient(base_of(alone).rstrip("/"))
    found = partner.resources("Slot").search(schedule="Schedule/s", status="free").sort("start").fetch_all()
    nine = found[0]
    appointment = made(partner, booking(nine.serialize()))
    appointment.save()
    assert appointment.id is not None
    assert len(free(desk)) == 2

    with pytest.raises(OperationOutcome) as refused:
        made(partner, booking(nine.serialize())).save()
    assert refused.value.resource["issue"][0]["code"] == "conflict"

    appointment["status"] = "cancelled"
    appointment.save()
    kept = partner.reference("Appointment", appointment.id).to_resource()
    assert (kept["status"], kept["meta"]["versionId"]) == ("cancelled", "2")
    assert len(free(desk)) == 3


def test_a_merge_that_fhirpy_calls_patch_is_refused_and_changes_nothing(
    desk: httpx.Client, alone: Server, store: str
) -> None:
    # its patch sends a part of the resource as application/json, which FHIR does not know as a patch
    partner = SyncFHIRClient(base_of(alone).rstrip("/"))
    appointment = made(partner, booking(slot("09:00", "09:30")))
    appointment.save()
    with pytest.raises(OperationOutcome, match="media types"):
        appointment.patch(status="cancelled")
    assert len(free(desk)) == 2


@ON_BOTH_STORES
def test_a_partner_with_fhirclient_books_and_cancels(desk: httpx.Client, alone: Server, store: str) -> None:
    partner = FHIRServer(None, base_of(alone))
    where = {"schedule": "Schedule/s", "status": "free", "_sort": "start"}
    nine, *others = Slot.where(where).perform_resources_iter(partner)
    assert (len(others), nine.start.date) == (2, NINE)
    answer = Appointment(booking(nine.as_json())).create(partner)
    assert answer["status"] == "booked"
    assert len(free(desk)) == 2

    with pytest.raises(requests.HTTPError) as refused:
        Appointment(booking(nine.as_json())).create(partner)
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["issue"][0]["code"] == "conflict"

    kept = Appointment.read(answer["id"], partner)
    kept.status = "cancelled"
    assert kept.update(partner)["status"] == "cancelled"
    assert len(free(desk)) == 3


def test_what_operations_answer_is_read_by_fhirclient(desk: httpx.Client, alone: Server, store: str) -> None:
    partner = FHIRServer(None, base_of(alone))
    proposed = Bundle(partner.request_json(f"Appointment/$find?start={DAY}&end={DAY}&schedule=Schedule/s"))
    assert (proposed.type, proposed.total) == ("searchset", 3)
    reference = {"reference": f"Appointment/{proposed.entry[0].resource.id}"}
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "appointment-reference", "valueReference": reference},
            {"name": "patient-resource", "resource": {"resourceType": "Patient", "id": "p"}},
        ],
    }
    booked = Bundle(partner.post_json("Appointment/$book", parameters).json())
    assert booked.entry[0].resource.status == "booked"
    assert booked.entry[0].resource.start.date == NINE
    assert free(desk) == ["at-0930", "at-1000"]
