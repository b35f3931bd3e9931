"""The code tables of appointments: HL7 tables 0278 and the trigger events. https://hl7.org/fhir/uv/v2mappings/."""

from __future__ import annotations

# trigger -> Appointment.status
TRIGGERS = {
    "S12": "booked",
    "S13": "booked",
    "S14": "booked",
    "S15": "cancelled",
    "S16": "cancelled",
    "S17": "entered-in-error",
    "S26": "noshow",
}

# table 0278 -> Appointment.status; BLOCKED says nothing of a booking
FILLER_STATES: dict[str, str | None] = {
    "BLOCKED": None,
    "BOOKED": "booked",
    "CANCELLED": "cancelled",
    "COMPLETE": "fulfilled",
    "DC": "cancelled",
    "DELETED": "entered-in-error",
    "NOSHOW": "noshow",
    "OVERBOOK": "booked",
    "PENDING": "pending",
    "STARTED": "arrived",
    "WAITLIST": "waitlist",
}

# table 0278, of a participant -> participant.status
PARTICIPANT_STATES = {
    "BOOKED": "accepted",
    "CANCELLED": "declined",
    "COMPLETE": "accepted",
    "DC": "declined",
    "DELETED": "declined",
    "NOSHOW": "accepted",
    "OVERBOOK": "accepted",
    "PENDING": "needs-action",
    "STARTED": "accepted",
    "WAITLIST": "tentative",
}

# how long a unit is, in minutes
MINUTES = {
    "S": 1 / 60,
    "SEC": 1 / 60,
    "M": 1,
    "MIN": 1,
    "MINUTES": 1,
    "": 1,
    "H": 60,
    "HR": 60,
    "HOURS": 60,
    "D": 1440,
}
