"""The one table of manners: the resource types whose changes are judged with knowledge of other resources."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_server.resources.beds.encounter import ENCOUNTER
from fhir_server.resources.beds.housekeeping import TASK
from fhir_server.resources.beds.location import LOCATION
from fhir_server.resources.change import Manners
from fhir_server.resources.scheduling.appointment import APPOINTMENT
from fhir_server.resources.scheduling.response import RESPONSE
from fhir_server.resources.scheduling.schedule import SCHEDULE
from fhir_server.resources.scheduling.slot import SLOT

MANNERS: Mapping[str, Manners] = {
    "Appointment": APPOINTMENT,
    "AppointmentResponse": RESPONSE,
    "Encounter": ENCOUNTER,
    "Location": LOCATION,
    "Schedule": SCHEDULE,
    "Slot": SLOT,
    "Task": TASK,
}
