"""Less is asked for: discounts of drafts, write-offs and credit notes; above a limit never by one person alone, always with a trace."""

from __future__ import annotations

import asyncio
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.operations.billing.books import verify
from fhir_server.resources.billing.discounting import discounted, lines_named
from fhir_server.resources.billing.invoicing import Line, amounts, check_sums, gross_in, lines_in, open_of
from fhir_server.resources.billing.money import sum_of
from fhir_server.resources.billing.pricing import BASE, TAX, Charge, Component, lines_of
from fhir_server.resources.billing.settings import BillingSettings
from tests.billing.cash import ask, build, diagnostics, done, euros, invoice, payment, put, read, send
from tests.billing.test_refunding import limited
from tests.conftest import Client

D = Decimal
OSLER = "https://osler.health/fhir/StructureDefinition/"
REASONS = "https://osler.health/fhir/CodeSystem/adjustment-reason"
ONE, TWO = "Practitioner/one", "Practitioner/two"


def why(code: str = "uncollectible") -> dict[str, Any]:
    return {"coding": [{"system": REASONS, "code": code}]}


async def reduce(client: Client, address: str, **values: Any) -> Any:
    """An answer; `reason` is a code, `percent` and `line` are numbers."""
    from tests.billing.cash import parameters

    reason = values.pop("reason", why())
    extra = [{"name": "reason", "valueCodeableConcept": reason}]
    extra += [{"name": "percent", "valueDecimal": D(v)} for v in values.pop("percent", ())]
    extra += [{"name": "line", "valuePositiveInt": v} for v in values.pop("line", ())]
    extra += [{"name": "kind", "valueCode": v} for v in values.pop("kind", ())]
    values.setdefault("request_id", f"urn:uuid:{uuid.uuid4()}")
    body = parameters(**values)
    return await send(client, "POST", address, {**body, "parameter": [*body["parameter"], *extra]})


async def reduced(client: Client, address: str, **values: Any) -> dict[str, Any]:
    from fhir_r4.jsonio import decode

    answer = await reduce(client, address, **values)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = decode(answer.content)
    return found


async def approve(client: Client, task: dict[str, Any], owner: str = TWO) -> str:
    await put(client, {**task, "status": "completed", "owner": {"reference": owner}})
    return f"Task/{task['id']}"


@pytest.fixture
async def till(client: Client) -> Client:
    await build(client, invoice("i1", "100.00"), invoice("d1", "80.00", "draft"))
    return client


async def balances(client: Client) -> dict[str, Decimal]:
    books = await verify(client.app.services)
    assert books.problems == []
    return {account: amount for (account, _), amount in books.balances.items() if amount}


# Write-offs


async def test_a_write_off_settles_the_invoice_and_leaves_it_as_it_was_issued(till: Client) -> None:
    before = await read(till, "Invoice/i1")
    await done(till, "Invoice/i1/$pay", amount="95")
    made = await reduced(till, "Invoice/i1/$write-off", requester=ONE)
    assert made["paymentAmount"] == euros("5.00")
    after = await read(till, "Invoice/i1")
    assert after["status"] == "balanced"
    for member in ("lineItem", "totalNet", "totalGross", "identifier", "date"):
        assert after[member] == before[member]
    (told,) = [e for e in made["extension"] if e["url"] == OSLER + "payment-adjustment"]
    assert {p["url"] for p in told["extension"]} == {"kind", "reason", "requester"}
    assert await balances(till) == {"revenue": D("-100.00"), "bank": D("95.00"), "write-offs": D("5.00")}


async def test_a_discount_after_the_issue_has_an_account_of_its_own(till: Client) -> None:
    await reduced(till, "Invoice/i1/$write-off", amount="2", kind=["discount"], reason=why("prompt-payment"))
    assert await balances(till) == {
        "receivable": D("98.00"),
        "revenue": D("-100.00"),
        "discounts": D("2.00"),
    }


@pytest.mark.parametrize("amount", ["100.01", "0", "-1"])
async def test_no_more_is_written_off_than_is_open(till: Client, amount: str) -> None:
    assert (await reduce(till, "Invoice/i1/$write-off", amount=amount)).status_code == 422


async def test_what_was_written_off_is_no_money(till: Client) -> None:
    made = await reduced(till, "Invoice/i1/$write-off", amount="40")
    address = f"PaymentReconciliation/{made['id']}"
    refused = await ask(till, f"{address}/$refund", amount="1", reason="x")
    assert refused.status_code == 422
    assert "$reverse" in diagnostics(refused)
    details = [*made["detail"], {**made["detail"][0], "amount": euros("-40.00")}]
    kept = {**made["detail"][0], "request": {"reference": "Account/a1"}}
    moved = await send(till, "PUT", address, {**made, "detail": [*details, kept]})
    assert moved.status_code == 422
    assert (await ask(till, "Account/a1/$allocate", invoice="Invoice/i1")).status_code == 422


async def test_a_write_off_is_taken_back_and_the_invoice_is_open_again(till: Client) -> None:
    made = await reduced(till, "Invoice/i1/$write-off", amount="40")
    await done(till, f"PaymentReconciliation/{made['id']}/$reverse", reason="has paid after all")
    assert open_of(await read(till, "Invoice/i1")) == D("100.00")
    assert await balances(till) == {"receivable": D("100.00"), "revenue": D("-100.00")}


async def test_an_adjustment_cannot_be_taken_back_as_money_nor_money_as_an_adjustment(till: Client) -> None:
    from tests.billing.test_refunding import out

    given_up = await reduced(till, "Invoice/i1/$write-off", amount="40")
    kept = await done(till, "Account/a1/$deposit", amount="40")
    told = [e for e in given_up["extension"] if e["url"] == OSLER + "payment-adjustment"]
    forged = out("x", "-10.00", kept["id"], extension=told)
    assert (await send(till, "PUT", "PaymentReconciliation/x", forged)).status_code == 422


async def test_only_what_was_issued_is_written_off(till: Client) -> None:
    assert (await reduce(till, "Invoice/d1/$write-off")).status_code == 422
    assert (await reduce(till, "Invoice/none/$write-off")).status_code == 404


# Discounts


async def test_a_draft_is_discounted_on_its_lines(till: Client) -> None:
    made = await reduced(till, "Invoice/d1/$discount", percent=["10"], reason=why("goodwill"))
    assert made["totalGross"] == euros("72.00")
    assert [(c["type"], c["amount"]) for c in made["lineItem"][0]["priceComponent"]] == [
        ("base", euros("80.00")),
        ("discount", euros("-8.00")),
    ]
    again = await reduce(till, "Invoice/d1/$discount", amount="1")
    assert again.status_code == 422
    await put(till, {**made, "status": "issued"})
    assert await balances(till) == {"receivable": D("172.00"), "revenue": D("-172.00")}


async def test_what_is_issued_is_not_discounted(till: Client) -> None:
    refused = await reduce(till, "Invoice/i1/$discount", amount="5")
    assert refused.status_code == 422
    assert "$write-off" in diagnostics(refused)


@pytest.mark.parametrize(
    "values", [{}, {"amount": "1", "percent": ["1"]}, {"amount": "80.01"}, {"percent": ["101"]}]
)
async def test_a_discount_is_one_amount_or_percent_within_the_draft(
    till: Client, values: dict[str, Any]
) -> None:
    assert (await reduce(till, "Invoice/d1/$discount", **values)).status_code in (400, 422)


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=8),
    st.integers(1, 10**6),
    st.sampled_from([D("0"), D("0.07"), D("0.20"), D("0.195")]),
    st.booleans(),
    st.sampled_from(["invoice", "line"]),
)
@settings(max_examples=150)
def test_discounts_close_to_the_last_cent(
    cents: list[int], off: int, rate: Decimal, inclusive: bool, level: str
) -> None:
    rules = BillingSettings(inclusive=inclusive, level=level)
    prices = [
        Charge("EUR", (Component(BASE, D(c).scaleb(-2)),), (Component(TAX, None, rate),), (), inclusive)
        for c in cents
    ]
    lines = [Line(n + 1, {}, c) for n, c in enumerate(lines_of(prices, rules))]
    draft = {"resourceType": "Invoice", "status": "draft", **amounts(lines, "EUR")}
    whole = sum(cents)
    amount = D(min(off, whole)).scaleb(-2)
    made = discounted(draft, lines_named(draft, ()), amount, why(), None, rules)
    check_sums(made)
    before, after = lines_in(draft), lines_in(made)
    if inclusive:
        assert sum_of((gross_in(draft), -gross_in(made))) == amount
    else:
        assert sum_of((*(a.net for a in before), *(-b.net for b in after))) == amount
    assert all(line.gross >= 0 for line in after)


# Four eyes


@pytest.mark.parametrize(
    ("address", "values"),
    [
        ("Invoice/i1/$write-off", {"amount": "60"}),
        ("Invoice/d1/$discount", {"amount": "60"}),
    ],
)
async def test_above_the_limit_a_second_person_approves(
    till: Client, address: str, values: dict[str, Any]
) -> None:
    await put(till, limited("50.00"))
    assert (await reduce(till, address, **values)).status_code == 422
    task = await reduced(till, address, **values, requester=ONE)
    assert (task["resourceType"], task["status"], task["reasonCode"]) == ("Task", "requested", why())
    own = {**task, "status": "completed", "owner": {"reference": ONE}}
    assert (await send(till, "PUT", f"Task/{task['id']}", own)).status_code == 422
    approval = await approve(till, task)
    made = await reduced(till, address, **values, approval=approval, requester=ONE)
    if made["resourceType"] == "Invoice":
        made = await done(till, "Invoice/d1/$issue")
    (trace,) = await traces(till, f"{made['resourceType']}/{made['id']}", address.rpartition("$")[2])
    who = {a["type"]["coding"][0]["code"]: a["who"] for a in trace["agent"]}
    assert who == {
        "enterer": {"display": "anonymous"},
        "author": {"reference": ONE},
        "verifier": {"reference": TWO},
    }
    assert trace["reason"] == [why()]


async def test_write_offs_of_an_invoice_count_together(till: Client) -> None:
    await put(till, limited("50.00"))
    await reduced(till, "Invoice/i1/$write-off", amount="30")
    assert (await reduce(till, "Invoice/i1/$write-off", amount="20.01")).status_code == 422
    forged = payment("x", "20.01", ("Invoice/i1", "20.01"))
    parts = [{"url": "kind", "valueCode": "write-off"}]
    forged["extension"] = [{"url": OSLER + "payment-adjustment", "extension": parts}]
    refused = await send(till, "PUT", "PaymentReconciliation/x", forged)
    assert refused.status_code == 422
    assert "approval-needed" in refused.text
    await reduced(till, "Invoice/i1/$write-off", amount="20")


async def test_a_draft_that_was_made_cheaper_by_hand_is_not_issued_by_one_person(till: Client) -> None:
    await put(till, limited("50.00"))
    draft = await read(till, "Invoice/d1")
    (line,) = draft["lineItem"]
    less = [*line["priceComponent"], {"type": "discount", "amount": euros("-60.00")}]
    cheap = {
        **draft,
        "lineItem": [{**line, "priceComponent": less}],
        "totalNet": euros("20.00"),
        "totalGross": euros("20.00"),
    }
    await put(till, cheap)
    refused = await ask(till, "Invoice/d1/$issue")
    assert refused.status_code == 422
    assert "approval-needed" in refused.text


async def test_a_credit_note_above_the_limit_needs_a_second_person(till: Client) -> None:
    await put(till, limited("50.00"))
    line = {
        "name": "line",
        "part": [{"name": "sequence", "valuePositiveInt": 1}, {"name": "amount", "valueMoney": euros("30")}],
    }

    async def credit(**values: Any) -> Any:
        from tests.billing.cash import parameters

        body = parameters(reason="wrong", request_id=f"urn:uuid:{uuid.uuid4()}", **values)
        return await send(
            till, "POST", "Invoice/i1/$credit", {**body, "parameter": [*body["parameter"], line]}
        )

    assert (await credit()).status_code == 200
    assert (await credit(dry_run=False)).status_code == 422
    task = (await credit(requester=ONE)).json()
    assert task["code"]["coding"][0]["code"] == "approve-credit"
    wrong = await reduced(till, "Invoice/i1/$write-off", amount="60", requester=ONE)
    other = await approve(till, wrong)
    assert (await credit(approval=other)).status_code == 422
    approval = await approve(till, await read(till, f"Task/{task['id']}"))
    note = await credit(approval=approval)
    assert note.status_code == 200, note.text
    assert note.json()["type"]["coding"][0]["code"] == "credit-note"
    again = await credit(approval=approval, dry_run=False)
    assert again.status_code == 409


async def test_a_kind_may_have_a_limit_of_its_own(till: Client) -> None:
    rules = limited("10.00")
    rules["extension"][0]["extension"].append({"url": "write-off-limit", "valueMoney": euros("90.00")})
    await put(till, rules)
    await reduced(till, "Invoice/i1/$write-off", amount="90")
    assert (await ask(till, "Invoice/i1/$credit", reason="x", dry_run=True)).status_code == 422


# Traces


async def traces(client: Client, target: str, activity: str | None = None) -> list[dict[str, Any]]:
    found = (await client.get(f"/Provenance?target={target}")).json()
    every = [e["resource"] for e in found.get("entry", ())]
    return [p for p in every if activity in (None, p["activity"]["coding"][0]["code"])]


async def test_every_operation_of_money_leaves_one_trace(till: Client) -> None:
    paid = await done(till, "Invoice/i1/$pay", amount="60", request_id="urn:test:1")
    await done(till, "Invoice/i1/$pay", amount="60", request_id="urn:test:1")
    await done(till, "Invoice/i1/$pay", amount="1", dry_run=True)
    address = f"PaymentReconciliation/{paid['id']}"
    (trace,) = await traces(till, address)
    assert trace["activity"]["coding"][0]["code"] == "pay"
    assert trace["entity"] == [{"role": "source", "what": {"reference": "Invoice/i1"}}]
    assert trace["agent"][0]["who"] == {"display": "anonymous"}
    await done(till, f"{address}/$reverse", reason="not honoured")
    (back,) = await traces(till, address, "reverse")
    assert back["reason"] == [{"text": "not honoured"}]
    assert (await till.get("/Provenance?_summary=count")).json()["total"] == 2


async def test_what_is_refused_leaves_no_trace(till: Client) -> None:
    await ask(till, "Invoice/i1/$pay", amount="100.01")
    assert (await till.get("/Provenance?_summary=count")).json()["total"] == 0


async def test_races_of_a_payment_and_a_write_off_settle_an_invoice_once(till: Client) -> None:
    answers = await asyncio.gather(
        ask(till, "Invoice/i1/$pay"),
        reduce(till, "Invoice/i1/$write-off"),
        ask(till, "Invoice/i1/$pay"),
        reduce(till, "Invoice/i1/$write-off"),
    )
    found = sorted(a.status_code for a in answers)
    assert found[0] == 200
    assert set(found[1:]) <= {409, 422}
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"
    assert "receivable" not in await balances(till)


async def test_races_for_an_approval_have_one_winner(till: Client) -> None:
    await put(till, limited("10.00"))
    task = await reduced(till, "Invoice/i1/$write-off", amount="20", requester=ONE)
    approval = await approve(till, task)
    answers = await asyncio.gather(
        *(reduce(till, "Invoice/i1/$write-off", amount="20", approval=approval) for _ in range(4))
    )
    assert sorted(a.status_code for a in answers) == [200, 409, 409, 409]
    assert open_of(await read(till, "Invoice/i1")) == D("80.00")
