"""The 25 people who work in the hospital, with their roles, hours and schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from fhir_server.demo.elements import SNOMED, Resource, concept, identifier, reference, timezone, typed
from fhir_server.demo.house import HOSPITAL, SERVICE_TYPES
from fhir_server.demo.names import pick_culture, pick_name

# department, role, how many
POSTS = (
    ("medicine", "doctor", 3),
    ("surgery", "doctor", 2),
    ("cardiology", "doctor", 2),
    ("paediatrics", "doctor", 2),
    ("orthopaedics", "doctor", 1),
    ("dermatology", "doctor", 1),
    ("emergency", "doctor", 2),
    ("intensive-care", "doctor", 1),
    ("radiology", "doctor", 1),
    ("laboratory", "doctor", 1),
    ("pharmacy", "pharmacist", 1),
    ("medicine", "nurse", 2),
    ("surgery", "nurse", 2),
    ("cardiology", "nurse", 1),
    ("paediatrics", "nurse", 1),
    ("intensive-care", "nurse", 1),
    ("emergency", "nurse", 1),
)
SPECIALTIES = {
    "medicine": ("394802001", "General medicine"),
    "surgery": ("394609007", "General surgery"),
    "cardiology": ("394579002", "Cardiology"),
    "paediatrics": ("394537008", "Paediatrics"),
    "orthopaedics": ("394801008", "Trauma and orthopaedics"),
    "dermatology": ("394582007", "Dermatology"),
    "emergency": ("773568002", "Emergency medicine"),
    "intensive-care": ("408478003", "Intensive care"),
    "radiology": ("394914008", "Radiology"),
    "laboratory": ("394595002", "Pathology"),
}
CLINICS = ("medicine", "surgery", "cardiology", "paediatrics", "orthopaedics", "dermatology")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")


@dataclass(frozen=True, slots=True)
class Worker:
    """`days` are the weekdays (0 is Monday) of the clinic; `room` the consulting room; both empty without one."""

    id: str
    department: str
    role: str
    gender: str
    family: str
    given: tuple[str, ...]
    days: tuple[int, ...] = ()
    room: str = ""

    @property
    def name(self) -> str:
        title = "Dr " if self.role == "doctor" else ""
        return f"{title}{' '.join(self.given)} {self.family}"

    @property
    def schedule(self) -> str:
        return f"schedule-{self.id.removeprefix('prac-')}"


def workers(seed: int) -> tuple[Worker, ...]:
    """Everybody, in the order of POSTS."""
    made: list[Worker] = []
    clinics = 0
    posts = [(department, role) for department, role, count in POSTS for _ in range(count)]
    for number, (department, role) in enumerate(posts, 1):
        chance = Random(f"{seed}:staff:{number}")
        gender = chance.choice(("female", "male"))
        family, given = pick_name(chance, pick_culture(chance), gender)
        days: tuple[int, ...] = ()
        room = ""
        if role == "doctor" and department in CLINICS:
            off = chance.randrange(5)
            days = tuple(d for d in range(5) if d != off)
            room = f"consulting-{clinics % 8 + 1}"
            clinics += 1
        made.append(Worker(f"prac-{number:02d}", department, role, gender, family, tuple(given), days, room))
    return tuple(made)


def practitioners(staff: tuple[Worker, ...]) -> Iterator[Resource]:
    for number, worker in enumerate(staff, 1):
        name: Resource = {"use": "official", "family": worker.family, "given": list(worker.given)}
        if worker.role == "doctor":
            name["prefix"] = ["Dr"]
        yield typed(
            {
                "resourceType": "Practitioner",
                "id": worker.id,
                "identifier": [identifier("staff", f"S{number:04d}")],
                "active": True,
                "name": [name],
                "telecom": [{"system": "email", "value": f"{worker.id}@osler.example", "use": "work"}],
                "gender": worker.gender,
            }
        )


def roles(staff: tuple[Worker, ...]) -> Iterator[Resource]:
    for worker in staff:
        role: Resource = {
            "resourceType": "PractitionerRole",
            "id": f"role-{worker.id.removeprefix('prac-')}",
            "extension": [timezone()],
            "active": True,
            "practitioner": reference(f"Practitioner/{worker.id}", worker.name),
            "organization": reference(HOSPITAL),
            "code": [concept("practitioner-role", worker.role, worker.role.capitalize())],
        }
        if worker.department in SPECIALTIES:
            role["specialty"] = [concept(SNOMED, *SPECIALTIES[worker.department])]
        if worker.room:
            role["location"] = [reference(f"Location/{worker.room}")]
        if worker.department in SERVICE_TYPES:
            role["healthcareService"] = [reference(f"HealthcareService/service-{worker.department}")]
        days = [WEEKDAYS[d] for d in worker.days or range(5)]
        role["availableTime"] = [
            {"daysOfWeek": days, "availableStartTime": "09:00:00", "availableEndTime": "12:00:00"},
            {"daysOfWeek": days, "availableStartTime": "13:00:00", "availableEndTime": "16:00:00"},
        ]
        yield typed(role)


def schedules(staff: tuple[Worker, ...], anchor: date) -> Iterator[Resource]:
    """A schedule for each doctor with a clinic and each operating theatre."""
    horizon = {
        "start": (anchor - timedelta(days=365)).isoformat(),
        "end": (anchor + timedelta(days=180)).isoformat(),
    }
    for worker in staff:
        if not worker.days:
            continue
        yield typed(
            {
                "resourceType": "Schedule",
                "id": worker.schedule,
                "extension": [timezone()],
                "active": True,
                "serviceType": [concept("service-type", *SERVICE_TYPES[worker.department])],
                "specialty": [concept(SNOMED, *SPECIALTIES[worker.department])],
                "actor": [reference(f"Practitioner/{worker.id}", worker.name)],
                "planningHorizon": horizon,
                "comment": f"Clinic of {worker.name}",
            }
        )
    for theatre in ("theatre-1", "theatre-2"):
        yield typed(
            {
                "resourceType": "Schedule",
                "id": f"schedule-{theatre}",
                "extension": [timezone()],
                "active": True,
                "serviceType": [concept("service-type", *SERVICE_TYPES["surgery"])],
                "actor": [reference(f"Location/{theatre}")],
                "planningHorizon": horizon,
            }
        )
