"""Invoices and statements on paper: A4 pages as PDF. https://www.reportlab.com/docs/reportlab-userguide.pdf

What is printed is what the values say; nothing is calculated here. The payment code is that of EPC069-12 (a QR code that
banking apps read), where the currency and the account of the issuer allow one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir_r4.errors import Unavailable
from fhir_server.operations.billing.movements import CREDIT, INVOICE, MOVED, PAID, Statement
from fhir_server.resources.billing.money import sum_of
from fhir_server.resources.billing.payments import DISCOUNT, WRITE_OFF

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

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


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who sends: the name, the lines of the address and of contacts, tax number and bank account."""

    name: str
    address: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    tax_number: str | None = None
    iban: str | None = None
    bic: str | None = None


@dataclass(frozen=True, slots=True)
class PaperLine:
    """A line as it is printed; `details` are its reductions and surcharges."""

    number: int
    day: str
    text: str
    quantity: str
    net: Decimal
    details: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class InvoicePaper:
    """An invoice as it is printed. `sums` stand below the lines, the last of them is what is to be paid."""

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


@dataclass(frozen=True, slots=True)
class StatementPaper:
    """A statement of an account as it is printed; `days` are the first and the last."""

    head: Letterhead
    recipient: tuple[str, ...]
    account: str
    days: tuple[date | None, date]
    statement: Statement | None


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
    sheet = _Sheet(font, paper.title, paper.head, "DRAFT - not an invoice" if paper.draft else "")
    sheet.add_recipient(paper.recipient, paper.facts)
    rows: list[Sequence[Any]] = [("No.", "Date", "Service", "Quantity", paper.currency)]
    for line in paper.lines:
        rows.append((str(line.number), line.day, line.text, line.quantity, written(line.net)))
        rows += [("", "", f"    {text}", "", f"({written(amount)})") for text, amount in line.details]
    sheet.add_table(rows, (10, 22, 84, 22, 32), text=2)
    sheet.add_sums([(text, f"{written(amount)} {paper.currency}") for text, amount in paper.sums])
    for note in paper.notes:
        sheet.add_text(note)
    code = payment_code(paper.head, paper.due, paper.currency, paper.reference)
    if code is not None and not paper.draft:
        sheet.add_code(code, "Pay by scanning this code with your banking app.")
    return sheet.pdf()


def statement_pdf(paper: StatementPaper, font: str = "") -> bytes:
    """The statement as PDF."""
    first, last = paper.days
    sheet = _Sheet(font, "Statement of account", paper.head, "")
    span = f"until {last.isoformat()}" if first is None else f"{first.isoformat()} to {last.isoformat()}"
    sheet.add_recipient(paper.recipient, (("Account", paper.account), ("Period", span)))
    found = paper.statement
    if found is None:
        sheet.add_text("There is nothing on this account.")
        return sheet.pdf()
    balance = found.opening
    rows: list[Sequence[Any]] = [("Date", "Document", "Due", "Amount", f"Balance {found.currency}")]
    rows.append((first.isoformat() if first else "", "Balance brought forward", "", "", written(balance)))
    for m in found.movements:
        balance = sum_of((balance, m.amount))
        what = f"{NAMES[m.kind]} {m.number}".strip()
        rows.append((m.date[:10], what, m.due or "", written(m.amount), written(balance)))
    sheet.add_table(rows, (22, 64, 22, 31, 31), text=1)
    sheet.add_sums([("Balance", f"{written(found.closing)} {found.currency}")])
    return sheet.pdf()


class _Sheet:
    """Pages with a letterhead on the first, and the page number on all."""

    def __init__(self, font: str, title: str, head: Letterhead, mark: str) -> None:
        from reportlab.lib.styles import ParagraphStyle

        self._names = _fonts(font)
        plain, bold = self._names
        self._style = ParagraphStyle("text", fontName=plain, fontSize=9, leading=12)
        self._bold = ParagraphStyle("bold", self._style, fontName=bold)
        self._title = ParagraphStyle(
            "title", self._bold, fontSize=15, leading=20, spaceAfter=8, spaceBefore=10
        )
        self._small = ParagraphStyle("small", self._style, fontSize=7, leading=9)
        self._head, self._mark, self._name = head, mark, title
        self._story: list[Any] = []

    def _paragraph(self, lines: Iterable[str], style: Any = None) -> Any:
        from reportlab.platypus import Paragraph

        return Paragraph("<br/>".join(escape(line) for line in lines), style or self._style)

    def add_recipient(self, recipient: Sequence[str], facts: Sequence[tuple[str, str]]) -> None:
        """The window of the envelope to the left, what the paper is about to the right; then the title."""
        from reportlab.lib.units import mm
        from reportlab.platypus import Spacer, Table

        sender = " · ".join((self._head.name, *self._head.address))
        left = [self._paragraph([sender], self._small), Spacer(1, 2 * mm), self._paragraph(recipient)]
        right = Table(
            [(self._paragraph([name]), self._paragraph([value], self._bold)) for name, value in facts]
            or [("", "")],
            colWidths=(30 * mm, 45 * mm),
            style=[
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
            ],
        )
        block = Table(
            [(left, right)],
            colWidths=(92 * mm, 78 * mm),
            rowHeights=(40 * mm,),
            style=[("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)],
        )
        self._story += [block, self._paragraph([self._name], self._title)]

    def add_table(self, rows: Sequence[Sequence[Any]], widths: Sequence[int], text: int) -> None:
        """Rows below their heads, which are repeated on every page; column `text` is broken, the last two are numbers."""
        from reportlab.lib import colors
        from reportlab.lib.units import mm
        from reportlab.platypus import LongTable

        plain, bold = self._names
        cells = [
            [self._paragraph([c]) if n and column == text else c for column, c in enumerate(row)]
            for n, row in enumerate(rows)
        ]
        numbers = (len(rows[0]) - 2, 0), (-1, -1)
        style: list[Any] = [
            ("FONT", (0, 0), (-1, 0), bold, 9),
            ("FONT", (0, 1), (-1, -1), plain, 9),
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
            ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.lightgrey),
            ("ALIGN", *numbers, "RIGHT"),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ]
        self._story.append(
            LongTable(cells, colWidths=[w * mm for w in widths], repeatRows=1, style=style, hAlign="LEFT")
        )

    def add_sums(self, sums: Sequence[tuple[str, str]]) -> None:
        from reportlab.lib import colors
        from reportlab.lib.units import mm
        from reportlab.platypus import KeepTogether, Spacer, Table

        plain, bold = self._names
        style: list[Any] = [
            ("FONT", (0, 0), (-1, -1), plain, 9),
            ("FONT", (0, -1), (-1, -1), bold, 11),
            ("LINEABOVE", (0, -1), (-1, -1), 0.8, colors.black),
            ("ALIGN", (1, 0), (1, -1), "RIGHT"),
            ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ]
        table = Table(list(sums), colWidths=(60 * mm, 42 * mm), style=style, hAlign="RIGHT")
        self._story += [Spacer(1, 3 * mm), KeepTogether([table]), Spacer(1, 4 * mm)]

    def add_text(self, text: str) -> None:
        self._story.append(self._paragraph(text.splitlines()))

    def add_code(self, content: str, caption: str) -> None:
        from reportlab.graphics.barcode.qr import QrCodeWidget
        from reportlab.graphics.shapes import Drawing
        from reportlab.lib.units import mm
        from reportlab.platypus import KeepTogether, Spacer

        size = 34 * mm
        widget = QrCodeWidget(content, barLevel="M", barWidth=size, barHeight=size, barBorder=2)
        drawing = Drawing(size, size)
        drawing.add(widget)
        self._story += [
            Spacer(1, 4 * mm),
            KeepTogether([drawing, self._paragraph([caption], self._small)]),
        ]

    def pdf(self) -> bytes:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import BaseDocTemplate, Frame, NextPageTemplate, PageTemplate

        out = io.BytesIO()
        width, height = A4
        margin = 20 * mm
        document = BaseDocTemplate(
            out, pagesize=A4, title=self._name, author=self._head.name, invariant=1, pageCompression=1
        )
        first = Frame(margin, 28 * mm, width - 2 * margin, height - 70 * mm, 0, 0, 0, 0)
        later = Frame(margin, 28 * mm, width - 2 * margin, height - 48 * mm, 0, 0, 0, 0)
        document.addPageTemplates(
            [
                PageTemplate("first", [first], onPage=self._first),
                PageTemplate("later", [later], onPage=self._page),
            ]
        )
        document.build([NextPageTemplate("later"), *self._story])
        return out.getvalue()

    def _first(self, canvas: Canvas, document: Any) -> None:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm

        plain, bold = self._names
        width, height = A4
        canvas.setFont(bold, 14)
        canvas.drawString(20 * mm, height - 20 * mm, self._head.name)
        canvas.setFont(plain, 8)
        for n, line in enumerate((*self._head.address, *self._head.contacts)[:6]):
            canvas.drawRightString(width - 20 * mm, height - 17 * mm - n * 3.6 * mm, line)
        canvas.setLineWidth(0.6)
        canvas.line(20 * mm, height - 38 * mm, width - 20 * mm, height - 38 * mm)
        self._page(canvas, document)

    def _page(self, canvas: Canvas, document: Any) -> None:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm

        plain, bold = self._names
        width, _ = A4
        head = self._head
        canvas.setFont(plain, 7)
        bank = [
            f"{name} {value}"
            for name, value in (("IBAN", head.iban), ("BIC", head.bic), ("Tax no.", head.tax_number))
            if value
        ]
        canvas.drawString(20 * mm, 14 * mm, " · ".join((head.name, *bank)))
        canvas.drawRightString(width - 20 * mm, 14 * mm, f"Page {canvas.getPageNumber()}")
        if self._mark:
            canvas.saveState()
            canvas.setFont(bold, 34)
            canvas.setFillGray(0.85)
            canvas.translate(width / 2, 150 * mm)
            canvas.rotate(35)
            canvas.drawCentredString(0, 0, self._mark)
            canvas.restoreState()


def _fonts(font: str) -> tuple[str, str]:
    """The names of the plain and the bold font, registered."""
    import reportlab
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    folder = Path(reportlab.__file__).parent / "fonts"
    files = (font, font) if font else (str(folder / "Vera.ttf"), str(folder / "VeraBd.ttf"))
    names = []
    for kind, file in zip(("plain", "bold"), files, strict=True):
        name = f"osler-{kind}-{Path(file).stem}"
        if name not in pdfmetrics.getRegisteredFontNames():
            try:
                pdfmetrics.registerFont(TTFont(name, file))
            except (TTFError, OSError) as error:
                raise Unavailable(f"The setting print_font names no TrueType font: {error}") from error
        names.append(name)
    return names[0], names[1]
