"""ChargeItemDefinition/$apply and $price: a charge gets the price of the version in force when the service was.

https://hl7.org/fhir/R4/chargeitemdefinition-operation-apply.html. `$price` writes nothing and needs no ChargeItem.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_r4.errors import BusinessRule, InvalidRequest
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.governing import Plan
from fhir_server.operations.acting import Write
from fhir_server.operations.billing.requesting import named, require, require_status
from fhir_server.operations.billing.tracing import carry_out
from fhir_server.operations.given import Given, given
from fhir_server.resources.billing.charging import priced
from fhir_server.resources.billing.price_list import price_list
from fhir_server.resources.change import Known

APPLY = "http://hl7.org/fhir/OperationDefinition/ChargeItemDefinition-apply"
PRICE = "https://osler.health/fhir/OperationDefinition/ChargeItemDefinition-price"
OPEN = ("planned", "billable", "not-billable", "unknown")


async def apply(call: OperationCall, services: Services) -> FhirResponse:
    """The ChargeItem with its price, and with the account if that is given."""
    asked = given(call, APPLY)
    charge_id = named(asked, "chargeItem", "ChargeItem", services)
    account = named(asked, "account", "Account", services)

    async def plan(known: Known) -> Sequence[Write]:
        definition = await require(known, "ChargeItemDefinition", call.id)
        charge = await require(known, "ChargeItem", charge_id)
        require_status(charge, *OPEN)
        if account is not None:
            await require(known, "Account", account)
            charge = {**charge, "account": [{"reference": f"Account/{account}"}]}
        return [Write(await _priced(charge, definition["url"], known, services))]

    return await carry_out(call, services, asked, plan)


async def price(call: OperationCall, services: Services) -> FhirResponse:
    """The ChargeItem as it would be charged; nothing is written."""
    asked = given(call, PRICE)
    known = Plan(services, ())
    charge = _charge(asked)
    if call.id is not None:
        url = (await require(known, "ChargeItemDefinition", call.id))["url"]
    else:
        urls = (await price_list(services)).urls_for([charge["code"]])
        if len(urls) != 1:
            raise BusinessRule(
                f"{len(urls)} definitions charge for this code; one is needed: ChargeItemDefinition/[id]/$price.",
                "code",
            )
        url = urls[0]
    return FhirResponse(200, resource=await _priced(charge, url, known, services))


async def _priced(charge: Resource, url: str, known: Known, services: Services) -> Resource:
    found = await priced(charge, url, known, services)
    if found is None:
        raise BusinessRule(
            f"The conditions of {url} do not hold for this charge.", "ChargeItemDefinition.applicability"
        )
    return found


def _charge(asked: Given) -> Resource:
    """The ChargeItem that was sent, or one of the other parameters."""
    charge: Resource = dict(asked.one("charge-item") or {})
    if not charge:
        charge = {"resourceType": "ChargeItem", "id": "price", "status": "planned"}
    charge.setdefault("id", "price")
    members = {
        "code": "code",
        "subject": "subject",
        "encounter": "context",
        "occurrence": "occurrenceDateTime",
    }
    charge |= {member: asked.one(name) for name, member in members.items() if name in asked}
    if "account" in asked:
        charge["account"] = [asked.one("account")]
    if "quantity" in asked:
        charge["quantity"] = {"value": asked.one("quantity")}
    charge.setdefault("code", {"text": "price"})
    if "subject" not in charge:
        charge["subject"] = {"display": "nobody"}
    if charge.get("resourceType") != "ChargeItem":
        raise InvalidRequest("The parameter charge-item is a ChargeItem.", "charge-item")
    return charge
