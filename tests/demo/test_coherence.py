"""The demo's records make sense: nobody is in two places, nothing happens before birth, after death or tomorrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from fhir_server.demo.elements import ZONE
from fhir_server.demo.generate import ANCHOR
from fhir_server.interactions.references import references

Resource = dict[str, Any]
Hospital = dict[str, list[Resource]]

NOW = datetime(ANCHOR.year, ANCHOR.month, ANCHOR.day, 12, tzinfo=ZONE)
PLANS = {"Slot", "Schedule", "ChargeItemDefinition", "Medication", "Questionnaire"}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def overlapping(intervals: list[tuple[datetime, datetime]]) -> bool:
    ordered = sorted(intervals)
    return any(a[1] > b[0] for a, b in pairwise(ordered))


def interval(period: Resource) -> tuple[datetime, datetime]:
    return moment(period["start"]), moment(period["end"]) if "end" in period else datetime.max.replace(
        tzinfo=ZONE
    )


def inpatient(hospital: Hospital) -> list[Resource]:
    return [e for e in hospital["Encounter"] if e["class"]["code"] == "IMP"]


def subject_of(resource: Resource) -> str | None:
    for name in ("subject", "patient", "beneficiary"):
        target = resource.get(name)
        if isinstance(target, dict) and target["reference"].startswith("Patient/"):
            return str(target["reference"])
    actors = [p["actor"]["reference"] for p in resource.get("participant", ()) if "actor" in p]
    return next((str(a) for a in actors if a.startswith("Patient/")), None)


def times(node: Any) -> Iterator[str]:
    """Every instant or date-time with an offset."""
    if isinstance(node, dict):
        for value in node.values():
            yield from times(value)
    elif isinstance(node, list):
        for value in node:
            yield from times(value)
    elif isinstance(node, str) and len(node) == 25 and node[10] == "T":
        yield node


def test_a_bed_has_one_patient_at_a_time(hospital: Hospital) -> None:
    beds: dict[str, list[tuple[datetime, datetime]]] = {}
    for encounter in inpatient(hospital):
        for place in encounter["location"]:
            beds.setdefault(place["location"]["reference"], []).append(interval(place["period"]))
    assert sum(len(b) for b in beds.values()) > 80
    assert [bed for bed, taken in beds.items() if overlapping(taken)] == []


def test_a_patient_has_one_stay_at_a_time(hospital: Hospital) -> None:
    stays: dict[str, list[tuple[datetime, datetime]]] = {}
    for encounter in hospital["Encounter"]:
        stays.setdefault(encounter["subject"]["reference"], []).append(interval(encounter["period"]))
    assert [patient for patient, taken in stays.items() if overlapping(taken)] == []


def test_live_stays_are_in_occupied_beds_and_no_others_are_occupied(hospital: Hospital) -> None:
    live = [e for e in inpatient(hospital) if e["status"] == "in-progress"]
    used = [p["location"]["reference"] for e in live for p in e["location"] if p["status"] == "active"]
    occupied = {
        f"Location/{place['id']}"
        for place in hospital["Location"]
        if place.get("operationalStatus", {}).get("code") == "O"
    }
    assert len(live) == len(used) == 40
    assert set(used) == occupied


def test_a_room_has_people_of_one_gender(hospital: Hospital) -> None:
    room_of = {f"Location/{p['id']}": p["partOf"]["reference"] for p in hospital["Location"] if "partOf" in p}
    gender_of = {f"Patient/{p['id']}": p["gender"] for p in hospital["Patient"]}
    rooms: dict[str, set[str]] = {}
    for encounter in inpatient(hospital):
        for place in encounter["location"]:
            if place["status"] == "active":
                room = room_of[place["location"]["reference"]]
                rooms.setdefault(room, set()).add(gender_of[encounter["subject"]["reference"]])
    assert max(len(genders) for genders in rooms.values()) == 1


def test_a_doctor_has_one_patient_at_a_time(hospital: Hospital) -> None:
    taken: Counter[tuple[str, str]] = Counter()
    for appointment in hospital["Appointment"]:
        if "start" in appointment:
            for participant in appointment["participant"]:
                taken[participant["actor"]["reference"], appointment["start"]] += 1
    people = [key for key, count in taken.items() if count > 1 and not key[0].startswith("Location/")]
    assert people == []


def test_bookings_and_slots_agree(hospital: Hospital) -> None:
    booked = {a["slot"][0]["reference"]: a for a in hospital["Appointment"] if "slot" in a}
    slots = {f"Slot/{s['id']}": s for s in hospital["Slot"]}
    assert len(booked) > 50
    expected = {"booked": "busy", "pending": "busy-tentative"}
    for reference, appointment in booked.items():
        slot = slots[reference]
        assert (slot["start"], slot["end"]) == (appointment["start"], appointment["end"])
        assert slot["status"] == expected[appointment["status"]]
    for reference, slot in slots.items():
        if slot["status"] in ("busy", "busy-tentative"):
            assert reference in booked
    assert {s["status"] for s in slots.values()} == {"free", "busy", "busy-tentative", "busy-unavailable"}


def test_appointments_are_booked_ahead_and_done_behind(hospital: Hospital) -> None:
    for appointment in hospital["Appointment"]:
        if "start" in appointment:
            ahead = moment(appointment["start"]) > NOW
            assert (appointment["status"] in ("booked", "pending")) == ahead
            assert moment(appointment["created"]) <= moment(appointment["start"])
            assert moment(appointment["created"]) <= NOW


def test_nothing_recorded_is_later_than_now(hospital: Hospital) -> None:
    late = [
        (r["resourceType"], r["id"])
        for type_name, resources in hospital.items()
        if type_name not in PLANS | {"Appointment", "MedicationRequest", "CarePlan"}
        for r in resources
        if any(moment(t) > NOW for t in times(r))
    ]
    assert late == []


def test_nothing_happens_to_the_dead(hospital: Hospital) -> None:
    deaths = {
        f"Patient/{p['id']}": moment(p["deceasedDateTime"])
        for p in hospital["Patient"]
        if "deceasedDateTime" in p
    }
    assert len(deaths) == 5
    for type_name, resources in hospital.items():
        for resource in resources:
            death = deaths.get(subject_of(resource) or "")
            if death is not None and type_name != "MedicationRequest":
                assert all(moment(t) <= death for t in times(resource)), (type_name, resource["id"])
            if death is not None and type_name == "MedicationRequest":
                assert moment(resource["authoredOn"]) <= death
                assert resource["status"] != "active"


def test_nothing_happens_before_birth(hospital: Hospital) -> None:
    births = {f"Patient/{p['id']}": p["birthDate"] for p in hospital["Patient"]}
    for resources in hospital.values():
        for resource in resources:
            born = births.get(subject_of(resource) or "")
            if born is not None:
                assert all(t[:10] >= born for t in times(resource)), (
                    resource["resourceType"],
                    resource["id"],
                )
    for condition in hospital["Condition"]:
        onset = condition["onsetDateTime"]
        assert onset >= births[condition["subject"]["reference"]][: len(onset)]


def test_periods_do_not_run_backwards(hospital: Hospital) -> None:
    def periods(node: Any) -> Iterator[Resource]:
        if isinstance(node, dict):
            if isinstance(node.get("start"), str) and isinstance(node.get("end"), str):
                yield node
            for value in node.values():
                yield from periods(value)
        elif isinstance(node, list):
            for value in node:
                yield from periods(value)

    found = list(periods(hospital))
    assert len(found) > 1000
    assert [p for p in found if p["start"] > p["end"] and moment(p["start"]) > moment(p["end"])] == []


def test_everything_of_a_patient_stays_with_that_patient(hospital: Hospital) -> None:
    owner = {
        f"{r['resourceType']}/{r['id']}": subject_of(r)
        for resources in hospital.values()
        for r in resources
        if subject_of(r) is not None
    }
    for resources in hospital.values():
        for resource in resources:
            own = subject_of(resource)
            if own is not None:
                others = {owner[t] for t in references(resource) if t in owner}
                assert others <= {own}, (resource["resourceType"], resource["id"])


def test_what_is_dispensed_has_not_expired(hospital: Hospital) -> None:
    expiry = {
        f"Medication/{m['id']}": m["batch"]["expirationDate"] for m in hospital["Medication"] if "batch" in m
    }
    assert len(hospital["MedicationDispense"]) > 50
    for dispense in hospital["MedicationDispense"]:
        lot = expiry[dispense["medicationReference"]["reference"]]
        assert date.fromisoformat(lot) > moment(dispense["whenHandedOver"]).date()


def test_laboratory_flags_follow_from_the_reference_range(hospital: Hospital) -> None:
    flags: Counter[str] = Counter()
    for observation in hospital["Observation"]:
        if "referenceRange" in observation:
            value = observation["valueQuantity"]["value"]
            low, high = (observation["referenceRange"][0][n]["value"] for n in ("low", "high"))
            flag = observation["interpretation"][0]["coding"][0]["code"]
            assert flag == ("L" if value < low else "H" if value > high else "N")
            flags[flag] += 1
    assert set(flags) == {"N", "L", "H"}


def test_locations_form_a_tree_from_site_to_bed(hospital: Hospital) -> None:
    places = {f"Location/{p['id']}": p for p in hospital["Location"]}
    for place in places.values():
        kinds = [place["physicalType"]["coding"][0]["code"]]
        while "partOf" in place:
            place = places[place["partOf"]["reference"]]
            kinds.append(place["physicalType"]["coding"][0]["code"])
        assert kinds[-1] == "si"
        if kinds[0] == "bd":
            assert kinds == ["bd", "ro", "wa", "bu", "si"]
