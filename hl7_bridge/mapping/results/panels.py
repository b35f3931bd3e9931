"""A panel on its way into the records, and the keys by which it and its results are found again.

An invariant to keep: a key is made of the source and its numbers, never of a text, so the same result is found again whatever it
says now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.results.events import Reported
from hl7_bridge.mapping.results.observations import LABORATORY, Made
from hl7_bridge.mapping.results.surroundings import Surroundings
from hl7_bridge.message import NULL

KEYS = "https://osler.health/fhir/hl7v2/result/"
REPORTS = "https://osler.health/fhir/hl7v2/report/"


@dataclass(slots=True)
class Panel:
    """A report on its way: what of it is found and made. `key` is what its results belong to, `category` what kind they are of."""

    report: Reported
    key: str
    specimen: Resource | None
    orders: list[Resource]
    # the specimens that are there, for each one that the report tells
    found: list[Resource | None] = field(default_factory=list)
    specimen_references: list[str] = field(default_factory=list)
    made: list[tuple[str, Made]] = field(default_factory=list)
    report_key: str = ""
    category: Sequence[Mapping[str, Any]] = field(default_factory=lambda: LABORATORY)

    @property
    def specimen_reference(self) -> str | None:
        """The specimen that results without another are of."""
        return self.specimen_references[0] if self.specimen_references else None


def report_key(panel: Panel) -> str:
    """The key of the report: the number it belongs to, and what was asked for."""
    if panel.report_key:
        return panel.report_key
    service = panel.report.service
    name = service.text(1).strip() or service.text(4).strip() or service.text(2).strip()
    parts = [panel.key, of_parent(panel), "" if name == NULL else name]
    panel.report_key = "/".join([key_part(part) for part in parts if part])
    return panel.report_key


def of_parent(panel: Panel) -> str:
    """What parts the results that go on from one result (an organism) from those of another; '' without a parent."""
    parent = panel.report.parent
    return "" if parent is None else f"{parent.code}.{parent.sub}" if parent.sub else parent.code


def parent_key(panel: Panel) -> str:
    """The key of the result that those of a panel go on from; '' without one."""
    parent = panel.report.parent
    if parent is None:
        return ""
    return "/".join([key_part(one) for one in (parent.number or panel.key, parent.code, parent.sub) if one])


def key_part(text: str) -> str:
    """A text as a part of a key: what would end it is written otherwise."""
    return text if text.isalnum() else _quoted(text)


@lru_cache(4096)
def _quoted(text: str) -> str:
    return quote(text, safe=" :+.,;()%#*")


def sender_of(around: Surroundings) -> str:
    """The connection as a part of the address of a source's keys."""
    return key_part(around.context.receipt.connection)
