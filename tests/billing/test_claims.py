"""Shares of invoices, claims and what is decided about them, and how decisions come into the books."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from fhir_r4.jsonio import decode
from fhir_server.interactions.consistency import inconsistencies
from fhir_server.operations.billing.books import verify
from fhir_server.resources.billing.invoicing import open_of
from fhir_server.resources.billing.sharing import shares_of
from tests.billing.cash import Resource, ask, build, diagnostics, done, euros, invoice, put, read, send
from tests.billing.insured import category, claim, cost, coverage, plan, sole, told
from tests.conftest import Client

D = Decimal


@pytest.fixture
async def till(client: Client) -> Client:
    basic = plan(
        "basic",
        category("all", cost("copaypct", "20"), cost("deductible", "50.00")),
        category("drug", cost("copay", "5.00"), cost("copaypct", "0")),
        category("phone", cost("excluded")),
    )
    extra = plan("extra", category("all", cost("copaypct", "0"), cost("maxbenefit", "10.00")))
    await build(
        client,
        {"resourceType": "Organization", "id": "payer"},
        basic,
        extra,
        coverage("c1", "basic"),
        coverage("c2", "extra", 2),
    )
    return client


async def submit(client: Client, resource: Resource, expected: int = 200) -> Resource:
    answer = await send(client, "POST", "Claim/$submit", sole(resource))
    assert answer.status_code == expected, answer.text
    found: Resource = decode(answer.content)
    return found


async def test_a_split_shares_by_the_order_of_coverages(till: Client) -> None:
    await put(till, invoice("i1", "150.00", "draft"))
    shared = await done(till, "Invoice/i1/$split")
    amounts = [s.amount for s in shares_of(shared)]
    assert amounts == [D("80.00"), D("10.00"), D("60.00")]
    assert sum(amounts) == D("150.00")


@pytest.mark.parametrize(
    ("gross", "payer", "patient"), [("33.33", "26.66", "6.67"), ("0.05", "0.04", "0.01")]
)
async def test_a_fifth_is_the_patients(till: Client, gross: str, payer: str, patient: str) -> None:
    await put(till, plan("fifth", category("all", cost("copaypct", "20"))))
    await put(till, coverage("c3", "fifth"))
    await put(till, invoice("i1", gross, "draft"))
    shared = await done(till, "Invoice/i1/$split", coverage="Coverage/c3")
    assert [s.amount for s in shares_of(shared)] == [D(payer), D(patient)]


async def test_a_split_by_a_month_is_refused(till: Client) -> None:
    await put(till, invoice("i1", "10.00", "draft"))
    given = [{"name": "date", "valueDate": "2026-05"}, {"name": "request-id", "valueUri": "urn:x"}]
    answer = await send(till, "POST", "Invoice/i1/$split", {"resourceType": "Parameters", "parameter": given})
    assert answer.status_code == 400


async def test_a_waived_cost_is_not_taken(till: Client) -> None:
    exception = {"type": {"text": "foster child"}, "period": {"start": "2020-01-01"}}
    own = {"type": cost("copaypct")["type"], "valueQuantity": {"value": 20}, "exception": [exception]}
    await put(till, coverage("c3", "none", costToBeneficiary=[own]))
    await put(till, invoice("i1", "10.00", "draft"))
    shared = await done(till, "Invoice/i1/$split", coverage="Coverage/c3")
    assert [s.amount for s in shares_of(shared)] == [D("10.00"), D("0.00")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "cancelled"}, "is cancelled"),
        ({"period": {"end": "2020-12-31"}}, "does not hold"),
        ({"beneficiary": {"reference": "Patient/other"}}, "not Patient/p1's"),
        ({"class": []}, "names no InsurancePlan"),
    ],
)
async def test_a_coverage_that_does_not_hold_shares_nothing(till: Client, change: dict, words: str) -> None:
    made = {k: v for k, v in {**coverage("c1", "basic"), **change}.items() if v != []}
    await put(till, made)
    await put(till, invoice("i1", "10.00", "draft"))
    answer = await ask(till, "Invoice/i1/$split", coverage="Coverage/c1")
    assert answer.status_code == 422
    assert words in diagnostics(answer)


async def test_shares_that_do_not_add_up_are_not_issued(till: Client) -> None:
    await put(till, invoice("i1", "150.00", "draft"))
    shared = await done(till, "Invoice/i1/$split")
    wrong = {**invoice("i1", "151.00", "issued"), "extension": shared["extension"]}
    answer = await send(till, "PUT", "Invoice/i1", wrong)
    assert answer.status_code == 422
    assert "$split" in diagnostics(answer)
    await put(till, {**shared, "status": "issued"})
    assert (await ask(till, "Invoice/i1/$split")).status_code == 422


async def test_a_claim_is_judged_by_the_plan(till: Client) -> None:
    response = await submit(till, claim("k1", "c1", ("care", "100.00"), ("drug", "20.00"), ("phone", "3.00")))
    assert [told(i["adjudication"]) for i in response["item"]] == [
        {
            "submitted": D("100.00"),
            "deductible": D("50.00"),
            "coinsurance": D("10.00"),
            "benefit": D("40.00"),
        },
        {"submitted": D("20.00"), "copay": D("5.00"), "benefit": D("15.00")},
        {"submitted": D("3.00"), "excluded": D("3.00"), "benefit": D("0.00")},
    ]
    assert response["payment"]["amount"] == euros("55.00")
    assert told(response["total"])["submitted"] == D("123.00")


async def test_what_was_used_this_year_counts_for_the_next_claim(till: Client) -> None:
    await submit(till, claim("k1", "c1", ("care", "30.00")))
    response = await submit(till, claim("k2", "c1", ("care", "30.00")))
    (item,) = response["item"]
    assert told(item["adjudication"]) == {
        "submitted": D("30.00"),
        "deductible": D("20.00"),
        "coinsurance": D("2.00"),
        "benefit": D("8.00"),
    }
    next_year = claim("k3", "c1", ("care", "30.00"), billablePeriod={"start": "2031-02-01"})
    (item,) = (await submit(till, next_year))["item"]
    assert told(item["adjudication"])["deductible"] == D("30.00")


async def test_claims_at_once_use_a_deductible_once(till: Client) -> None:
    found = await asyncio.gather(*(submit(till, claim(f"k{n}", "c1", ("care", "40.00"))) for n in range(4)))
    deductibles = [told(r["total"]).get("deductible", D(0)) for r in found]
    assert sum(deductibles) == D("50.00")


async def test_the_same_claim_is_answered_once(till: Client) -> None:
    sent = claim(None, "c1", ("care", "100.00"), identifier=[{"system": "urn:claims", "value": "7"}])
    found = await asyncio.gather(*(submit(till, sent) for _ in range(4)))
    assert len({r["id"] for r in found}) == 1
    assert (await till.get("/ClaimResponse?_summary=count")).json()["total"] == 1
    assert (await till.get("/ExplanationOfBenefit?_summary=count")).json()["total"] == 1
    inquired = await send(till, "POST", "Claim/$inquire", sole(sent))
    assert decode(inquired.content)["entry"][0]["resource"]["id"] == found[0]["id"]


async def test_preauthorizations_and_predeterminations_use_nothing(till: Client) -> None:
    first = await submit(till, claim("k1", "c1", ("care", "100.00"), use="preauthorization"))
    assert first["preAuthRef"].startswith("PA-")
    second = await submit(till, claim("k2", "c1", ("care", "100.00"), use="predetermination"))
    assert "preAuthRef" not in second
    assert told(second["total"])["deductible"] == D("50.00")
    assert all("payment" not in r for r in (first, second))


async def test_what_needs_a_preauthorization_is_paid_with_one(till: Client) -> None:
    await put(till, plan("strict", category("all", cost("preauthorization"))))
    await put(till, coverage("c3", "strict"))
    without = await submit(till, claim("k1", "c3", ("care", "100.00")))
    assert told(without["total"])["excluded"] == D("100.00")
    asked = await submit(till, claim("k2", "c3", ("care", "100.00"), use="preauthorization"))

    def naming(reference: str) -> list[dict]:
        focal = {"sequence": 1, "focal": True, "coverage": {"reference": "Coverage/c3"}}
        return [{**focal, "preAuthRef": [reference]}]

    wrong = await submit(till, claim("k3", "c3", ("care", "100.00"), insurance=naming("PA-NONE")))
    assert wrong["payment"]["amount"] == euros("0.00")
    right = await submit(till, claim("k4", "c3", ("care", "100.00"), insurance=naming(asked["preAuthRef"])))
    assert right["payment"]["amount"] == euros("100.00")


async def test_a_claim_on_a_coverage_that_does_not_hold_is_refused_by_the_payer(till: Client) -> None:
    await put(till, {**coverage("c1", "basic"), "status": "cancelled"})
    response = await submit(till, claim("k1", "c1", ("care", "100.00")))
    assert response["outcome"] == "error"
    assert "cancelled" in response["disposition"]


async def test_a_claim_that_could_not_be_judged_is_judged_again(till: Client) -> None:
    await put(till, {**coverage("c1", "basic"), "status": "cancelled"})
    sent = claim("k1", "c1", ("care", "100.00"))
    first, same = await submit(till, sent), await submit(till, sent)
    assert first["id"] == same["id"]
    await put(till, coverage("c1", "basic"))
    later = await submit(till, sent)
    assert (later["outcome"], later["payment"]["amount"]) == ("complete", euros("40.00"))
    assert (await read(till, f"ClaimResponse/{first['id']}"))["status"] == "cancelled"
    assert (await submit(till, sent))["id"] == later["id"]


async def test_a_second_coverage_pays_of_what_the_first_has_left(till: Client) -> None:
    first = await submit(till, claim("k1", "c1", ("care", "100.00")))
    insurance = [
        {"sequence": 1, "focal": False, "coverage": {"reference": "Coverage/c1"}},
        {"sequence": 2, "focal": True, "coverage": {"reference": "Coverage/c2"}},
    ]
    unknown = await submit(till, claim("k2", "c2", ("care", "100.00"), insurance=insurance))
    assert unknown["outcome"] == "error"
    insurance[0]["claimResponse"] = {"reference": f"ClaimResponse/{first['id']}"}
    second = await submit(till, claim("k3", "c2", ("care", "100.00"), insurance=insurance))
    (item,) = second["item"]
    assert told(item["adjudication"]) == {
        "submitted": D("100.00"),
        "eligible": D("60.00"),
        "beyond-limit": D("50.00"),
        "benefit": D("10.00"),
    }


@pytest.mark.parametrize(
    "more",
    [
        {"total": euros("99.00")},
        {"item": [{"sequence": 1, "productOrService": {"text": "x"}}]},
        {"status": "cancelled"},
    ],
)
async def test_a_claim_that_does_not_add_up_is_refused(till: Client, more: dict) -> None:
    await submit(till, claim("k1", "c1", ("care", "100.00"), **more), 422)
    assert (await till.get("/Claim?_summary=count")).json()["total"] == 0


async def test_a_claim_that_was_answered_stays(till: Client) -> None:
    await submit(till, claim("k1", "c1", ("care", "100.00")))
    assert (await send(till, "PUT", "Claim/k1", claim("k1", "c1", ("care", "1.00")))).status_code == 422
    assert (await send(till, "DELETE", "Claim/k1")).status_code == 422
    eob = (await till.get("/ExplanationOfBenefit")).json()["entry"][0]["resource"]["id"]
    assert (await send(till, "DELETE", f"ExplanationOfBenefit/{eob}")).status_code == 422


async def test_eligibility_tells_what_holds_and_what_was_used(till: Client) -> None:
    await submit(till, claim("k1", "c1", ("care", "30.00")))
    request = {
        "resourceType": "CoverageEligibilityRequest",
        "status": "active",
        "purpose": ["benefits", "validation"],
        "patient": {"reference": "Patient/p1"},
        "created": "2026-01-07",
        "insurer": {"reference": "Organization/payer"},
        "insurance": [
            {"coverage": {"reference": "Coverage/c1"}},
            {"coverage": {"reference": "Coverage/none"}},
        ],
    }
    answer = await send(till, "POST", "CoverageEligibilityRequest/$submit", sole(request))
    assert answer.status_code == 200, answer.text
    first, second = decode(answer.content)["insurance"]
    assert (first["inforce"], second["inforce"]) == (True, False)
    general = {b["type"]["coding"][0]["code"]: b for b in first["item"][0]["benefit"]}
    assert general["deductible"]["allowedMoney"] == euros("50.00")
    assert general["deductible"]["usedMoney"] == euros("30.00")
    assert general["copaypct"]["allowedString"] == "20 %"
    assert [i["excluded"] for i in first["item"]] == [False, False, True]


# Posting


async def claimed(client: Client, gross: str = "150.00") -> tuple[str, Resource]:
    """An issued invoice i1 that is shared, with the answer to the claim of its first payer."""
    await put(client, invoice("i1", gross, "draft"))
    answer = decode((await ask(client, "Invoice/i1/$split", coverage="Coverage/c1", claim=True)).content)
    assert "entry" in answer, answer
    shared, draft = (e["resource"] for e in answer["entry"])
    await put(client, {**shared, "status": "issued"})
    response = await submit(client, draft)
    return draft["id"], response


async def test_a_decision_pays_the_invoice(till: Client) -> None:
    _, response = await claimed(till)
    made = await done(till, f"ClaimResponse/{response['id']}/$post")
    assert made["paymentAmount"] == euros("80.00")
    assert open_of(await read(till, "Invoice/i1")) == D("70.00")


async def test_posting_again_changes_nothing(till: Client) -> None:
    _, response = await claimed(till)
    address = f"ClaimResponse/{response['id']}/$post"
    found = await asyncio.gather(*(done(till, address) for _ in range(4)))
    assert len({r["id"] for r in found}) == 1
    assert open_of(await read(till, "Invoice/i1")) == D("70.00")
    changed = {**response, "disposition": "changed"}
    assert (await send(till, "PUT", f"ClaimResponse/{response['id']}", changed)).status_code == 422


@pytest.mark.parametrize(("paid", "moved"), [("30.00", "50.00"), ("0.00", "80.00"), (None, "80.00")])
async def test_what_a_payer_denies_becomes_the_patients(till: Client, paid: str | None, moved: str) -> None:
    _, response = await claimed(till)
    decided = {k: v for k, v in response.items() if k != "payment"}
    if paid is not None:
        decided["payment"] = {**response["payment"], "amount": euros(paid)}
    await put(till, decided)
    answer = await ask(till, f"ClaimResponse/{response['id']}/$post")
    assert answer.status_code == 200, answer.text
    share = next(
        e["resource"] for e in decode(answer.content)["entry"] if e["resource"]["resourceType"] == "Invoice"
    )
    assert (share["status"], share["totalGross"]) == ("issued", euros(moved))
    assert share["recipient"] == {"reference": "Patient/p1"}
    assert open_of(await read(till, "Invoice/i1")) == D("70.00")
    await done(till, "Invoice/i1/$pay")
    await done(till, f"Invoice/{share['id']}/$pay")
    books = await verify(till.app.services)
    assert books.problems == []
    assert books.balances["revenue", "EUR"] == D("-150.00")
    assert books.balances["receivable", "EUR"] == 0
    assert await inconsistencies(till.app.services) == []


async def test_a_share_is_taken_over_only_while_it_is_open(till: Client) -> None:
    _, response = await claimed(till)
    await put(till, {**response, "payment": {**response["payment"], "amount": euros("30.00")}})
    await done(till, "Invoice/i1/$pay", amount="100")
    await done(till, f"ClaimResponse/{response['id']}/$post")
    shares = (await till.get("/Invoice?type=share")).json()["entry"]
    assert [e["resource"]["totalGross"]["value"] for e in shares] == [20.0]
    assert (await read(till, "Invoice/i1"))["status"] == "balanced"


async def test_what_is_not_a_decision_on_a_claim_is_not_posted(till: Client) -> None:
    response = await submit(till, claim("k1", "c1", ("care", "10.00"), use="predetermination"))
    assert (await ask(till, f"ClaimResponse/{response['id']}/$post")).status_code == 422
    without = await submit(till, claim("k2", "c1", ("care", "100.00")))
    answer = await ask(till, f"ClaimResponse/{without['id']}/$post")
    assert "claim-invoice" in diagnostics(answer)
