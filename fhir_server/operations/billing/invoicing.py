"""Account/$invoice: drafts of invoices over what is billable on an account."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_r4.references import local_id
from fhir_r4.temporal import parse_interval
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.dividing import Payers
from fhir_server.operations.billing.requesting import (
    MOST_CHARGES,
    all_named,
    bundle,
    require,
    require_status,
    settings_today,
    until,
)
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.charges import service_time
from fhir_server.resources.billing.charging import price_for_invoice
from fhir_server.resources.billing.invoicing import Line, amounts
from fhir_server.resources.billing.pricing import lines_of
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo

INVOICE = "https://osler.health/fhir/OperationDefinition/Account-invoice"
BY_ENCOUNTER, BY_PAYER = "encounter", "payer"


async def invoice(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle of draft Invoices: one, or one for each Encounter or payer; their ChargeItems are billed in the same commit."""
    asked = given(call, INVOICE)
    wanted = all_named(asked, "charge-item", "ChargeItem", services)
    split = asked.one("split-by")
    if split not in (None, BY_ENCOUNTER, BY_PAYER):
        raise InvalidRequest(f"The parameter split-by is {BY_ENCOUNTER} or {BY_PAYER}.", "split-by")

    async def plan(known: Known) -> Sequence[Write]:
        account = await require(known, "Account", call.id)
        require_status(account, "active", "on-hold")
        charges = await _charges(asked, known, services, account["id"], wanted)
        if not charges:
            raise BusinessRule(f"Nothing is billable on Account/{account['id']}.", "Account")
        groups: dict[str, list[Resource]] = {}
        payers = Payers(known, services)
        for charge in charges:
            key = ""
            if split == BY_ENCOUNTER:
                key = str(charge.get("context", {}).get("reference"))
            elif split == BY_PAYER:
                key = await payers.of(charge)
            groups.setdefault(key, []).append(charge)
        return [
            Write(
                await _draft(asked, known, services, account, group, key if split == BY_PAYER else ""),
                "POST",
                fresh=True,
            )
            for key, group in groups.items()
        ]

    return await carry_out(call, services, asked, plan, lambda written: bundle(call, written))


async def _charges(
    asked: Given, known: Known, services: Services, account: str, wanted: Sequence[str]
) -> list[Resource]:
    """What is billable, by the time of the service."""
    zone = services.settings.default_timezone
    if wanted:
        await known.ahead("ChargeItem", wanted)
        found = [await require(known, "ChargeItem", id) for id in wanted]
        bases = services.settings.local_bases
        for charge in found:
            accounts = [local_id(a, "Account", bases) for a in charge.get("account", ())]
            if account not in accounts:
                raise BusinessRule(f"ChargeItem/{charge['id']} is not on Account/{account}.", "charge-item")
            require_status(charge, "billable")
    else:
        found = await known.find("ChargeItem", RefersTo("account", "Account", account), MOST_CHARGES)
        found = [c for c in found if c["status"] == "billable"]
    last = until(asked, known, services)

    def order(charge: Resource) -> tuple[int, str]:
        text = service_time(charge)
        return (0 if text is None else parse_interval(text, zone)[0]), str(charge["id"])

    return sorted((c for c in found if order(c)[0] < last), key=order)


async def _draft(
    asked: Given,
    known: Known,
    services: Services,
    account: Resource,
    charges: Sequence[Resource],
    payer: str = "",
) -> Resource:
    settings = await settings_today(known, services)
    prices = [await price_for_invoice(charge, known, services) for charge in charges]
    lines = [
        Line(number + 1, {"chargeItemReference": _reference(charge)}, components)
        for number, (charge, components) in enumerate(zip(charges, lines_of(prices, settings), strict=True))
    ]
    made: Resource = {"resourceType": "Invoice", "id": services.new_id(), "status": "draft"}
    made["subject"] = next(iter(account.get("subject", ())), charges[0]["subject"])
    of_payer = {"reference": payer} if payer else None
    recipient = (
        of_payer
        or asked.one("recipient")
        or next((g["party"] for g in account.get("guarantor", ()) if not g.get("onHold", False)), None)
    )
    if recipient is not None:
        made["recipient"] = recipient
    issuer = asked.one("issuer") or account.get("owner") or charges[0].get("performingOrganization")
    if issuer is not None:
        made["issuer"] = issuer
    made["account"] = {"reference": f"Account/{account['id']}"}
    return {**made, **amounts(lines, prices[0].currency)}


def _reference(charge: Resource) -> Resource:
    code = charge.get("code", {})
    display = code.get("text") or next((c["display"] for c in code.get("coding", ()) if "display" in c), None)
    reference: Resource = {"reference": f"ChargeItem/{charge['id']}"}
    return reference if display is None else {**reference, "display": display}
