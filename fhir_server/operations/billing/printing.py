"""Invoices and statements on paper.

What is printed is what the values say; nothing is calculated here. The payment code is that of EPC069-12 (a QR code that
banking apps read), where the currency and the account of the issuer allow one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from fhir_server.operations.billing.movements import CREDIT, INVOICE, MOVED, PAID, Statement
from fhir_server.operations.billing.sheets import Column, Letterhead, Row, Sheet
from fhir_server.resources.billing.money import sum_of
from fhir_server.resources.billing.payments import DISCOUNT, WRITE_OFF

NAMES = {
    INVOICE: "Invoice",
    CREDIT: "Credit note",
    PAID: "Payment",
    MOVED: "Moved to another payer",
    WRITE_OFF: "Written off",
    DISCOUNT: "Discount",
}
# EPC069-12: the largest amount that the code can carry
MOST_EPC = Decimal("999999999.99")
# above so many characters a table of taxes has no room beside the sums
MOST_BESIDE = 11


@dataclass(frozen=True, slots=True)
class PaperLine:
    """A line as it is printed; `details` are its reductions and surcharges."""

    number: int
    day: str
    text: str
    quantity: str
    net: Decimal
    details: tuple[tuple[str, Decimal], ...] = ()
    tax: str = ""


@dataclass(frozen=True, slots=True)
class PaperTax:
    """A rate of tax: its name, what is taxed by it, and the tax."""

    name: str
    net: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class InvoicePaper:
    """An invoice as it is printed. `sums` stand below the lines, the last of them is what is to be paid: `due`, `until` a day.

    `mark` is printed across the pages.
    """

    head: Letterhead
    recipient: tuple[str, ...]
    title: str
    facts: tuple[tuple[str, str], ...]
    lines: tuple[PaperLine, ...]
    sums: tuple[tuple[str, Decimal], ...]
    currency: str
    notes: tuple[str, ...] = ()
    reference: str = ""
    due: Decimal = Decimal(0)
    draft: bool = False
    taxes: tuple[PaperTax, ...] = ()
    until: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class StatementPaper:
    """A statement of an account as it is printed; `days` are the first and the last, `open` the invoices (due, number, amount)."""

    head: Letterhead
    recipient: tuple[str, ...]
    account: str
    days: tuple[date | None, date]
    statement: Statement | None
    open: tuple[tuple[str, str, Decimal], ...] = ()


def written(amount: Decimal) -> str:
    """An amount with its thousands apart: 1,234.50."""
    return f"{amount:,}"


def payment_code(head: Letterhead, amount: Decimal, currency: str, reference: str) -> str | None:
    """The text of the EPC QR code; None where there is nothing to pay by it."""
    if head.iban is None or currency != "EUR" or not 0 < amount <= MOST_EPC:
        return None
    parts = ("BCD", "002", "1", "SCT", head.bic or "", head.name[:70], head.iban.replace(" ", ""))
    return "\n".join((*parts, f"EUR{amount}", "", "", reference[:140]))


def invoice_pdf(paper: InvoicePaper, font: str = "") -> bytes:
    """The invoice as PDF; `font` is the file of a TrueType font, '' for the built-in one."""
    mark = "DRAFT - not an invoice" if paper.draft else paper.mark
    sheet = Sheet(font, paper.title, paper.head, mark)
    sheet.add_recipient(paper.recipient, paper.facts)
    rows, total = [], Decimal(0)
    for line in paper.lines:
        total = sum_of((total, line.net))
        cells = (str(line.number), line.day, line.text, line.quantity, line.tax, written(line.net))
        small = tuple(f"{text} {written(amount)}" for text, amount in line.details)
        rows.append(Row(cells, small, written(total)))
    columns = (
        Column("No.", 10),
        Column("Date", 22),
        Column("Service", 74, text=True),
        Column("Quantity", 21, number=True),
        Column("Tax", 13, number=True),
        Column(paper.currency, 30, number=True),
    )
    sheet.add_table(columns, rows)
    taxes = [
        Row((tax.name, written(tax.net), written(tax.tax), written(sum_of((tax.net, tax.tax)))))
        for tax in paper.taxes
    ]
    sums = [(text, f"{written(amount)} {paper.currency}") for text, amount in paper.sums]
    if max((len(cell) for row in taxes for cell in row.cells[1:]), default=0) <= MOST_BESIDE:
        sheet.add_sums(sums, _tax_columns(28, 19), taxes)
    else:
        sheet.add_sums(sums)
        sheet.add_table(_tax_columns(41, 43), taxes)
    for note in paper.notes:
        sheet.add_text(note)
    if paper.due > 0 and not paper.draft:
        how = [("Please pay", f"{written(paper.due)} {paper.currency}")]
        how += [("until", paper.until)] if paper.until else []
        how += [("to", paper.head.name)]
        how += [("IBAN", paper.head.iban)] if paper.head.iban else []
        how += [("BIC", paper.head.bic)] if paper.head.bic else []
        how += [("stating", paper.reference)]
        sheet.add_payment(how, payment_code(paper.head, paper.due, paper.currency, paper.reference))
    return sheet.pdf()


def _tax_columns(name: int, amount: int) -> tuple[Column, ...]:
    """The columns of the table of taxes, with their widths."""
    return (
        Column("Tax", name, text=True),
        *(Column(head, amount, number=True) for head in ("Net", "Tax", "Gross")),
    )


def statement_pdf(paper: StatementPaper, font: str = "") -> bytes:
    """The statement as PDF."""
    first, last = paper.days
    sheet = Sheet(font, "Statement of account", paper.head)
    span = f"until {last.isoformat()}" if first is None else f"{first.isoformat()} to {last.isoformat()}"
    sheet.add_recipient(paper.recipient, (("Account", paper.account), ("Period", span)))
    found = paper.statement
    if found is None:
        sheet.add_text("There is nothing on this account.")
        return sheet.pdf()
    balance = found.opening
    begin = first.isoformat() if first else ""
    rows = [Row((begin, "Opening balance", "", "", written(balance)), carried=written(balance))]
    for m in found.movements:
        balance = sum_of((balance, m.amount))
        what = f"{NAMES[m.kind]} {m.number}".strip()
        cells = (m.date[:10], what, m.due or "", written(m.amount), written(balance))
        rows.append(Row(cells, carried=written(balance)))
    columns = (
        Column("Date", 22),
        Column("Document", 64, text=True),
        Column("Due", 22),
        Column("Amount", 31, number=True),
        Column(f"Balance {found.currency}", 31, number=True),
    )
    sheet.add_table(columns, rows)
    sheet.add_sums([("Balance", f"{written(found.closing)} {found.currency}")])
    if found.open:
        sheet.add_text("Open invoices")
        sheet.add_table(
            (
                Column("Due", 22),
                Column("Invoice", 86, text=True),
                Column(f"Open {found.currency}", 31, number=True),
            ),
            [Row((due, number, written(amount))) for due, number, amount in paper.open],
        )
    return sheet.pdf()
