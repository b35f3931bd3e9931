"""Invoice/$discount and $write-off: less is asked for. A draft gets cheaper; of what was issued an amount is given up, and nothing else changes.

Above the limits of the settings a second person approves: the first call answers with the Task that asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.temporal import format_instant
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.approving import approvals_named, ask_for_approval
from fhir_server.operations.billing.asking import (
    OSLER,
    positive,
    require_currency_is,
    require_invoice,
)
from fhir_server.operations.billing.requesting import require_status, settings_today
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.approvals import DISCOUNT, WRITE_OFF
from fhir_server.resources.billing.discounting import (
    INVOICE_DISCOUNT,
    discount_extension,
    discounted,
    lines_named,
    percent_of,
)
from fhir_server.resources.billing.invoicing import (
    DRAFT,
    ISSUED,
    check_sums,
    extension,
    is_credit_note,
    open_of,
    require_currency,
    with_extension,
)
from fhir_server.resources.billing.money import ZERO, money, number_of, sum_of
from fhir_server.resources.billing.payments import WRITE_OFF as WRITTEN_OFF
from fhir_server.resources.billing.payments import (
    adjustment_extension,
    adjustment_of,
    new_payment,
    with_detail,
)
from fhir_server.resources.billing.settlement import settlements
from fhir_server.resources.change import Known

DISCOUNT_DEFINITION = OSLER + "Invoice-discount"
WRITE_OFF_DEFINITION = OSLER + "Invoice-write-off"
KINDS = ("write-off", "discount")


async def discount(call: OperationCall, services: Services) -> FhirResponse:
    """The draft with its discount, or the Task that asks for its approval."""
    asked = given(call, DISCOUNT_DEFINITION)
    percent = _percent(asked)

    async def plan(known: Known) -> Sequence[Write]:
        invoice = await require_invoice(known, call.id)
        if invoice.get("status") != DRAFT:
            raise BusinessRule(
                f"Invoice/{call.id} is {invoice.get('status')}: $credit takes back of it, $write-off gives up what is open.",
                "Invoice.status",
            )
        if extension(invoice, INVOICE_DISCOUNT) is not None:
            raise BusinessRule(
                "The draft has a discount: drop it (entered-in-error) and make another.", "Invoice"
            )
        check_sums(invoice)
        settings, currency = await settings_today(known, services), require_currency(invoice)
        lines = lines_named(invoice, asked.all("line"))
        stated = positive(asked, "amount")
        if percent is not None:
            amount = percent_of(lines, percent, currency, settings)
        else:
            assert stated is not None
            require_currency_is(stated[1], currency, "amount")
            amount = stated[0]
        factor = None if percent is None else percent.scaleb(-2)
        made = discounted(invoice, lines, amount, asked.one("reason"), factor, settings)
        asking = await ask_for_approval(
            DISCOUNT, asked, invoice["id"], amount, ZERO, currency, known, services
        )
        if asking is not None:
            return [asking]
        told = discount_extension(money(amount, currency), asked.one("reason"), asked.one("requester"))
        return [Write(with_extension(made, told, *approvals_named(asked, services)))]

    return await carry_out(call, services, asked, plan)


def _percent(asked: Given) -> Decimal | None:
    """The parameter `percent`; None with an amount. Raises InvalidRequest for both or neither."""
    if ("percent" in asked) == ("amount" in asked):
        raise InvalidRequest("A discount is an amount or a percent.", "amount")
    if "percent" not in asked:
        return None
    found = number_of(asked.one("percent"), "percent")
    if not 0 < found <= 100:
        raise BusinessRule(f"{found} % is no discount.", "percent")
    return found


async def write_off(call: OperationCall, services: Services) -> FhirResponse:
    """The PaymentReconciliation that gives up what is open of an Invoice, or the Task that asks for its approval."""
    asked = given(call, WRITE_OFF_DEFINITION)
    kind = asked.one("kind") or WRITTEN_OFF
    if kind not in KINDS:
        raise InvalidRequest(f"The parameter kind is one of {', '.join(KINDS)}.", "kind")

    async def plan(known: Known) -> Sequence[Write]:
        invoice = await require_invoice(known, call.id)
        require_status(invoice, ISSUED)
        if is_credit_note(invoice):
            raise BusinessRule("Of a credit note nothing is written off.", "Invoice.type")
        currency, open = require_currency(invoice), open_of(invoice)
        amount = open
        stated = positive(asked, "amount")
        if stated is not None:
            require_currency_is(stated[1], currency, "amount")
            amount = stated[0]
        if not ZERO < amount <= open:
            raise BusinessRule(f"{open} {currency} of Invoice/{invoice['id']} are open.", "amount")
        before = await _given_up(invoice, known)
        asking = await ask_for_approval(
            WRITE_OFF, asked, invoice["id"], amount, before, currency, known, services
        )
        if asking is not None:
            return [asking]
        at = format_instant(known.now)
        told = adjustment_extension(kind, asked.one("reason"), asked.one("requester"))
        extensions = [told, *approvals_named(asked, services)]
        made = new_payment(services.new_id(), money(amount, currency), at, *extensions)
        return [Write(with_detail(made, "adjustment", f"Invoice/{invoice['id']}", amount, at), "POST", True)]

    return await carry_out(call, services, asked, plan)


async def _given_up(invoice: Resource, known: Known) -> Decimal:
    """What was given up of an Invoice before."""
    found = [ZERO]
    for settlement in settlements(invoice):
        type, _, id = settlement.by.partition("/")
        if type == "PaymentReconciliation" and adjustment_of(await known.current(type, id)) is not None:
            found.append(settlement.amount)
    return sum_of(found)
