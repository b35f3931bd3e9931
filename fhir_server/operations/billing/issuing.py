"""Invoice/$issue and $credit: an invoice goes out under the next number of its series, and is taken back by a credit note.

The number is taken by the manner of Invoice, in the commit that issues. Those who issue in the same series at the same
time wait for each other here, so that they need not try again; other processes are met by trying again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from weakref import WeakValueDictionary

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.references import local_id
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.approving import approvals_named, ask_for_approval
from fhir_server.operations.billing.requesting import require, require_status
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.approvals import CREDIT as CREDITS_OF
from fhir_server.resources.billing.charges import quantity_of
from fhir_server.resources.billing.crediting import Credit, credit_lines
from fhir_server.resources.billing.invoice import RELEASED_AS
from fhir_server.resources.billing.invoicing import (
    BALANCED,
    CREDIT_NOTE,
    CREDITS,
    ISSUED,
    NUMBER,
    TYPE_SYSTEM,
    amounts,
    credited_lines,
    credited_of,
    lines_in,
    require_currency,
    require_own,
    with_extension,
)
from fhir_server.resources.billing.money import ZERO, amount_of, number_of, sum_of
from fhir_server.resources.change import Known

ISSUE = "https://osler.health/fhir/OperationDefinition/Invoice-issue"
CREDIT = "https://osler.health/fhir/OperationDefinition/Invoice-credit"
RELEASES = ("billable", "not-billable", "billed")


class Turns:
    """Locks by the name of what is waited for; one that nobody waits for is forgotten."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


async def issue(call: OperationCall, services: Services) -> FhirResponse:
    """The Invoice, issued."""
    asked = given(call, ISSUE)

    async def plan(known: Known) -> Sequence[Write]:
        invoice = await require(known, "Invoice", call.id)
        require_status(invoice, "draft")
        made = {k: v for k, v in invoice.items() if k != "date"} | {"status": ISSUED}
        if "issuer" in asked:
            made["issuer"] = asked.one("issuer")
        return [Write(_dated(made, asked))]

    async with services.views.of(Turns).of("issue"):
        return await carry_out(call, services, asked, plan)


async def credit(call: OperationCall, services: Services) -> FhirResponse:
    """The credit note, issued in its own series, or the Task that asks for its approval."""
    asked = given(call, CREDIT)
    released = asked.one("charges") or "billable"
    if released not in RELEASES:
        raise InvalidRequest(f"The parameter charges is one of {', '.join(RELEASES)}.", "charges")

    async def plan(known: Known) -> Sequence[Write]:
        invoice = require_own(await require(known, "Invoice", call.id))
        require_status(invoice, ISSUED, BALANCED)
        lines = credit_lines(invoice, _asked(asked, invoice), await _quantities(invoice, known, services))
        currency = require_currency(invoice)
        amount = sum_of((ZERO, *(-line.gross for line in lines)))
        asking = await ask_for_approval(
            CREDITS_OF, asked, invoice["id"], amount, credited_of(invoice), currency, known, services
        )
        if asking is not None:
            return [asking]
        note: Resource = {
            "resourceType": "Invoice",
            "id": services.new_id(),
            "extension": [
                {"url": CREDITS, "valueReference": {"reference": f"Invoice/{invoice['id']}"}},
                {"url": RELEASED_AS, "valueCode": released},
                *approvals_named(asked, services),
            ],
            "status": ISSUED,
            "type": {"coding": [{"system": TYPE_SYSTEM, "code": CREDIT_NOTE, "display": "Credit note"}]},
        }
        note |= {k: invoice[k] for k in ("subject", "recipient", "issuer", "account") if k in invoice}
        note |= amounts(lines, currency)
        note["note"] = [{"text": str(asked.one("reason"))}]
        return [Write(_dated(note, asked), "POST", fresh=True)]

    async with services.views.of(Turns).of("issue"):
        return await carry_out(call, services, asked, plan)


def _dated(invoice: Resource, asked: Given) -> Resource:
    """The invoice with the series and the date that were asked for."""
    if asked.one("series") is not None:
        series = [{"url": "series", "valueString": asked.one("series")}]
        invoice = with_extension(invoice, {"url": NUMBER, "extension": series})
    return invoice if asked.one("date") is None else {**invoice, "date": asked.one("date")}


def _asked(asked: Given, invoice: Resource) -> list[Credit]:
    """What is to be credited: the lines that were asked for, or all of which something is left."""
    currency = require_currency(invoice)
    found: list[Credit] = []
    for line in asked.all("line"):
        amount, quantity = line.one("amount"), line.one("quantity")
        if amount is not None and quantity is not None:
            raise InvalidRequest("A line is credited by an amount or by a quantity.", "line")
        found.append(
            Credit(
                line.one("sequence"),
                None if amount is None else amount_of(amount, "line.amount", currency),
                None if quantity is None else number_of(quantity, "line.quantity"),
            )
        )
    if found:
        return found
    done = credited_lines(invoice)
    left = [line for line in lines_in(invoice) if done.get(line.sequence, (ZERO, ZERO))[0] != line.gross]
    if not left:
        raise BusinessRule(f"Nothing of Invoice/{invoice['id']} is left to credit.", "Invoice")
    return [Credit(line.sequence) for line in left]


async def _quantities(invoice: Resource, known: Known, services: Services) -> dict[int, Decimal]:
    """How many each line has."""
    found = {}
    for line in lines_in(invoice):
        id = local_id(line.item.get("chargeItemReference"), "ChargeItem", services.settings.local_bases)
        charge = None if id is None else await known.current("ChargeItem", id)
        if charge is not None:
            found[line.sequence] = quantity_of(charge)
    return found
