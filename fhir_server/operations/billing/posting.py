"""ClaimResponse/$post: what a payer has decided goes into the books.

What the payer pays is a payment of the invoice; what the payer's share was and is not paid becomes the patient's, by the line of a new
invoice. Posting a ClaimResponse again changes nothing and answers the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from fhir_r4.errors import BusinessRule, NotFound
from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.asking import OSLER, collection, method_concept, require_invoice
from fhir_server.operations.billing.paying import settling
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import given
from fhir_server.resources.billing.adjudication import explanation_of_answer, items_of
from fhir_server.resources.billing.claiming import INVOICE, POSTED, posted_id, share_invoice
from fhir_server.resources.billing.covering import insurance_plan
from fhir_server.resources.billing.invoicing import ISSUED, open_of, require_currency
from fhir_server.resources.billing.money import ZERO, amount_of, money
from fhir_server.resources.billing.payments import METHOD, new_payment
from fhir_server.resources.billing.plans import plan_of
from fhir_server.resources.billing.sharing import shares_of
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo

POST = OSLER + "ClaimResponse-post"


async def post(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of the payment, the patient's Invoice and the ExplanationOfBenefit, as far as there are such."""
    asked = given(call, POST)
    found: list[Resource] = []

    async def plan(known: Known) -> Sequence[Write]:
        response = await _response(known, call.id)
        already = [
            r for type in POSTED if (r := await known.current(type, posted_id(response["id"]))) is not None
        ]
        found[:] = already
        return [] if already else await _writes(response, known, services)

    def answer(written: Sequence[Resource]) -> Resource:
        return collection(found or [r for r in written if r["resourceType"] != "ClaimResponse"])

    return await carry_out(call, services, asked, plan, answer)


async def _response(known: Known, id: str | None) -> Resource:
    found = None if id is None else await known.current("ClaimResponse", id)
    if found is None:
        raise NotFound(f"There is no ClaimResponse/{id}.")
    decided = found.get("status") == "active" and found.get("outcome") in ("complete", "partial", "error")
    if not decided or found.get("use") != "claim":
        raise BusinessRule(
            f"ClaimResponse/{id} is {found.get('status')} ({found.get('use')}, {found.get('outcome')}): only an active "
            "decision on a claim is posted.",
            "ClaimResponse",
        )
    return found


async def _writes(response: Resource, known: Known, services: Services) -> list[Write]:
    claim, invoice = await _claimed(response, known, services)
    currency, at, id = require_currency(invoice), format_instant(known.now), posted_id(response["id"])
    paid = ZERO
    if "payment" in response:
        paid = amount_of(response["payment"]["amount"], "ClaimResponse.payment.amount", currency)
    if paid < ZERO:
        raise BusinessRule("What a payer takes back is posted by a reversal.", "ClaimResponse.payment")
    writes = []
    if paid > ZERO:
        writes.append(Write(_payment(id, response, invoice, paid, currency, at, services)))
    denied = min(_share(claim, invoice, services) - paid, open_of(invoice) - paid)
    if denied > ZERO:
        payer = response["insurer"].get("display", "the payer")
        writes.append(Write(share_invoice(id, invoice, denied, payer)))
    explained = await _explained(claim, response, currency, known, services)
    return writes if explained is None else [*writes, Write(explained)]


async def _explained(
    claim: Resource, response: Resource, currency: str, known: Known, services: Services
) -> Resource | None:
    """The ExplanationOfBenefit of a decision that was made elsewhere, which counts in the year; None where there is one."""
    bases = services.settings.local_bases
    for eob in await known.find("ExplanationOfBenefit", RefersTo("claim", "Claim", claim["id"])):
        live = eob.get("status") == "active"
        if live and local_id(eob.get("claimResponse"), "ClaimResponse", bases) == response["id"]:
            return None
    focal = next((i["coverage"] for i in claim["insurance"] if i.get("focal") is True), None)
    id = local_id(focal, "Coverage", bases)
    coverage = None if id is None else await known.current("Coverage", id)
    if coverage is None:
        return None
    day = date.fromisoformat(str(claim.get("billablePeriod", {}).get("start", response["created"]))[:10])
    items, _ = items_of(claim)
    plan = plan_of(await insurance_plan(known, coverage, bases), coverage, day, currency)
    names = [plan.rule_for(item.codes).name for item in items]
    return explanation_of_answer(posted_id(response["id"]), claim, response, coverage, names, items, day.year)


def _payment(
    id: str, response: Resource, invoice: Resource, paid: Decimal, currency: str, at: str, services: Services
) -> Resource:
    method = {"url": METHOD, "valueCodeableConcept": method_concept("transfer")}
    made = new_payment(id, money(paid, currency), at, method)
    if local_id(response["insurer"], "Organization", services.settings.local_bases) is not None:
        made["paymentIssuer"] = response["insurer"]
    if "identifier" in response.get("payment", {}):
        made["paymentIdentifier"] = response["payment"]["identifier"]
    made = settling(made, invoice, paid, services, keep_rest=True)
    by = {"reference": f"ClaimResponse/{response['id']}"}
    return {**made, "detail": [{**d, "response": by} for d in made["detail"]]}


async def _claimed(response: Resource, known: Known, services: Services) -> tuple[Resource, Resource]:
    """The Claim of a ClaimResponse and the Invoice that it is for. Raises BusinessRule."""
    bases = services.settings.local_bases
    id = local_id(response.get("request"), "Claim", bases)
    claim = None if id is None else await known.current("Claim", id)
    if claim is None:
        raise BusinessRule("The Claim of the ClaimResponse is not here.", "ClaimResponse.request")
    told: Resource = next((e for e in claim.get("extension", ()) if e.get("url") == INVOICE), {})
    invoice_id = local_id(told.get("valueReference"), "Invoice", bases)
    if invoice_id is None:
        raise BusinessRule(
            f"Claim/{id} does not say for which Invoice it is (extension claim-invoice).", "Claim"
        )
    invoice = await require_invoice(known, invoice_id)
    if invoice.get("status") not in (ISSUED, "balanced"):
        raise BusinessRule(
            f"Invoice/{invoice_id} is {invoice.get('status')}: it is issued before payments are posted.",
            "Invoice",
        )
    return claim, invoice


def _share(claim: Resource, invoice: Resource, services: Services) -> Decimal:
    """What the coverage of a claim was to pay of the invoice."""
    bases = services.settings.local_bases
    focal = next((i["coverage"] for i in claim["insurance"] if i.get("focal") is True), None)
    id = local_id(focal, "Coverage", bases)
    found = (s for s in shares_of(invoice) if local_id({"reference": s.coverage}, "Coverage", bases) == id)
    return next((s.amount for s in found), ZERO)
