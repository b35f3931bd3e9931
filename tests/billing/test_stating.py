"""Statements, receivables by age, and what is printed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from reportlab.pdfbase import pdfmetrics

from fhir_server.operations.billing.fonts import fonts
from fhir_server.operations.billing.printing import payment_code
from fhir_server.operations.billing.sheets import Letterhead
from tests.billing.office import (
    HOSPITAL,
    PATIENT,
    base,
    build,
    call,
    charge,
    definition,
    issued,
    money,
    number,
    parameters,
    resources,
    send,
    tax,
    told,
    write,
)
from tests.conftest import Client, StartServer

D = Decimal
Resource = dict[str, Any]


@pytest.fixture
async def office(start_server: StartServer) -> Client:
    client = await start_server()
    await build(client)
    return client


def text_of(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    pages = [page.get_textpage().get_text_range() for page in document]
    return "\n".join(pages)


async def printed(client: Client, id: str, **values: Any) -> Any:
    """The answer of $render that has the pages."""
    headers = {"accept": "application/pdf"}
    return await send(client, "POST", f"/Invoice/{id}/$render", parameters(**values), **headers)


def of(parameters: Resource, name: str) -> list[Any]:
    found = []
    for parameter in parameters["parameter"]:
        if parameter["name"] == name:
            value = next((v for k, v in parameter.items() if k.startswith("value")), None)
            found.append(parameter.get("part") if value is None else value)
    return found


async def pay(client: Client, invoice: Resource, amount: str, **more: Any) -> Resource:
    asked = parameters(request_id=f"urn:pay:{invoice['id']}:{amount}", amount=money(amount))
    asked["parameter"].append({"name": "method", "valueCode": "cash"})
    answer = await send(client, "POST", f"/Invoice/{invoice['id']}/$pay", asked)
    assert answer.status_code == 200, answer.text
    found: Resource = answer.json()
    return found


async def test_a_statement_tells_every_movement_and_its_balance(office: Client) -> None:
    first = await issued(office, charge("c1"), date="2026-03-10T10:00:00Z")
    second = await issued(office, charge("c2", "xray"), date="2026-04-10T10:00:00Z")
    await call(
        office,
        f"Invoice/{second['id']}/$credit",
        line=[{"sequence": 1, "amount": money("9.00")}],
        reason="less",
        date="2026-04-11T10:00:00Z",
    )
    await pay(office, first, "50.00")
    made = await call(office, "Account/a1/$statement")
    summary = made["entry"][0]["resource"]
    entries = [{p["name"]: p for p in e} for e in of(summary, "entry")]
    assert [(e["kind"]["valueCode"], str(e["amount"]["valueMoney"]["value"])) for e in entries] == [
        ("invoice", "120.00"),
        ("invoice", "69.00"),
        ("credit-note", "-9.00"),
        ("payment", "-50.00"),
    ]
    assert [str(e["balance"]["valueMoney"]["value"]) for e in entries] == [
        "120.00",
        "189.00",
        "180.00",
        "130.00",
    ]
    assert str(of(summary, "closing")[0]["value"]) == "130.00"
    opened = [{p["name"]: p for p in e} for e in of(summary, "open")]
    assert [str(e["amount"]["valueMoney"]["value"]) for e in opened] == ["70.00", "60.00"]
    assert {r["resourceType"] for r in resources(made)[1:]} == {"Invoice", "PaymentReconciliation"}
    april = await call(office, "Account/a1/$statement", period={"start": "2026-04-01", "end": "2026-04-30"})
    summary = april["entry"][0]["resource"]
    assert [str(of(summary, n)[0]["value"]) for n in ("opening", "closing")] == ["120.00", "180.00"]


async def test_an_account_without_movements_has_an_empty_statement(office: Client) -> None:
    made = await call(office, "Account/a1/$statement")
    assert [e["resource"]["resourceType"] for e in made["entry"]] == ["Parameters"]
    asked = parameters(period={"start": "2026-02-01", "end": "2026-01-01"})
    assert (await send(office, "POST", "/Account/a1/$statement", asked)).status_code == 400


async def test_what_is_open_is_told_by_its_age(office: Client) -> None:
    await issued(office, charge("c1"), date="2026-03-10T10:00:00Z")
    late = await issued(office, charge("c2", "xray"), date="2026-05-10T10:00:00Z")
    await pay(office, late, "19.00")
    # due on 9 April and on 9 June
    report = await call(office, "Account/$ageing")
    assert report["resourceType"] == "MeasureReport"
    ages = {g["code"]["coding"][0]["code"]: g for g in report["group"]}
    assert str(ages["days-over-90"]["measureScore"]["value"]) == "170.00"
    assert ages["total"]["population"][0]["count"] == 2
    assert ages["total"]["measureScore"]["code"] == "EUR"
    none = await call(office, "Account/$ageing", issuer="Organization/other")
    assert none["group"] == []
    assert "future" in told(await call(office, "Account/$ageing", 400, at="2999-01-01"))


async def test_what_was_open_then_is_told_from_history(office: Client) -> None:
    before = await call(office, "Account/$ageing", at="2020-01-01")
    assert before["group"] == []


async def test_an_invoice_is_printed(office: Client) -> None:
    made = await issued(office, charge("c1", quantity={"value": 2}), charge("c2", "xray"), date="2026-03-10")
    await pay(office, made, "9.00")
    answer = await printed(office, made["id"], copy=True)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    text = text_of(answer.content)
    for told_there in (
        "Invoice INV-2026-000001",
        "St. Luke's Hospital",
        "Müller-Łukasz",
        "80331 München",
        "2026-04-09",
        "200.00",
        "51.50",
        "VAT 20 %",
        "309.00",
        "-9.00",
        "300.00 EUR",
        "DE89 3704 0044 0532 0130 00",
        "COPY",
        "Page 1 of 1",
    ):
        assert told_there in text, told_there
    binary = await call(office, f"Invoice/{made['id']}/$render", copy=True)
    assert binary["contentType"] == "application/pdf"
    assert base64.b64decode(binary["data"]) == answer.content
    assert (await office.get("/DocumentReference?_summary=count")).json()["total"] == 0


async def test_what_was_issued_is_printed_once_and_kept(office: Client) -> None:
    made = await issued(office, charge("c1"), date="2026-03-10")
    first = (await printed(office, made["id"])).content
    await pay(office, made, "9.00")
    await write(office, {**HOSPITAL, "name": "Another name"}, 200)
    again = await printed(office, made["id"])
    assert again.content == first
    text = text_of(first)
    assert "120.00 EUR" in text
    assert "COPY" not in text
    found = (await office.get(f"/DocumentReference?related=Invoice/{made['id']}")).json()
    (document,) = (e["resource"] for e in found["entry"])
    content = document["content"][0]["attachment"]
    assert base64.b64decode(content["hash"]) == hashlib.sha1(first).digest()
    assert content["size"] == len(first)
    assert document["identifier"][0]["value"] == number(made)
    kept = await office.get(f"/{content['url']}", headers={"accept": "application/pdf"})
    assert kept.content == first
    traces = (await office.get(f"/Provenance?target=DocumentReference/{document['id']}")).json()
    assert [e["resource"]["activity"]["coding"][0]["code"] for e in traces["entry"]] == ["render"]


async def test_the_same_invoice_printed_at_once_is_one_document_in_races(client: Client) -> None:
    await build(client)
    made = await issued(client, charge("c1"), date="2026-03-10")
    found = await asyncio.gather(*(printed(client, made["id"]) for _ in range(5)))
    assert {a.status_code for a in found} == {200}
    assert len({a.content for a in found}) == 1
    assert (await client.get("/DocumentReference?_summary=count")).json()["total"] == 1


async def test_a_draft_is_not_kept(office: Client) -> None:
    await write(office, charge("c1"))
    (draft,) = resources(await call(office, "Account/a1/$invoice"))
    await printed(office, draft["id"])
    assert (await office.get("/Binary?_summary=count")).json()["total"] == 0


async def test_two_rates_of_tax_have_a_table(client: Client) -> None:
    await build(client, definition("drug", base("200.00"), tax("0.07", "Low")))
    made = await issued(client, charge("c1"), charge("c2", "drug"), charge("c3", "plain"))
    text = text_of((await printed(client, made["id"])).content)
    for row in (
        "VAT 20 %\r\n100.00\r\n20.00\r\n120.00",
        "Low 7 %\r\n200.00\r\n14.00\r\n214.00",
        "none\r\n10.00\r\n0.00",
    ):
        assert row in text or row.replace("\r\n", " ") in text, text
    assert "344.00 EUR" in text


async def test_letters_of_east_asia_are_printed(office: Client) -> None:
    await write(office, {**PATIENT, "name": [{"text": "王小明 / やまだ / 김철수"}]}, 200)
    made = await issued(office, charge("c1"))
    text = text_of((await printed(office, made["id"])).content)
    for name in ("王小明", "やまだ", "김철수"):
        assert name in text


async def test_a_draft_is_printed_as_one(office: Client) -> None:
    await write(office, charge("c1"))
    (draft,) = resources(await call(office, "Account/a1/$invoice"))
    answer = await printed(office, draft["id"])
    assert "not an invoice" in text_of(answer.content)


async def test_a_credit_note_and_a_statement_are_printed(office: Client) -> None:
    made = await issued(office, charge("c1"), date="2026-03-10")
    note = await call(office, f"Invoice/{made['id']}/$credit", reason="The visit did not take place.")
    headers = {"accept": "application/pdf"}
    text = text_of((await printed(office, note["id"])).content)
    assert "Credit note CRN-" in text
    assert "INV-2026-000001" in text
    assert "did not take place" in text
    statement = await office.get("/Account/a1/$statement", headers=headers)
    text = text_of(statement.content)
    assert "Statement of account" in text
    assert "0.00 EUR" in text


def test_the_payment_code_is_that_of_banks() -> None:
    head = Letterhead("St. Luke's Hospital", iban="DE89 3704 0044 0532 0130 00", bic="COBADEFFXXX")
    found = payment_code(head, D("334.99"), "EUR", "INV-2026-000001")
    assert found == (
        "BCD\n002\n1\nSCT\nCOBADEFFXXX\nSt. Luke's Hospital\nDE89370400440532013000\nEUR334.99\n\n\nINV-2026-000001"
    )
    assert payment_code(head, D("334.99"), "CHF", "x") is None
    assert payment_code(head, D("0.00"), "EUR", "x") is None
    assert payment_code(Letterhead("x"), D("1.00"), "EUR", "x") is None


@pytest.mark.parametrize("bold", [False, True])
def test_the_built_in_font_has_the_letters_of_names(bold: bool) -> None:
    known = pdfmetrics.getFont(fonts("")[bold]).face.charToGlyph
    assert [letter for letter in "ńłőűşğİÖčřžæøŒЖЩïЇαβΩẠệț’€£" if ord(letter) not in known] == []


async def test_a_font_that_is_none_is_told(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "none.ttf").write_text("no font")
    client = await start_server(print_font=str(tmp_path / "none.ttf"))
    await build(client)
    answer = await client.get("/Account/a1/$statement", headers={"accept": "application/pdf"})
    assert answer.status_code == 503
    assert "print_font" in answer.text


async def test_large_amounts_are_printed(client: Client) -> None:
    await build(client, definition("dear", base("123456789012.34"), tax("0.20")))
    made = await issued(client, charge("c1", "dear"))
    answer = await printed(client, made["id"])
    assert "148,148,146,814.81 EUR" in text_of(answer.content)


async def test_long_invoices_have_several_pages(office: Client) -> None:
    made = await issued(office, *(charge(f"c{n}", occurrenceDateTime="2026-03-02") for n in range(60)))
    answer = await printed(office, made["id"])
    document = pypdfium2.PdfDocument(answer.content)
    pages = [page.get_textpage().get_text_range() for page in document]
    assert len(pages) > 1
    assert all("Quantity" in page for page in pages if "Visit" in page)
    assert all(f"Page {n + 1} of {len(pages)}" in page for n, page in enumerate(pages))
    listing = [page for page in pages if "Visit" in page]
    assert len(listing) > 1
    for before, after in pairwise(listing):
        carried = re.search(r"Carried forward\s+([\d,.]+)", before)
        brought = re.search(r"Brought forward\s+([\d,.]+)", after)
        assert carried is not None
        assert brought is not None
        assert carried[1] == brought[1]
        assert D(carried[1].replace(",", "")) == 100 * before.count("Visit") + _brought(before)
    assert sum("To be paid" in page and "7,200.00 EUR" in page for page in pages) == 1


def _brought(page: str) -> Decimal:
    found = re.search(r"Brought forward\s+([\d,.]+)", page)
    return D(0) if found is None else D(found[1].replace(",", ""))


async def test_text_is_printed_as_it_is(office: Client) -> None:
    made = charge("c1", code={"text": "<b>Müsli & Co</b>"})
    answer = await printed(office, (await issued(office, made))["id"])
    assert "<b>Müsli & Co</b>" in text_of(answer.content)


async def test_shares_of_payers_are_printed(office: Client) -> None:
    payer = {"resourceType": "Organization", "id": "kk", "name": "Krankenkasse Nord"}
    await write(office, payer)
    await write(office, charge("c1"))
    (draft,) = resources(await call(office, "Account/a1/$invoice"))
    share = "https://osler.health/fhir/StructureDefinition/invoice-share"

    def of(amount: str, *who: Resource) -> Resource:
        line = [{"url": "line", "valuePositiveInt": 1}, {"url": "amount", "valueMoney": money(amount)}]
        parts = [*who, {"url": "amount", "valueMoney": money(amount)}, {"url": "of-line", "extension": line}]
        return {"url": share, "extension": parts}

    coverage = {"url": "coverage", "valueReference": {"reference": "Coverage/v1"}}
    nord = {"url": "payer", "valueReference": {"reference": "Organization/kk"}}
    draft["extension"] = [of("96.00", coverage, nord), of("24.00")]
    await write(office, draft, 200)
    made = await call(office, f"Invoice/{draft['id']}/$issue")
    text = text_of((await printed(office, made["id"])).content)
    assert "from Krankenkasse Nord" in text
    assert "96.00" in text
    assert "24.00 EUR" in text
    await pay(office, made, "24.00")
    text = text_of((await printed(office, made["id"], copy=True)).content)
    assert "To be paid\r\n0.00 EUR" in text or "To be paid 0.00 EUR" in text
