"""Account/$capture-charges: charges of everything that was done for an account, each once, however often it is called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.references import local_id
from fhir_r4.temporal import parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.answering import outcome
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.requesting import (
    MOST_CHARGES,
    all_named,
    bundle,
    require,
    require_status,
    until,
)
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import given
from fhir_server.resources.beds.stays import end_of, start_of
from fhir_server.resources.billing.capturing import Capture, charges_on
from fhir_server.resources.billing.events import EVENTS, encounter_of, time_of
from fhir_server.resources.billing.price_list import price_list
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo

CAPTURE = "https://osler.health/fhir/OperationDefinition/Account-capture-charges"
MOST_EVENTS = 20_000


async def capture_charges(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the ChargeItems that were added, changed or taken back, and an OperationOutcome about what could not be done."""
    asked = given(call, CAPTURE)
    encounters = all_named(asked, "encounter", "Encounter", services)
    problems: list[Issue] = []

    async def plan(known: Known) -> Sequence[Write]:
        problems.clear()
        account = await require(known, "Account", call.id)
        require_status(account, "active", "on-hold")
        if (await price_list(services)).empty:
            return []
        charged = await charges_on(known, services, "Account", account["id"], MOST_CHARGES)
        capture = Capture(known, services, account["id"], charged)
        last = until(asked, known, services)
        for stay in await _stays(known, services, account["id"], encounters):
            async for event in _events(known, services, stay, last):
                await capture.event(event, stay["id"])
            await capture.bed_days(stay, last)
        writes = [Write(charge) for charge in await capture.writes()]
        problems.extend(capture.found.problems)
        return writes

    def answer(written: Sequence[Resource]) -> Resource:
        return bundle(call, written, [outcome(problems)] if problems else ())

    return await carry_out(call, services, asked, plan, answer)


async def _stays(known: Known, services: Services, account: str, encounters: Sequence[str]) -> list[Resource]:
    """The Encounters of the account, or those of them that are asked for."""
    found = await known.find("Encounter", RefersTo("account", "Account", account), 1000)
    if not encounters:
        return found
    by_id = {stay["id"]: stay for stay in found}
    for id in encounters:
        if id not in by_id:
            raise BusinessRule(f"Encounter/{id} is not on Account/{account}.", "encounter")
    return [by_id[id] for id in encounters]


async def _events(known: Known, services: Services, stay: Resource, last: int) -> AsyncIterator[Resource]:
    """What was done in an Encounter, itself included, before an instant."""
    bases, zone = services.settings.local_bases, services.settings.default_timezone
    patient = local_id(stay.get("subject"), "Patient", bases)
    for type, kind in EVENTS.items():
        if type == "Encounter":
            found = [stay]
        elif kind.found_by:
            found = await known.find(type, RefersTo(kind.found_by, "Encounter", stay["id"]), MOST_EVENTS)
        elif patient is not None:
            found = await known.find(type, RefersTo("patient", "Patient", patient), MOST_EVENTS)
            found = [e for e in found if _belongs(e, stay, zone, bases)]
        for event in found:
            when = time_of(event)
            if when is None or parse_interval(when, zone)[0] < last:
                yield event


def _belongs(event: Resource, stay: Resource, zone: str, bases: tuple[str, ...]) -> bool:
    """Whether an event that is found by its patient is one of the Encounter: it says so, or it says nothing and lies in it."""
    named = encounter_of(event)
    if named is not None:
        return bool(local_id(named, "Encounter", bases) == stay["id"])
    when = time_of(event)
    began = start_of(stay.get("period", {}).get("start"))
    left = end_of(stay.get("period", {}).get("end"))
    if when is None or began is None:
        return False
    at = parse_interval(when, zone)[0]
    return began <= at and (left is None or at < left)
