"""Claim/$submit and Claim/$inquire: a claim, preauthorization or predetermination goes to its payer, and is answered.

https://hl7.org/fhir/R4/claim-operation-submit.html. The payer is this server, by the plan of the coverage, or another FHIR server. A Claim
is submitted once: by its id, or an identifier of it, the same again is answered the same; only one that could not be judged is judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from fhir_r4.errors import BusinessRule, NotFound
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan as Looking
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import OSLER, collection
from fhir_server.operations.billing.bundled import Sent, bundle_of, opened, referred_to, taken_along
from fhir_server.operations.billing.forwarding import forward, payer_address, taken_in
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import given
from fhir_server.resources.billing.adjudication import (
    Item,
    explanation_of,
    items_of,
    paid_by_item,
    refusal_of,
    response_to,
)
from fhir_server.resources.billing.covering import MOST, covered
from fhir_server.resources.billing.decided import is_posted
from fhir_server.resources.billing.money import ZERO, Rounding, digits_of
from fhir_server.resources.billing.plans import in_period
from fhir_server.resources.billing.settings import day_at
from fhir_server.resources.billing.shares import shares
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo, TokenIs, all_of, any_of

SUBMIT = "http://hl7.org/fhir/OperationDefinition/Claim-submit"
INQUIRE = OSLER + "Claim-inquire"
# how long a preauthorization holds
AUTHORIZED_DAYS = 90


@dataclass(frozen=True, slots=True)
class Answered:
    """What a submission writes, with the ClaimResponse, which may be there already."""

    response: Resource
    writes: tuple[Write, ...] = ()


async def submit(call: OperationCall, services: Services) -> FhirResponse:
    """The ClaimResponse; in a Bundle with what it refers to when the Claim came in one."""
    asked = given(call, SUBMIT)
    sent = opened(asked.one("resource"))
    outside = await _from_outside(sent, call, services)
    found: list[Resource] = []
    along: list[Resource] = []

    async def plan(known: Known) -> Sequence[Write]:
        claim, brought = await taken_along(sent, known, services)
        answered = await _submitted(claim, outside, known, services)
        found[:] = [answered.response]
        along[:] = [] if not sent.bundled else await referred_to(answered.response, known, services)
        return [*answered.writes, *brought] if answered.writes else ()

    def answer(written: Sequence[Resource]) -> Resource:
        response = written[1] if len(written) > 1 else found[0]
        if not sent.bundled:
            return response
        base, at = call.request.base, str(response["created"])
        others = [r for r in along if r["resourceType"] != "Claim"]
        return bundle_of([response, *others], base, at, services.new_id())

    return await carry_out(call, services, asked, plan, answer)


async def _from_outside(sent: Sent, call: OperationCall, services: Services) -> Resource | None:
    """What a payer with a server of its own answers; None when the claim is judged here, or was answered already.

    The Claim goes there in a Bundle with what it refers to: as it came, or with what is here.
    """
    looking = Looking(services, ())
    claim, _ = await taken_along(sent, looking, services)
    address = await payer_address(looking, claim.get("insurer"), services)
    if address is None:
        return None
    _, answered = await _earlier(claim, looking)
    if answered is not None and await _is_final(answered, looking):
        return None
    if not claim.get("identifier"):
        raise BusinessRule(
            "A claim that is forwarded has an identifier, by which it is known again.", "Claim.identifier"
        )
    return await forward(
        address, "Claim/$submit", await _envelope(sent, call, looking, services), "ClaimResponse"
    )


async def _envelope(sent: Sent, call: OperationCall, known: Known, services: Services) -> Resource:
    """The Bundle in which a Claim goes to a payer."""
    id, at = services.new_id(), format_instant(known.now)
    if not sent.bundled:
        claim = sent.claim if "id" in sent.claim else {**sent.claim, "id": id}
        others = await referred_to(claim, known, services)
        return bundle_of([claim, *others], call.request.base, at, id)
    first: Resource = {"fullUrl": f"urn:uuid:{id}", "resource": sent.claim}
    others_ = [({"fullUrl": full} if full else {}) | {"resource": r} for full, r in sent.others]
    made = bundle_of([], "", at, id)
    return {**made, "entry": [first, *others_]}


async def _earlier(sent: Resource, known: Known) -> tuple[Resource | None, Resource | None]:
    """The Claim as it is here already, and what was answered to it."""
    stored = await known.current("Claim", sent["id"]) if "id" in sent else None
    if stored is None and sent.get("identifier"):
        names = [
            TokenIs("identifier", i.get("system"), i["value"]) for i in sent["identifier"] if "value" in i
        ]
        use = TokenIs("use", None, sent["use"])
        found = await known.find("Claim", all_of([any_of(names), use])) if names else []
        stored = next((c for c in found if c.get("status") != "entered-in-error"), None)
    if stored is None:
        return None, None
    answers = await known.find("ClaimResponse", RefersTo("request", "Claim", stored["id"]))
    return stored, next((a for a in answers if a.get("status") == "active"), None)


async def _submitted(sent: Resource, outside: Resource | None, known: Known, services: Services) -> Answered:
    stored, answered = await _earlier(sent, known)
    if answered is not None and await _is_final(answered, known):
        return Answered(answered)
    if sent["status"] not in ("active", "draft"):
        raise BusinessRule(f"A claim that is {sent['status']} is not submitted.", "Claim.status")
    id = services.new_id() if stored is None else str(stored["id"])
    if stored is None and "id" in sent:
        id = sent["id"]
    claim = {**sent, "id": id, "status": "active"}
    claim_write = Write(
        claim, "POST" if stored is None and "id" not in sent else "PUT", stored is None and "id" not in sent
    )
    at = format_instant(known.now)
    if outside is not None:
        response = taken_in(
            services, outside, id=services.new_id(), patient=claim["patient"], request={"reference": f"Claim/{id}"},
            insurer=claim["insurer"], requestor=claim["provider"], use=claim["use"],
        )  # fmt: skip
        gone = () if answered is None else (Write({**answered, "status": "cancelled"}),)
        return Answered(response, (claim_write, Write(response, "POST", True), *gone))
    response, more = await _judged(claim, at, known, services)
    if answered is not None:
        if response["outcome"] == "error" and response["disposition"] == answered.get("disposition"):
            return Answered(answered)
        more = (*more, Write({**answered, "status": "cancelled"}))
    return Answered(response, (claim_write, Write(response, "POST", True), *more))


async def _is_final(answered: Resource, known: Known) -> bool:
    """Whether a Claim is not judged again: only what could not be judged is, and not once that was posted."""
    return answered.get("outcome") != "error" or await is_posted(answered, known)


async def _judged(
    claim: Resource, at: str, known: Known, services: Services
) -> tuple[Resource, tuple[Write, ...]]:
    """The answer by the plan of the focal coverage, and its explanation."""
    items, currency = items_of(claim)
    day = _served(claim, known.now, services)
    patient = local_id(claim["patient"], "Patient", services.settings.local_bases)
    new_id = services.new_id
    try:
        coverage = await _coverage(claim, known, services)
        cover = await covered(known, coverage, patient, day, currency, services)
        paid = await _paid_before(claim, items, currency, known, services)
    except BusinessRule as error:
        return refusal_of(new_id(), claim, at, str(error)), ()
    left = [item.amount - paid.get(item.sequence, ZERO) for item in items]
    allowed = claim["use"] != "claim" or await _is_authorized(claim, patient, day, known)
    terms = cover.plan.terms([tuple(item.codes) for item in items], cover.used, authorized=allowed)
    (parts,) = shares([max(a, ZERO) for a in left], [terms], digits_of(currency), Rounding.HALF_UP).parts
    authorized = None
    if claim["use"] == "preauthorization":
        until = day + timedelta(AUTHORIZED_DAYS)
        authorized = (f"PA-{new_id()[-12:].upper()}", day.isoformat(), until.isoformat())
    response = response_to(new_id(), claim, items, parts, currency, at, authorized)
    if claim["use"] != "claim":
        return response, ()
    names = [cover.plan.rule_for(item.codes).name for item in items]
    eob = explanation_of(new_id(), claim, response, coverage, names, day.year)
    return response, (Write(eob, "POST", True),)


async def _is_authorized(claim: Resource, patient: str | None, day: date, known: Known) -> bool:
    """Whether the focal insurance of a claim names a preauthorization of the patient that holds on the day."""
    focal = next(i for i in claim["insurance"] if i.get("focal") is True)
    named = set(focal.get("preAuthRef", ()))
    if not named or patient is None:
        return False
    given_ = all_of([RefersTo("patient", "Patient", patient), TokenIs("use", None, "preauthorization")])
    return any(
        r.get("preAuthRef") in named
        and r.get("status") == "active"
        and r.get("outcome") == "complete"
        and in_period(r.get("preAuthPeriod"), day)
        for r in await known.find("ClaimResponse", given_, MOST)
    )


def _served(claim: Resource, now: int, services: Services) -> date:
    """The day by which a claim is judged: the begin of what it bills, else today."""
    start = str(claim.get("billablePeriod", {}).get("start", ""))
    if len(start) >= 10:
        return date.fromisoformat(start[:10])
    return day_at(now, services.settings.default_timezone)


async def _coverage(claim: Resource, known: Known, services: Services) -> Resource:
    """The focal Coverage. Raises BusinessRule."""
    focal = [i for i in claim["insurance"] if i.get("focal") is True]
    if len(focal) != 1:
        raise BusinessRule("One insurance of a claim is focal.", "Claim.insurance")
    id = local_id(focal[0]["coverage"], "Coverage", services.settings.local_bases)
    found = None if id is None else await known.current("Coverage", id)
    if found is None:
        raise BusinessRule("The focal coverage is not here.", "Claim.insurance.coverage")
    return found


async def _paid_before(
    claim: Resource, items: Sequence[Item], currency: str, known: Known, services: Services
) -> dict[int, Decimal]:
    """What the coverages before the focal one have paid, by item. Raises BusinessRule when that is not known."""
    paid: dict[int, Decimal] = {}
    focal = next(i for i in claim["insurance"] if i["focal"])
    for insurance in claim["insurance"]:
        if insurance["sequence"] >= focal["sequence"]:
            continue
        id = local_id(insurance.get("claimResponse"), "ClaimResponse", services.settings.local_bases)
        response = None if id is None else await known.current("ClaimResponse", id)
        if response is None:
            raise BusinessRule(
                f"What the coverage before has paid is not known: insurance {insurance['sequence']} needs its claimResponse.",
                "Claim.insurance.claimResponse",
            )
        for sequence, amount in paid_by_item(response, currency).items():
            paid[sequence] = paid.get(sequence, ZERO) + amount
    return paid


async def inquire(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the ClaimResponses that are known; one that the payer has not decided yet is asked for again.

    A Claim without id and identifier asks for all of its patient, use and insurer, made in its billablePeriod.
    """
    asked = given(call, INQUIRE)
    sent = opened(asked.one("resource"))
    looking = Looking(services, ())
    claim, _ = await taken_along(sent, looking, services)
    if "id" not in claim and not claim.get("identifier"):
        return FhirResponse(200, resource=collection(await _alike(claim, looking, services)))
    stored, response = await _earlier(claim, looking)
    if stored is None or response is None:
        raise NotFound("No claim that was submitted is known by this id or identifier.")
    address = await payer_address(looking, stored.get("insurer"), services)
    if address is None or response.get("outcome") not in ("queued", "partial"):
        return FhirResponse(200, resource=collection([response]))
    envelope = await _envelope(Sent(stored), call, looking, services)
    outside = await forward(address, "Claim/$inquire", envelope, "ClaimResponse")
    found = response
    again = taken_in(
        services, outside, id=found["id"], patient=found["patient"], request=found["request"],
        insurer=found["insurer"], requestor=stored["provider"], use=stored["use"],
    )  # fmt: skip

    async def plan(known: Known) -> Sequence[Write]:
        return [Write(again)]

    return await carry_out(call, services, asked, plan, collection)


async def _alike(asked: Resource, known: Known, services: Services) -> list[Resource]:
    """The ClaimResponses of a patient that an inquiry without a name of its claim means. Raises NotFound without any."""
    bases = services.settings.local_bases
    patient = local_id(asked.get("patient"), "Patient", bases)
    if patient is None or await known.current("Patient", patient) is None:
        raise NotFound("No claim that was submitted is known: the patient is not.")
    where = all_of([RefersTo("patient", "Patient", patient), TokenIs("use", None, asked["use"])])
    insurer = local_id(asked.get("insurer"), "Organization", bases)
    period = asked.get("billablePeriod")
    found = [
        r
        for r in await known.find("ClaimResponse", where, MOST)
        if r.get("status") == "active"
        and (insurer is None or local_id(r.get("insurer"), "Organization", bases) == insurer)
        and in_period(period, date.fromisoformat(str(r["created"])[:10]))
    ]
    if not found:
        raise NotFound("No claim of this patient that was submitted is known.")
    return found
