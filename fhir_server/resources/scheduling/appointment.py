"""What holds for an Appointment on every way to a write: its states, what it takes, what becomes of its Slots.

https://hl7.org/fhir/R4/appointment.html. An invariant to keep: the claims follow from the Appointment as it is to be, and
from the Schedules and Slots as they are in the same commit.
"""

from __future__ import annotations

from fhir_r4.errors import Issue
from fhir_r4.temporal import DAY
from fhir_server.context import Resource, Services
from fhir_server.resources.change import Change, Consequence, Known, Manners
from fhir_server.resources.scheduling.charges import aborted_charges
from fhir_server.resources.scheduling.exceptions import traces
from fhir_server.resources.scheduling.holds import (
    check_exceptions,
    check_holder,
    holder_claims,
    with_holder,
)
from fhir_server.resources.scheduling.lifecycle import (
    HOLD_EXPIRES,
    LIVE,
    check_times,
    check_transition,
    extension_value,
    is_live,
    period_of,
    without_extension,
)
from fhir_server.resources.scheduling.limits import (
    check_deadline,
    check_limits,
    check_notice,
    overlaps,
    patient_claims,
    patients_of,
)
from fhir_server.resources.scheduling.offer_tasks import offer_tasks
from fhir_server.resources.scheduling.slot_status import followed, holders_of
from fhir_server.resources.scheduling.suiting import check_suits
from fhir_server.resources.scheduling.taking import (
    actors_of,
    claims_of_appointment,
    slots_of,
    taken_by,
)
from fhir_server.store.records import Claim

# no buffer is longer: what ended before that holds nothing, and nobody needs to look
LONGEST_BUFFER = DAY


async def judge_appointment(change: Change, known: Known, services: Services) -> Consequence:
    """Refuse what the lifecycle forbids; claim what a live Appointment takes; keep its Slots in step."""
    before, after = change.before, change.after
    own = None
    check_holder(change, known.now)
    check_exceptions(change, known.now)
    if after is not None:
        if before is not None:
            check_transition(before, after, known.now)
        check_times(after)
        if after["status"] != "pending" and extension_value(after, HOLD_EXPIRES) is not None:
            after = own = without_extension(after, HOLD_EXPIRES)
        held_by = with_holder(change, after, known.now)
        if held_by is not after:
            after = own = held_by
    zone, overlap = services.settings.default_timezone, services.settings.patient_overlap
    if before is not None:
        await check_deadline(before, after, known, zone)
    claims: tuple[Claim, ...] = ()
    warnings: list[Issue] = []
    had = before is not None and _takes(before, known.now)
    held = slots_of(before) if before is not None and had else ()
    if after is not None and _takes(after, known.now):
        taken = await taken_by(after, known, zone)
        claims = claims_of_appointment(after, taken, held) + patient_claims(after, taken, overlap)
        claims += holder_claims(after, services.settings.most_holds)
        if before is None or not had or patients_of(before) != patients_of(after):
            await check_limits(after, taken, known, zone)
        if before is None or not had or _who(before) != _who(after):
            await check_suits(after, taken, known)
            # without an actor it is loaded from a file, and was booked before
            if change.actor is not None and after["status"] in ("pending", "booked"):
                check_notice(after, taken, known.now)
        if overlap == "warn" and (before is None or not had or period_of(before) != period_of(after)):
            warnings = await overlaps(after, known)
    writes = await _slots(change.before, after, known, zone) + await aborted_charges(before, after, known)
    writes += await offer_tasks(before, after, known)
    writes += traces(change, known.now)
    return Consequence(claims, own, writes, tuple(warnings))


async def _slots(
    before: Resource | None, after: Resource | None, known: Known, zone: str
) -> tuple[Resource, ...]:
    """The Slots that this Appointment has held, if only until its hold expired, or holds now, as they are to be."""
    concerned: dict[str, None] = {}
    for appointment in (before, after):
        if appointment is not None and appointment["status"] in LIVE and _may_take(appointment, known.now):
            concerned.update(dict.fromkeys(slots_of(appointment)))
    writes = []
    for id in concerned:
        slot = await known.current("Slot", id)
        if slot is not None:
            changed = await followed(slot, await holders_of(id, known), known, zone)
            if changed is not slot:
                writes.append(changed)
    return tuple(writes)


def _who(appointment: Resource) -> tuple[object, ...]:
    """Who takes part, and when."""
    return patients_of(appointment), actors_of(appointment), period_of(appointment)


def _takes(appointment: Resource, now: int) -> bool:
    return is_live(appointment, now) and _may_take(appointment, now)


def _may_take(appointment: Resource, now: int) -> bool:
    """Whether its time is not long over."""
    period = period_of(appointment)
    return period is not None and period[1] + LONGEST_BUFFER > now


APPOINTMENT = Manners(judge_appointment, first=1)
