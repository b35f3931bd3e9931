"""The house: organisations, buildings, wards, rooms and 60 beds, and the services that are offered in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fhir_server.demo.elements import (
    SNOMED,
    TERMINOLOGY,
    UCUM,
    Resource,
    coding,
    concept,
    identifier,
    reference,
    timezone,
    typed,
)

HOSPITAL = "Organization/org-hospital"
BED_STATUS = {
    "C": "Closed",
    "H": "Housekeeping",
    "I": "Isolated",
    "K": "Contaminated",
    "O": "Occupied",
    "U": "Unoccupied",
}
DEPARTMENTS = {
    "medicine": "General Medicine",
    "surgery": "Surgery",
    "cardiology": "Cardiology",
    "paediatrics": "Paediatrics",
    "intensive-care": "Intensive Care",
    "emergency": "Emergency",
    "orthopaedics": "Orthopaedics",
    "dermatology": "Dermatology",
    "laboratory": "Laboratory",
    "radiology": "Radiology",
    "pharmacy": "Pharmacy",
}
PAYERS = {
    "payer-1": "Harbour Health Insurance",
    "payer-2": "Linden Mutual",
    "payer-3": "National Health Fund",
}
SERVICE_TYPES = {
    "medicine": ("124", "General Practice"),
    "surgery": ("221", "Surgery - General"),
    "cardiology": ("165", "Cardiology"),
    "paediatrics": ("200", "Paediatric Medicine"),
    "emergency": ("117", "Emergency Medical"),
    "orthopaedics": ("218", "Orthopaedic Surgery"),
    "dermatology": ("168", "Dermatology"),
    "laboratory": ("159", "Pathology - General"),
    "radiology": ("209", "Diag. Radiology /Xray /CT /Fluoroscopy"),
}
# id, name, role code of the place
PLACES = (
    *((f"consulting-{n}", f"Consulting room {n}", "OF") for n in range(1, 9)),
    ("emergency-department", "Emergency department", "ER"),
    ("theatre-1", "Operating theatre 1", "HU"),
    ("theatre-2", "Operating theatre 2", "HU"),
    ("laboratory", "Laboratory", "HLAB"),
    ("pharmacy", "Hospital pharmacy", "INPHARM"),
)


@dataclass(frozen=True, slots=True)
class Ward:
    """`rooms` has the number of beds of each room."""

    number: int
    department: str
    role: str
    rooms: tuple[int, ...]

    @property
    def id(self) -> str:
        return f"ward-{self.number}"

    def beds(self) -> Iterator[tuple[str, str]]:
        """(room id, bed id) of every bed."""
        bed = 0
        for room, size in enumerate(self.rooms, 1):
            for _ in range(size):
                bed += 1
                yield f"room-w{self.number}-{room:02d}", f"bed-w{self.number}-{bed:02d}"


WARDS = (
    Ward(1, "medicine", "HU", (4, 4, 4, 2, 1, 1)),
    Ward(2, "surgery", "HU", (4, 4, 2, 2, 1, 1)),
    Ward(3, "cardiology", "HU", (4, 4, 2, 2)),
    Ward(4, "paediatrics", "PEDU", (4, 2, 2, 1, 1)),
    Ward(5, "intensive-care", "ICU", (1, 1, 1, 1, 1, 1, 1, 1)),
)
WARD_RULES = "https://osler.health/fhir/StructureDefinition/ward-rules"
CHILDREN = {"value": 18, "unit": "years", "system": UCUM, "code": "a"}
MONITOR = coding(SNOMED, "706767009", "Patient data recorder")


def organizations() -> Iterator[Resource]:
    """The hospital, its departments, and those who pay."""
    yield typed(
        {
            "resourceType": "Organization",
            "id": "org-hospital",
            "identifier": [identifier("organization", "OSLER-01")],
            "active": True,
            "type": [concept("organization-type", "prov", "Healthcare provider")],
            "name": "Osler University Hospital",
            "alias": ["Ospidéal Ollscoile Osler"],
            "telecom": [
                {"system": "phone", "value": "+353 20 9100000", "use": "work"},
                {"system": "url", "value": "https://osler.example", "use": "work"},
            ],
            "address": [
                {"line": ["1 Infirmary Road"], "city": "Dublin", "postalCode": "X10 OSL1", "country": "IE"}
            ],
        }
    )
    for key, name in DEPARTMENTS.items():
        yield typed(
            {
                "resourceType": "Organization",
                "id": f"org-{key}",
                "active": True,
                "type": [concept("organization-type", "dept", "Hospital department")],
                "name": name,
                "partOf": reference(HOSPITAL),
            }
        )
    for key, name in PAYERS.items():
        yield typed(
            {
                "resourceType": "Organization",
                "id": key,
                "identifier": [identifier("payer", key.upper())],
                "active": True,
                "type": [concept("organization-type", "ins", "Insurance company")],
                "name": name,
            }
        )


def _place(
    id: str, name: str, physical: tuple[str, str], role: str, part_of: str | None, owner: str
) -> Resource:
    place: Resource = {
        "resourceType": "Location",
        "id": id,
        "identifier": [identifier("location", id.upper())],
        "status": "active",
        "name": name,
        "mode": "instance",
        "type": [{"coding": [coding("v3-RoleCode", role)]}],
        "physicalType": concept("location-physical-type", *physical),
        "managingOrganization": reference(owner),
    }
    if part_of is not None:
        place["partOf"] = reference(f"Location/{part_of}")
    return place


def locations(bed_status: Mapping[str, str]) -> Iterator[Resource]:
    """Site, buildings, wards, rooms, beds; `bed_status` has a code of v2-0116 for each bed that is not unoccupied."""
    site = _place("site-1", "Osler University Hospital, main site", ("si", "Site"), "HOSP", None, HOSPITAL)
    yield typed({**site, "extension": [timezone()]})
    yield typed(_place("building-1", "Main building", ("bu", "Building"), "HOSP", "site-1", HOSPITAL))
    yield typed(_place("building-2", "Outpatient building", ("bu", "Building"), "OF", "site-1", HOSPITAL))
    for id, name, role in PLACES:
        building = "building-2" if role == "OF" else "building-1"
        yield typed(_place(id, name, ("ro", "Room"), role, building, HOSPITAL))
    for ward in WARDS:
        yield from _ward(ward, bed_status)


def _ward(ward: Ward, bed_status: Mapping[str, str]) -> Iterator[Resource]:
    owner = f"Organization/org-{ward.department}"
    title = f"Ward {ward.number}"
    name = f"{title}, {DEPARTMENTS[ward.department]}"
    place = _place(ward.id, name, ("wa", "Ward"), ward.role, "building-1", owner)
    yield typed({**place, "extension": [{"url": WARD_RULES, "extension": _rules(ward)}]})
    for room in range(1, len(ward.rooms) + 1):
        id = f"room-w{ward.number}-{room:02d}"
        yield typed(_place(id, f"{title}, room {room}", ("ro", "Room"), ward.role, ward.id, owner))
    for room_id, bed_id in ward.beds():
        code = bed_status.get(bed_id, "U")
        status = coding(f"{TERMINOLOGY}v2-0116", code, BED_STATUS[code])
        bed = _place(bed_id, f"{title}, bed {bed_id[-2:]}", ("bd", "Bed"), ward.role, room_id, owner)
        yield typed({**bed, "operationalStatus": status})


def _rules(ward: Ward) -> list[Resource]:
    """Who may lie there: rooms of one gender, children by themselves, monitors in intensive care."""
    if ward.department == "paediatrics":
        return [{"url": "gender", "valueCode": "mixed"}, {"url": "maximum-age", "valueAge": CHILDREN}]
    if ward.department == "intensive-care":
        monitored = {"url": "equipment", "valueCodeableConcept": {"coding": [MONITOR]}}
        return [{"url": "gender", "valueCode": "mixed"}, monitored]
    return [{"url": "gender", "valueCode": "by-room"}]


def services() -> Iterator[Resource]:
    """What can be booked or ordered, by department."""
    for key, service_type in SERVICE_TYPES.items():
        always = key == "emergency"
        service: Resource = {
            "resourceType": "HealthcareService",
            "id": f"service-{key}",
            "active": True,
            "providedBy": reference(f"Organization/org-{key}"),
            "type": [concept("service-type", *service_type)],
            "location": [reference(f"Location/{_where(key)}")],
            "name": DEPARTMENTS[key]
            + (" clinic" if key not in ("laboratory", "radiology", "emergency") else ""),
            "appointmentRequired": key not in ("emergency", "laboratory"),
        }
        hours: Resource = {"daysOfWeek": ["mon", "tue", "wed", "thu", "fri"]}
        hours |= {"availableStartTime": "08:30:00", "availableEndTime": "17:00:00"}
        service["availableTime"] = [{"allDay": True} if always else hours]
        yield typed(service)


def _where(department: str) -> str:
    return {"emergency": "emergency-department", "laboratory": "laboratory"}.get(department, "building-2")
