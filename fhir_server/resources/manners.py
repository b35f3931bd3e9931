"""The one table of manners: the resource types whose changes are judged with knowledge of other resources."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_server.resources.beds.encounter import ENCOUNTER
from fhir_server.resources.beds.location import LOCATION
from fhir_server.resources.billing.basics import BASIC
from fhir_server.resources.billing.charge_item import CHARGE_ITEM
from fhir_server.resources.billing.decided import CLAIM, CLAIM_RESPONSE, EXPLANATION, NOTICE
from fhir_server.resources.billing.definition import DEFINITION
from fhir_server.resources.billing.invoice import INVOICE
from fhir_server.resources.billing.reconciliation import PAYMENT
from fhir_server.resources.change import Manners
from fhir_server.resources.scheduling.appointment import APPOINTMENT
from fhir_server.resources.scheduling.response import RESPONSE
from fhir_server.resources.scheduling.schedule import SCHEDULE
from fhir_server.resources.scheduling.slot import SLOT
from fhir_server.resources.tasks import TASK

MANNERS: Mapping[str, Manners] = {
    "Appointment": APPOINTMENT,
    "AppointmentResponse": RESPONSE,
    "Basic": BASIC,
    "ChargeItem": CHARGE_ITEM,
    "ChargeItemDefinition": DEFINITION,
    "Claim": CLAIM,
    "ClaimResponse": CLAIM_RESPONSE,
    "Encounter": ENCOUNTER,
    "ExplanationOfBenefit": EXPLANATION,
    "Invoice": INVOICE,
    "Location": LOCATION,
    "PaymentNotice": NOTICE,
    "PaymentReconciliation": PAYMENT,
    "Schedule": SCHEDULE,
    "Slot": SLOT,
    "Task": TASK,
}
