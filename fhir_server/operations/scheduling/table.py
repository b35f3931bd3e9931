"""The operations on appointments and queues, for the one table of operations."""

from __future__ import annotations

from fhir_server.context import Operation, OperationHandler
from fhir_server.operations.scheduling.book import book
from fhir_server.operations.scheduling.changes import cancel, confirm, no_show
from fhir_server.operations.scheduling.check_in import check_in, fulfil
from fhir_server.operations.scheduling.hold import hold
from fhir_server.operations.scheduling.queue import next_patient, queue, waiting_times
from fhir_server.operations.scheduling.reschedule import reschedule
from fhir_server.operations.scheduling.respond import respond
from fhir_server.operations.scheduling.waitlist import waitlist_offer

OSLER = "https://osler.health/fhir/OperationDefinition/"


def _on_appointment(name: str, handler: OperationHandler) -> Operation:
    """An operation on one Appointment."""
    definition = f"{OSLER}Appointment-{name}"
    return Operation(name, definition, handler, instance=True, types=("Appointment",), affects_state=True)


def _on_service(name: str, handler: OperationHandler, *, affects_state: bool = False) -> Operation:
    """An operation on one HealthcareService."""
    definition = f"{OSLER}HealthcareService-{name}"
    types = ("HealthcareService",)
    return Operation(name, definition, handler, instance=True, types=types, affects_state=affects_state)


APPOINTMENT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "hold", OSLER + "Appointment-hold", hold, type=True, types=("Appointment",), affects_state=True
    ),
    Operation(
        "book", OSLER + "Appointment-book", book, type=True, types=("Appointment",), affects_state=True
    ),
    _on_appointment("confirm", confirm),
    _on_appointment("reschedule", reschedule),
    _on_appointment("cancel", cancel),
    _on_appointment("respond", respond),
    _on_appointment("check-in", check_in),
    _on_appointment("no-show", no_show),
    _on_appointment("fulfil", fulfil),
    _on_appointment("waitlist-offer", waitlist_offer),
    _on_service("next-patient", next_patient, affects_state=True),
    _on_service("queue", queue),
    _on_service("waiting-times", waiting_times),
)
