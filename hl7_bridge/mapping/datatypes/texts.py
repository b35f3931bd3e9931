"""ST, TX, FT and NM as FHIR string, markdown and decimal.

https://hl7.org/fhir/uv/v2mappings/ (ST, FT, NM).
"""

from __future__ import annotations

import re
from decimal import Decimal

from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import NULL, Value

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")


@maps("ST", "TX", "FT")
def text(value: Value) -> str | None:
    """All of a field as text; None when nothing is told."""
    found = value.whole().strip()
    return None if found in ("", NULL) else found


@maps("NM")
def number(value: Value) -> Decimal | None:
    """A number as it is written, with its digits; None when it is none."""
    found = value.text(1).strip()
    if _NUMBER.fullmatch(found) is None:
        return None
    return Decimal(found.rstrip("."))
