"""From charges to invoices, on each store: drafts, numbers, frozen content, credits."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.billing.insured import category, cost, coverage, plan
from tests.billing.office import (
    ACCOUNT,
    base,
    build,
    call,
    charge,
    code,
    definition,
    drafted,
    gross,
    issued,
    money,
    number,
    parameters,
    read,
    resources,
    send,
    stay,
    tax,
    told,
    write,
)
from tests.conftest import Client, on_each_store
from tests.rest.resources import ask, bundle, put

D = Decimal
PATCH = {"content-type": "application/json-patch+json"}


@pytest.fixture
async def office(client: Client) -> Client:
    await build(client)
    return client


async def test_an_invoice_lists_the_charges_and_bills_them(office: Client) -> None:
    await write(office, charge("c1"))
    await write(office, charge("c2", "xray", quantity={"value": 2}))
    made = await drafted(office)
    assert (made["status"], str(made["totalNet"]["value"]), str(made["totalGross"]["value"])) == (
        "draft",
        "215.00",
        "258.00",
    )
    assert [line["chargeItemReference"]["reference"] for line in made["lineItem"]] == [
        "ChargeItem/c1",
        "ChargeItem/c2",
    ]
    assert made["issuer"] == {"reference": "Organization/h1"}
    assert made["subject"] == {"reference": "Patient/p1"}
    assert "identifier" not in made
    billed = await read(office, "ChargeItem/c1")
    assert billed["status"] == "billed"
    assert f"Invoice/{made['id']}" in str(billed["extension"])
    assert "Nothing is billable" in told(await call(office, "Account/a1/$invoice", 422))


async def test_the_vector_of_four_lines(office: Client) -> None:
    prices = {"a": "68.33", "b": "68.33", "c": "57.50", "d": "85.00"}
    for name, value in prices.items():
        await write(office, definition(name, base(value), tax("0.20")))
    made = await issued(office, *(charge(f"c{n}", n) for n in prices))
    assert str(made["totalGross"]["value"]) == "334.99"
    credited = []
    for line in range(1, 5):
        note = await call(office, f"Invoice/{made['id']}/$credit", line=[{"sequence": line}], reason="wrong")
        credited.append(gross(note))
    assert credited == [D("-82.00"), D("-81.99"), D("-69.00"), D("-102.00")]
    assert (await read(office, f"Invoice/{made['id']}"))["status"] == "cancelled"


async def test_an_invoice_that_is_issued_has_the_next_number(office: Client) -> None:
    first = await issued(office, charge("c1"), date="2026-03-10T10:00:00Z")
    second = await issued(office, charge("c2"), date="2026-03-10T10:00:00Z")
    assert (first["status"], number(first), number(second)) == (
        "issued",
        "INV-2026-000001",
        "INV-2026-000002",
    )
    assert any(e.get("valueDate") == "2026-04-09" for e in first["extension"])
    other = await issued(office, charge("c3"), series="LAB", date="2026-03-10T10:00:00Z")
    assert number(other) == "LAB-2026-000001"
    report = await call(office, "Invoice/$verify-series")
    assert report["parameter"][0] == {"name": "valid", "valueBoolean": True}


async def test_dates_of_a_series_do_not_run_backwards(office: Client) -> None:
    await issued(office, charge("c1"), date="2026-03-10T10:00:00Z")
    await write(office, charge("c2"))
    draft = await drafted(office)
    address = f"Invoice/{draft['id']}/$issue"
    assert "backwards" in told(await call(office, address, 422, date="2026-03-10T09:59:59Z"))
    assert "yet to come" in told(await call(office, address, 422, date="2999-01-01T00:00:00Z"))
    assert number(await call(office, address, date="2026-03-10T10:00:00Z")).endswith("000002")


async def test_an_invoice_of_the_day_follows_those_of_the_day(office: Client) -> None:
    await issued(office, charge("c1"), date="2026-03-10T10:00:00Z")
    day = await issued(office, charge("c2"), date="2026-03-10")
    assert (number(day)[-6:], day["date"]) == ("000002", "2026-03-10")
    await write(office, charge("c3"))
    draft = await drafted(office)
    address = f"Invoice/{draft['id']}/$issue"
    assert "backwards" in told(await call(office, address, 422, date="2026-03-10T09:00:00Z"))
    assert "backwards" in told(await call(office, address, 422, date="2026-03-09"))
    await call(office, address, date="2026-03-10T10:00:00Z")
    assert (await call(office, "Invoice/$verify-series"))["parameter"][0]["valueBoolean"] is True


async def test_a_dry_run_takes_no_number(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    would = await call(office, f"Invoice/{draft['id']}/$issue", dry_run=True)
    assert number(would).endswith("000001")
    assert (await read(office, f"Invoice/{draft['id']}"))["status"] == "draft"
    assert number(await call(office, f"Invoice/{draft['id']}/$issue")).endswith("000001")


async def test_an_invoice_without_issuer_is_not_issued(client: Client) -> None:
    await build(client, {k: v for k, v in ACCOUNT.items() if k != "owner"})
    await write(client, charge("c1"))
    draft = await drafted(client)
    assert "by whom" in told(await call(client, f"Invoice/{draft['id']}/$issue", 422))
    made = await call(client, f"Invoice/{draft['id']}/$issue", issuer="Organization/h1")
    assert number(made)


async def test_the_same_request_again_gives_the_same_number(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    address = f"Invoice/{draft['id']}/$issue"
    first = await call(office, address, request_id="urn:uuid:1")
    again = await call(office, address, request_id="urn:uuid:1")
    assert first == again
    assert "is issued" in told(await call(office, address, 422))


@on_each_store
async def test_what_was_issued_stays_on_every_way_to_write(office: Client) -> None:
    made = await issued(office, charge("c1"))
    address, stored = f"/Invoice/{made['id']}", await read(office, f"Invoice/{made['id']}")
    changed = {**stored, "totalGross": money("1.00")}
    answer = await send(office, "PUT", address, changed)
    assert answer.status_code == 422
    assert "totalGross" in answer.text
    assert "$credit" in answer.text
    patch = [{"op": "add", "path": "/recipient", "value": {"display": "X"}}]
    assert (await office.patch(address, json=patch, headers=PATCH)).status_code == 422
    assert (await office.delete(address)).status_code == 422
    for status in ("balanced", "cancelled", "draft", "entered-in-error"):
        answer = await send(office, "PUT", address, {**stored, "status": status})
        assert answer.status_code == 422, status
    for entry in (put(changed), ask("DELETE", f"Invoice/{made['id']}")):
        answer = await send(office, "POST", "", bundle("transaction", entry))
        assert answer.status_code == 422
    assert (await send(office, "PUT", address, stored)).status_code == 200
    assert await read(office, f"Invoice/{made['id']}") == stored
    assert (await office.delete("/ChargeItem/c1")).status_code == 422


async def test_a_plain_put_issues_like_the_operation(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    made = await write(office, {**draft, "status": "issued", "date": "2026-03-10"}, 200)
    assert number(made) == "INV-2026-000001"
    assert (await call(office, "Invoice/$verify-series"))["parameter"][0]["valueBoolean"] is True


async def test_numbers_are_not_made_up(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    own = {"system": "https://osler.health/fhir/sid/invoice-number", "value": "INV-2026-000099"}
    answer = await send(office, "PUT", f"/Invoice/{draft['id']}", {**draft, "identifier": [own]})
    assert answer.status_code == 422
    counter = {
        "resourceType": "Basic",
        "id": "invoice-series-Organization-h1-INV-2026",
        "code": {"text": "x"},
    }
    assert (await send(office, "PUT", f"/Basic/{counter['id']}", counter)).status_code == 422
    await call(office, f"Invoice/{draft['id']}/$issue", date="2026-03-10")
    assert (await office.delete(f"/Basic/{counter['id']}")).status_code == 422


async def test_an_invoice_whose_sums_do_not_close_is_not_issued(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    await write(office, {**draft, "totalGross": money("119.99")}, 200)
    answer = await call(office, f"Invoice/{draft['id']}/$issue", 422)
    assert "the lines sum to 120.00" in told(answer)


@pytest.mark.parametrize("status", ["balanced", "cancelled"])
async def test_an_invoice_does_not_begin_at_its_end(office: Client, status: str) -> None:
    made = {"resourceType": "Invoice", "id": "i1", "status": status}
    assert (await send(office, "PUT", "/Invoice/i1", made)).status_code == 422


async def test_a_charge_is_billed_by_an_invoice_alone(office: Client) -> None:
    assert (await send(office, "PUT", "/ChargeItem/c1", charge("c1", status="billed"))).status_code == 422
    await write(office, charge("c1"))
    answer = await send(office, "PUT", "/ChargeItem/c1", charge("c1", status="billed"))
    assert "$invoice" in answer.text
    draft = await drafted(office)
    answer = await send(office, "PUT", "/ChargeItem/c1", charge("c1"))
    assert answer.status_code == 422
    stored = await read(office, "ChargeItem/c1")
    answer = await send(office, "PUT", "/ChargeItem/c1", {**stored, "quantity": {"value": 2}})
    assert "quantity" in answer.text
    assert (await send(office, "PUT", "/ChargeItem/c1", stored)).status_code == 200
    assert (await office.delete(f"/Invoice/{draft['id']}")).status_code in (200, 204)
    assert (await read(office, "ChargeItem/c1"))["status"] == "billable"


async def test_a_draft_that_is_an_error_frees_its_charges(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    await write(office, {**draft, "status": "entered-in-error"}, 200)
    freed = await read(office, "ChargeItem/c1")
    assert freed["status"] == "billable"
    assert "billed-by" not in str(freed)
    assert (await drafted(office))["id"] != draft["id"]


async def test_a_charge_is_on_one_live_invoice(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    copy = {**draft, "id": "copy"}
    answer = await send(office, "PUT", "/Invoice/copy", copy)
    assert answer.status_code == 422
    assert f"Invoice/{draft['id']}" in answer.text


async def test_a_plain_invoice_bills_what_it_lists(office: Client) -> None:
    await write(office, charge("c1"))
    made = {
        "resourceType": "Invoice",
        "id": "i1",
        "status": "draft",
        "lineItem": [{"chargeItemReference": {"reference": "ChargeItem/c1"}}],
    }
    await write(office, made)
    assert (await read(office, "ChargeItem/c1"))["status"] == "billed"
    await write(office, {**made, "lineItem": [{"chargeItemCodeableConcept": {"text": "x"}}]}, 200)
    assert (await read(office, "ChargeItem/c1"))["status"] == "billable"
    missing = [{"chargeItemReference": {"reference": "ChargeItem/none"}}]
    assert (await send(office, "PUT", "/Invoice/i1", {**made, "lineItem": missing})).status_code == 422


async def test_currencies_are_not_mixed(office: Client) -> None:
    await write(office, definition("abroad", base("5.00", "USD")))
    await write(office, charge("c1"))
    await call(office, "ChargeItemDefinition/visit-1/$apply", chargeItem="ChargeItem/c1")
    await write(office, charge("c2", "abroad"))
    answer = await call(office, "ChargeItemDefinition/abroad-1/$apply", 422, chargeItem="ChargeItem/c2")
    assert "Account/a1 is in EUR" in told(answer)
    assert "EUR, USD" in told(await call(office, "Account/a1/$invoice", 422))
    mixed = {
        "resourceType": "Invoice",
        "id": "i1",
        "status": "draft",
        "totalNet": money("1.00"),
        "totalGross": money("1.00", "USD"),
    }
    assert (await send(office, "PUT", "/Invoice/i1", mixed)).status_code == 422


@pytest.mark.parametrize(("currency", "price", "total"), [("JPY", "105", "126"), ("KWD", "1.005", "1.206")])
async def test_currencies_have_their_scales(client: Client, currency: str, price: str, total: str) -> None:
    await build(client, definition("abroad", base(price, currency), tax("0.20")))
    made = await issued(client, charge("c1", "abroad"))
    assert (str(made["totalGross"]["value"]), made["totalGross"]["currency"]) == (total, currency)


async def test_invoices_by_encounter(office: Client) -> None:
    await write(office, stay("e2"))
    await write(office, charge("c1"))
    await write(office, charge("c2", context={"reference": "Encounter/e2"}))
    made = resources(await call(office, "Account/a1/$invoice", split_by="encounter"))
    assert [len(i["lineItem"]) for i in made] == [1, 1]


async def test_invoices_by_payer(office: Client) -> None:
    for payer in ("nord", "sued"):
        await write(office, {"resourceType": "Organization", "id": payer, "name": payer})
    first = plan("basic", category("visit", cost("copaypct", "10")), category("all", cost("excluded")))
    first["plan"][0]["specificCost"][0]["category"] = code("visit")
    await write(office, first)
    await write(office, plan("extra", category("all", cost("copay", "5"))))
    until = {"period": {"end": "2026-03-31"}}
    await write(office, {**coverage("v1", "basic"), "payor": [{"reference": "Organization/nord"}]})
    await write(
        office, {**coverage("v2", "extra", 2, **until), "payor": [{"reference": "Organization/sued"}]}
    )
    await write(office, charge("c1"))
    await write(office, charge("c2", "xray"))
    await write(office, charge("c3", "xray", occurrenceDateTime="2026-04-02"))
    made = resources(await call(office, "Account/a1/$invoice", split_by="payer"))
    listed = {
        i.get("recipient", {}).get("reference"): [
            line["chargeItemReference"]["reference"] for line in i["lineItem"]
        ]
        for i in made
    }
    assert listed == {
        "Organization/nord": ["ChargeItem/c1"],
        "Organization/sued": ["ChargeItem/c2"],
        None: ["ChargeItem/c3"],
    }
    refused = await call(office, "Account/a1/$invoice", 400, split_by="colour")
    assert "encounter or payer" in told(refused)


async def test_only_services_until_then_are_invoiced(office: Client) -> None:
    await write(office, charge("c1", occurrenceDateTime="2026-03-31"))
    await write(office, charge("c2", occurrenceDateTime="2026-04-01"))
    made = await drafted(office, until="2026-03-31")
    assert [line["chargeItemReference"]["reference"] for line in made["lineItem"]] == ["ChargeItem/c1"]


# Credits


async def test_a_credit_note_makes_the_charges_billable_again(office: Client) -> None:
    made = await issued(office, charge("c1"), charge("c2"))
    note = await call(office, f"Invoice/{made['id']}/$credit", reason="wrong patient")
    assert (number(note)[:4], note["status"], str(note["totalGross"]["value"])) == (
        "CRN-",
        "issued",
        "-240.00",
    )
    assert note["type"]["coding"][0]["code"] == "credit-note"
    original = await read(office, f"Invoice/{made['id']}")
    assert original["status"] == "cancelled"
    assert (await read(office, "ChargeItem/c1"))["status"] == "billable"
    again = await drafted(office)
    assert str(again["totalGross"]["value"]) == "240.00"
    assert (await call(office, "Invoice/$verify-series"))["parameter"][0]["valueBoolean"] is True
    assert (await office.delete(f"/Invoice/{note['id']}")).status_code == 422


async def test_charges_may_stay_out_after_a_credit(office: Client) -> None:
    made = await issued(office, charge("c1"), charge("c2"))
    await call(
        office,
        f"Invoice/{made['id']}/$credit",
        line=[{"sequence": 1}],
        reason="goodwill",
        charges="not-billable",
    )
    assert (await read(office, "ChargeItem/c1"))["status"] == "not-billable"
    original = await read(office, f"Invoice/{made['id']}")
    assert original["status"] == "issued"


async def test_parts_of_a_line_are_credited_to_the_cent(office: Client) -> None:
    made = await issued(office, charge("c1", quantity={"value": 3}))
    address = f"Invoice/{made['id']}/$credit"
    part = await call(office, address, line=[{"sequence": 1, "amount": money("100.01")}], reason="less")
    assert (str(part["totalGross"]["value"]), str(part["totalNet"]["value"])) == ("-100.01", "-83.34")
    assert (await read(office, "ChargeItem/c1"))["status"] == "billed"
    too_much = {"sequence": 1, "amount": money("260.00")}
    assert "259.99 left" in told(await call(office, address, 422, line=[too_much], reason="x"))
    rest = await call(office, address, reason="all")
    assert (str(rest["totalGross"]["value"]), str(rest["totalNet"]["value"])) == ("-259.99", "-216.66")


async def test_pieces_of_a_line_are_credited(office: Client) -> None:
    made = await issued(office, charge("c1", "plain", quantity={"value": 3}))
    address = f"Invoice/{made['id']}/$credit"
    note = await call(office, address, line=[{"sequence": 1, "quantity": D(2)}], reason="returned")
    assert str(note["totalGross"]["value"]) == "-20.00"
    assert "1 left" in told(
        await call(office, address, 422, line=[{"sequence": 1, "quantity": D(2)}], reason="returned")
    )


async def test_a_credit_note_by_hand_keeps_the_rules(office: Client) -> None:
    made = await issued(office, charge("c1"))
    note = await call(office, f"Invoice/{made['id']}/$credit", reason="x", dry_run=True)
    kept = {k: v for k, v in note.items() if k not in ("id", "meta", "identifier", "date")}
    kept["extension"] = [e for e in kept["extension"] if e["url"].endswith(("/credits", "/credited-charges"))]
    doubled = {**kept, "id": "n1", "status": "issued"}
    answer = await send(office, "POST", "", bundle("transaction", put(doubled), put({**doubled, "id": "n2"})))
    assert answer.status_code == 422, answer.text
    assert (await send(office, "PUT", "/Invoice/n1", doubled)).status_code == 201
    assert (await read(office, f"Invoice/{made['id']}"))["status"] == "cancelled"
    assert (await send(office, "PUT", "/Invoice/n2", {**doubled, "id": "n2"})).status_code == 422
    assert (await call(office, "Invoice/$verify-series"))["parameter"][0]["valueBoolean"] is True


async def test_a_stale_version_is_refused(office: Client) -> None:
    await write(office, charge("c1"))
    draft = await drafted(office)
    answer = await send(
        office,
        "POST",
        f"/Invoice/{draft['id']}/$issue",
        parameters(request_id="urn:uuid:2"),
        if_match='W/"7"',
    )
    assert answer.status_code == 412
