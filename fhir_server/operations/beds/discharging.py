"""Encounter/$discharge and $cancel-discharge: a patient goes, and comes back because that was a mistake.

HL7 v2 calls them A03 and A13.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_r4.temporal import MINUTE
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write, carry_out
from fhir_server.operations.beds.admitting import begun
from fhir_server.operations.beds.asking import (
    carry_out_with_bed,
    instant,
    moment,
    override_of,
    require_status,
    require_stay,
)
from fhir_server.operations.beds.choosing import Wish
from fhir_server.operations.beds.moving import require_after, wish_of
from fhir_server.operations.given import Given, given
from fhir_server.resources.beds.flags import isolation_flag
from fhir_server.resources.beds.moves import (
    beds_of,
    came,
    entered,
    left,
    reopened,
    taken_back,
    without_reservations,
)
from fhir_server.resources.beds.stays import Place, places_of
from fhir_server.resources.beds.surroundings import holders
from fhir_server.resources.beds.wards import needs_of
from fhir_server.resources.billing.invoicing import is_elsewhere
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo, TokenIs, all_of

DISCHARGE = "https://osler.health/fhir/OperationDefinition/Encounter-discharge"
CANCEL_DISCHARGE = "https://osler.health/fhir/OperationDefinition/Encounter-cancel-discharge"
DIAGNOSIS_ROLE = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/diagnosis-role",
            "code": "DD",
            "display": "Discharge diagnosis",
        }
    ]
}
UNSETTLED = ("planned", "billable")


async def discharge(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter, finished; the bed is left to housekeeping in the same commit."""
    asked = given(call, DISCHARGE)
    bases = services.settings.local_bases

    async def plan(known: Known) -> Sequence[Write]:
        stay = await require_stay(known, call.id)
        require_status(stay, "in-progress", "onleave")
        at = moment(asked, known)
        for place in beds_of(stay, "active", bases):
            require_after(place, at)
        if asked.one("require-signed") is True:
            await _require_signed(known, stay)
        if asked.one("require-settled") is True:
            await _require_settled(known, stay, bases)
        gone = without_reservations(left(entered(stay, "finished", at), at, bases), bases)
        gone = {**gone, "period": {**gone.get("period", {}), "end": at}}
        began = begun(gone)
        if began is not None:
            minutes = (instant(at) - began) // MINUTE
            gone["length"] = {
                "value": minutes,
                "unit": "min",
                "system": "http://unitsofmeasure.org",
                "code": "min",
            }
        return [Write(_described(gone, asked))]

    return await carry_out(call, services, asked, plan)


def _described(stay: Resource, asked: Given) -> Resource:
    made = dict(stay)
    hospitalization = dict(made.get("hospitalization", {}))
    if asked.one("disposition") is not None:
        hospitalization["dischargeDisposition"] = asked.one("disposition")
    if asked.one("destination") is not None:
        hospitalization["destination"] = asked.one("destination")
    if hospitalization:
        made["hospitalization"] = hospitalization
    if asked.all("diagnosis"):
        told = [{"condition": one, "use": DIAGNOSIS_ROLE} for one in asked.all("diagnosis")]
        made["diagnosis"] = [*made.get("diagnosis", ()), *told]
    return made


async def _require_signed(known: Known, stay: Resource) -> None:
    of_stay = RefersTo("encounter", "Encounter", stay["id"])
    drafts = await known.find("Composition", all_of([of_stay, TokenIs("status", None, "preliminary")]))
    if drafts:
        raise BusinessRule(f"Composition/{drafts[0]['id']} is not signed yet.", "require-signed")


async def _require_settled(known: Known, stay: Resource, bases: Sequence[str]) -> None:
    charges = await known.find("ChargeItem", RefersTo("context", "Encounter", stay["id"]), 1000)
    left_over = [c for c in charges if c.get("status") in UNSETTLED]
    if left_over:
        raise BusinessRule(
            f"{len(left_over)} charges are not settled; the first is ChargeItem/{left_over[0]['id']}.",
            "require-settled",
        )
    for account in stay.get("account", ()):
        id = local_id(account, "Account", bases)
        if id is not None:
            issued = TokenIs("status", None, "issued")
            found = await known.find("Invoice", all_of([RefersTo("account", "Account", id), issued]))
            unpaid = [i for i in found if not is_elsewhere(i)]
            if unpaid:
                raise BusinessRule(f"Invoice/{unpaid[0]['id']} is not paid.", "require-settled")


async def cancel_discharge(call: OperationCall, services: Services) -> FhirResponse:
    """The Encounter, in progress again, in its last bed if that is still free, else in `bed` or a bed of `ward`."""
    asked = given(call, CANCEL_DISCHARGE)
    bases = services.settings.local_bases

    async def wishing(known: Known) -> Wish:
        return await wish_of(known, await require_stay(known, call.id), bases)

    async def plan(known: Known, bed: str | None) -> Sequence[Write]:
        stay = await require_stay(known, call.id)
        require_status(stay, "finished")
        at = moment(asked, known)
        back = taken_back(entered(stay, "in-progress", at), "discharge", asked.one("reason"), at)
        back = _without_end(back)
        last = _last_bed(stay, bases)
        if last is not None and bed in (None, last.location):
            if bed is None and await holders(known, last.location, bases):
                raise BusinessRule(
                    f"Location/{last.location} is taken by now: one of the parameters bed and ward is needed.",
                    "bed",
                )
            return [Write(reopened(back, last.index)), *_isolated_again(back, known, services)]
        if bed is None:
            raise BusinessRule("There was no bed: one of the parameters bed and ward is needed.", "bed")
        moved = came(back, bed, at, override_of(call, asked), bases)
        return [Write(moved), *_isolated_again(moved, known, services)]

    return await carry_out_with_bed(call, services, asked, wishing, plan)


def _isolated_again(stay: Resource, known: Known, services: Services) -> list[Write]:
    """The Flag of isolation, which has ended with the stay."""
    kinds = sorted(needs_of(stay, None).isolation)
    if not kinds:
        return []
    return [Write(isolation_flag(services.new_id(), stay, kinds, known.now), "POST", fresh=True)]


def _last_bed(stay: Resource, bases: Sequence[str]) -> Place | None:
    beds = [p for p in places_of(stay, bases) if p.says_bed]
    return max(beds, key=lambda p: (p.end or 0, p.index), default=None)


def _without_end(stay: Resource) -> Resource:
    """The stay as if it had not ended."""
    made = {k: v for k, v in stay.items() if k not in ("length", "hospitalization")}
    made["period"] = {k: v for k, v in stay.get("period", {}).items() if k != "end"}
    if not made["period"]:
        del made["period"]
    ended = ("dischargeDisposition", "destination")
    hospitalization = {k: v for k, v in stay.get("hospitalization", {}).items() if k not in ended}
    return {**made, "hospitalization": hospitalization} if hospitalization else made
