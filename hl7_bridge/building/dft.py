"""DFT^P03: charges. HL7 v2.5.1 chapter 6. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.fields import cwe, nm, told_identifiers, ts
from hl7_bridge.building.people import evn, pid, pv1
from hl7_bridge.serializer import Field, Segment

Resource = Mapping[str, Any]

STRUCTURE = "DFT_P03"


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """P03 when something is charged, or what was charged is taken back."""
    old, new = None if was is None else was.get("status"), now.get("status")
    if new == "billable" and old != "billable":
        return "P03"
    return "P03" if old == "billable" and new in ("aborted", "entered-in-error", "not-billable") else None


def message(charge: Resource, chart: Chart, recorded: str) -> Sequence[Segment]:
    """The segments after the header."""
    return (evn(recorded), pid(chart.patient), pv1(chart), _ft1(charge, chart, recorded))


def _ft1(charge: Resource, chart: Chart, recorded: str) -> Segment:
    numbers = told_identifiers(charge)
    quantity = charge.get("quantity", {}).get("value")
    credit = charge.get("status") != "billable" or (quantity is not None and quantity < 0)
    price = charge.get("priceOverride", {})
    total = price.get("value")
    single = quantity is None or abs(quantity) == 1
    occurred = charge.get("occurrenceDateTime") or charge.get("occurrencePeriod", {}).get("start") or recorded
    performers = [one["actor"] for one in charge.get("performer", [])]
    fields: dict[int, Field] = {
        1: "1",
        2: numbers[0]["value"] if numbers else str(charge.get("id")),
        4: ts(occurred),
        5: ts(charge.get("enteredDate")) or ts(recorded),
        6: "CD" if credit else "CG",
        7: cwe(charge.get("code")),
        10: None if quantity is None else nm(abs(quantity)),
        11: _money(total, price.get("currency")),
        12: _money(total, price.get("currency")) if single else None,
        19: [cwe(one) for one in charge.get("reason", [])],
        20: chart.people(performers),
        24: chart.people([charge["enterer"]] if "enterer" in charge else []),
    }
    department = charge.get("performingOrganization")
    if department is not None:
        known = chart.at(department) or {}
        name = known.get("name") or department.get("display")
        numbers = told_identifiers(known)
        code = numbers[0]["value"] if numbers else None
        fields[13] = (code, name, "L") if name or code else None
    return Segment("FT1", fields)


def _money(amount: Any, currency: str | None) -> Field:
    return None if amount is None else ((nm(amount), currency),)
