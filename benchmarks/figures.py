"""A measured figure beside the limit and the target it is held against, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit`; `limit` is what was measured beside it in the same run.

    `target` is the least ratio to the limit, or without a limit the least value (`at_most`: the greatest); None for a
    figure that is there for orientation.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    target: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.limit is None else self.value / self.limit

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.target is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return judged <= self.target if self.at_most else judged >= self.target

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        sign = "≤" if self.at_most else "≥"
        unit = "" if self.limit is not None else f" {self.unit}"
        target = "" if self.target is None else f"{sign} {number(self.target)}{unit}"
        verdict = {None: "", True: "met", False: "NOT MET"}[self.met]
        limit = "" if self.limit is None else number(self.limit)
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return self.name, number(self.value), self.unit, limit, ratio, target, verdict, self.note


HEADINGS = ("measured", "figure", "unit", "limit", "ratio", "target", "", "note")


def number(value: float) -> str:
    """Three significant digits or so, as people write them."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def markdown(figures: Iterable[Figure]) -> str:
    """The figures as a Markdown table."""
    cells = [tuple(cell.replace("|", "&#124;") for cell in f.cells()) for f in figures]
    rows = [HEADINGS, ("---", "--:", "---", "--:", "--:", "---", "---", "---"), *cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def text(figure: Figure) -> str:
    """The figure as a line for the screen."""
    name, value, unit, limit, ratio, target, verdict, note = figure.cells()
    parts = [f"{name:<46} {value:>9} {unit:<13}"]
    if limit:
        parts.append(f"limit {limit}, ratio {ratio}")
    if target:
        parts.append(f"target {target}: {verdict}")
    if note:
        parts.append(f"({note})")
    return "  ".join(parts)
