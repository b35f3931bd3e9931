"""Sheets of paper: A4 pages as PDF with a letterhead, the window of an envelope, tables that are carried forward, page numbers.

https://www.reportlab.com/docs/reportlab-userguide.pdf; the address stands where the windows of DIN 5008 form B are (and those of DL envelopes that
are folded in three). What is printed is what is given; nothing is calculated here.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_server.operations.billing.fonts import fonts, marked

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

# millimetres: of the page, of the text, and of the first frame below the letterhead
WIDTH, HEIGHT, MARGIN, TEXT = 210, 297, 20, 170
WINDOW, FOLDS = 45, (105, 210)


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
class Column:
    """A column of a table: its head, its width in millimetres, and whether it has numbers, or text that is broken."""

    head: str
    width: int
    number: bool = False
    text: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its cells, small print below the text, and what the rows until here come to ('' where nothing is carried)."""

    cells: tuple[str, ...]
    small: tuple[str, ...] = ()
    carried: str = ""


class Sheet:
    """Pages with a letterhead on the first, and the page number on all. `mark` is printed across them."""

    def __init__(self, font: str, title: str, head: Letterhead, mark: str = "") -> None:
        from reportlab.lib.styles import ParagraphStyle

        self._names = fonts(font)
        plain, bold = self._names
        self._style = ParagraphStyle("text", fontName=plain, fontSize=9, leading=12)
        self._bold = ParagraphStyle("bold", self._style, fontName=bold)
        self._title = ParagraphStyle(
            "title", self._bold, fontSize=15, leading=20, spaceAfter=8, spaceBefore=6
        )
        self._small = ParagraphStyle("small", self._style, fontSize=7, leading=9)
        self._head, self._mark, self._name = head, mark, title
        self._story: list[Any] = []

    def _paragraph(self, lines: Iterable[str], style: Any = None) -> Any:
        from reportlab.platypus import Paragraph

        style = style or self._style
        return Paragraph("<br/>".join(marked(line, style.fontName) for line in lines), style)

    def add_recipient(self, recipient: Sequence[str], facts: Sequence[tuple[str, str]]) -> None:
        """The window of the envelope to the left, what the paper is about to the right; then the title."""
        from reportlab.lib.units import mm
        from reportlab.platypus import KeepInFrame, Spacer, Table

        sender = " · ".join((self._head.name, *self._head.address))
        left = [self._paragraph([sender], self._small), Spacer(1, 2 * mm), self._paragraph(recipient)]
        right = Table(
            [(self._paragraph([name]), self._paragraph([value])) for name, value in facts] or [("", "")],
            colWidths=(25 * mm, 50 * mm),
            style=[
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
            ],
        )
        high = 45 * mm
        block = Table(
            [(KeepInFrame(85 * mm, high, left), KeepInFrame(75 * mm, high, [right]))],
            colWidths=(95 * mm, 75 * mm),
            rowHeights=(high,),
            style=[
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 0),
            ],
        )
        self._story += [block, self._paragraph([self._name], self._title)]

    def add_table(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Rows below their heads; what they come to is carried forward from page to page."""
        self._story.append(self._running(columns, tuple(rows), ""))

    def _running(self, columns: Sequence[Column], rows: tuple[Row, ...], brought: str) -> Any:
        """A table that splits into one that says what is carried forward and one that says what was brought."""
        from reportlab.platypus import Flowable

        sheet = self

        class Running(Flowable):
            def __init__(self, rows: tuple[Row, ...], brought: str, carried: str) -> None:
                super().__init__()
                self.rows, self.brought, self.carried = rows, brought, carried
                self.table = sheet._table(columns, rows, brought, carried)

            def wrap(self, width: Any, height: Any) -> tuple[Any, Any]:
                self.width, self.height = self.table.wrap(width, height)
                return self.width, self.height

            def split(self, width: Any, height: Any) -> list[Any]:
                """As many rows as fit, with a row for what is carried forward."""
                self.table.wrap(width, height)
                heights = list(self.table._rowHeights)
                before = 2 if self.brought else 1
                # a row more for what is carried forward
                left, count = height - sum(heights[:before]) - heights[0], 0
                for one in heights[before : before + len(self.rows)]:
                    left -= one
                    if left < 0:
                        break
                    count += 1
                if not 0 < count < len(self.rows):
                    return []
                carried = self.rows[count - 1].carried
                first = Running(self.rows[:count], self.brought, carried)
                return [first, Running(self.rows[count:], carried, self.carried)]

            def draw(self) -> None:
                self.table.drawOn(self.canv, 0, 0)

        return Running(rows, brought, "")

    def _table(self, columns: Sequence[Column], rows: Sequence[Row], brought: str, carried: str) -> Any:
        from reportlab.lib import colors
        from reportlab.lib.units import mm
        from reportlab.platypus import Table

        plain, bold = self._names
        text = next(n for n, c in enumerate(columns) if c.text)
        cells: list[list[Any]] = [[c.head for c in columns]]
        if brought:
            cells.append(self._carrying(columns, text, "Brought forward", brought))
        for row in rows:
            made: list[Any] = list(row.cells)
            made[text] = [
                self._paragraph([row.cells[text]]),
                *(self._paragraph([t], self._small) for t in row.small),
            ]
            cells.append(made)
        if carried:
            cells.append(self._carrying(columns, text, "Carried forward", carried))
        style: list[Any] = [
            ("FONT", (0, 0), (-1, 0), bold, 9),
            ("FONT", (0, 1), (-1, -1), plain, 9),
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
            ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.lightgrey),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 1), (-1, -1), 2.5),
            ("BOTTOMPADDING", (0, 1), (-1, -1), 2.5),
        ]
        style += [("ALIGN", (n, 0), (n, -1), "RIGHT") for n, c in enumerate(columns) if c.number]
        style += [("FONT", (0, 1), (-1, 1), bold, 9)] if brought else []
        style += [("FONT", (0, -1), (-1, -1), bold, 9)] if carried else []
        return Table(cells, colWidths=[c.width * mm for c in columns], style=style, hAlign="LEFT")

    def _carrying(self, columns: Sequence[Column], text: int, what: str, amount: str) -> list[Any]:
        made: list[Any] = [""] * len(columns)
        made[text], made[-1] = self._paragraph([what], self._bold), amount
        return made

    def add_sums(
        self, sums: Sequence[tuple[str, str]], beside: Sequence[Column] = (), rows: Sequence[Row] = ()
    ) -> None:
        """Sums to the right, the last of them printed large; a small table beside them."""
        from reportlab.lib import colors
        from reportlab.lib.units import mm
        from reportlab.platypus import KeepTogether, Spacer, Table

        plain, bold = self._names
        lines = [(self._paragraph([name]), value) for name, value in sums[:-1]]
        lines += [(self._paragraph([name], self._bold), value) for name, value in sums[-1:]]
        style: list[Any] = [
            ("FONT", (0, 0), (-1, -1), plain, 9),
            ("FONT", (1, -1), (1, -1), bold, 10.5),
            ("LINEABOVE", (0, -1), (-1, -1), 0.8, colors.black),
            ("LINEBELOW", (0, -1), (-1, -1), 0.8, colors.black),
            ("ALIGN", (1, 0), (1, -1), "RIGHT"),
            ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
        name = 38 if rows else 66
        right = Table(lines, colWidths=(name * mm, 42 * mm), style=style)
        left = self._table(beside, rows, "", "") if rows else ""
        both = Table(
            [(left, right)],
            colWidths=((TEXT - name - 42) * mm, (name + 42) * mm),
            style=[
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ],
            hAlign="LEFT",
        )
        self._story += [Spacer(1, 3 * mm), KeepTogether([both]), Spacer(1, 4 * mm)]

    def add_text(self, text: str) -> None:
        self._story.append(self._paragraph(text.splitlines()))

    def add_payment(self, lines: Sequence[tuple[str, str]], code: str | None) -> None:
        """How to pay, and the code that says the same to a banking app."""
        from reportlab.graphics.barcode.qr import QrCodeWidget
        from reportlab.graphics.shapes import Drawing
        from reportlab.lib.units import mm
        from reportlab.platypus import KeepTogether, Spacer, Table

        told = Table(
            [(self._paragraph([name]), self._paragraph([value], self._bold)) for name, value in lines],
            colWidths=(28 * mm, 80 * mm),
            style=[
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ],
            hAlign="LEFT",
        )
        picture: list[Any] = []
        if code is not None:
            size = 34 * mm
            drawing = Drawing(size, size)
            drawing.add(QrCodeWidget(code, barLevel="M", barWidth=size, barHeight=size, barBorder=2))
            caption = "Pay by scanning this code with your banking app."
            picture = [drawing, self._paragraph([caption], self._small)]
        both = Table(
            [(told, picture)],
            colWidths=((TEXT - 50) * mm, 50 * mm),
            style=[("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, -1), 0)],
            hAlign="LEFT",
        )
        self._story += [Spacer(1, 4 * mm), KeepTogether([both])]

    def pdf(self) -> bytes:
        """The pages."""
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.pdfgen.canvas import Canvas
        from reportlab.platypus import BaseDocTemplate, Frame, NextPageTemplate, PageTemplate

        sheet = self

        class Numbered(Canvas):
            """Keeps the pages until their number is known."""

            def __init__(self, *args: Any, **more: Any) -> None:
                super().__init__(*args, **more)
                self._pages: list[dict[str, Any]] = []

            def showPage(self) -> None:  # noqa: N802
                self._pages.append(dict(self.__dict__))
                self._startPage()  # type: ignore[attr-defined]

            def save(self) -> None:
                pages = self._pages
                for page in pages:
                    self.__dict__.update(page)
                    sheet._foot(self, len(pages))
                    super().showPage()
                super().save()

        out = io.BytesIO()
        document = BaseDocTemplate(
            out, pagesize=A4, title=self._name, author=self._head.name, invariant=1, pageCompression=1
        )
        first = Frame(MARGIN * mm, 24 * mm, TEXT * mm, (HEIGHT - WINDOW - 24) * mm, 0, 0, 0, 0)
        later = Frame(MARGIN * mm, 24 * mm, TEXT * mm, (HEIGHT - 27 - 24) * mm, 0, 0, 0, 0)
        document.addPageTemplates(
            [
                PageTemplate("first", [first], onPage=self._letterhead),
                PageTemplate("later", [later], onPage=self._running_head),
            ]
        )
        document.build([NextPageTemplate("later"), *self._story], canvasmaker=Numbered)
        return out.getvalue()

    def _running_head(self, canvas: Canvas, _: Any) -> None:
        from reportlab.lib.units import mm

        self._marking(canvas)
        canvas.setFont(self._names[0], 8)
        canvas.drawString(MARGIN * mm, (HEIGHT - 18) * mm, f"{self._head.name} · {self._name}")
        canvas.setLineWidth(0.3)
        canvas.line(MARGIN * mm, (HEIGHT - 21) * mm, (WIDTH - MARGIN) * mm, (HEIGHT - 21) * mm)

    def _letterhead(self, canvas: Canvas, _: Any) -> None:
        from reportlab.lib.units import mm

        self._marking(canvas)
        plain = self._names[0]
        name = self._paragraph([self._head.name], self._title)
        _, high = name.wrap(105 * mm, 25 * mm)
        name.drawOn(canvas, MARGIN * mm, (HEIGHT - 14) * mm - high)
        canvas.setFont(plain, 8)
        for n, line in enumerate((*self._head.address, *self._head.contacts)[:6]):
            canvas.drawRightString((WIDTH - MARGIN) * mm, (HEIGHT - 17 - n * 3.6) * mm, line)
        canvas.setLineWidth(0.6)
        canvas.line(MARGIN * mm, (HEIGHT - 40) * mm, (WIDTH - MARGIN) * mm, (HEIGHT - 40) * mm)
        canvas.setLineWidth(0.2)
        for fold in FOLDS:
            canvas.line(5 * mm, (HEIGHT - fold) * mm, 9 * mm, (HEIGHT - fold) * mm)

    def _foot(self, canvas: Canvas, pages: int) -> None:
        from reportlab.lib.units import mm

        plain, head = self._names[0], self._head
        canvas.setFont(plain, 7)
        bank = [
            f"{name} {value}"
            for name, value in (("IBAN", head.iban), ("BIC", head.bic), ("Tax no.", head.tax_number))
            if value
        ]
        canvas.setLineWidth(0.3)
        canvas.line(MARGIN * mm, 18 * mm, (WIDTH - MARGIN) * mm, 18 * mm)
        canvas.drawString(MARGIN * mm, 14 * mm, " · ".join((head.name, *bank)))
        canvas.drawRightString((WIDTH - MARGIN) * mm, 14 * mm, f"Page {canvas.getPageNumber()} of {pages}")

    def _marking(self, canvas: Canvas) -> None:
        """The mark across the page, below what is printed."""
        from reportlab.lib.units import mm

        if self._mark:
            canvas.saveState()
            canvas.setFont(self._names[1], 34)
            canvas.setFillGray(0.88)
            canvas.translate(WIDTH * mm * 0.5, 150 * mm)
            canvas.rotate(35)
            canvas.drawCentredString(0, 0, self._mark)
            canvas.restoreState()
