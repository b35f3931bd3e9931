"""docs/bridge-mapping.md: which rows of the v2-to-FHIR implementation guide are mapped, made of the code itself.

`python -m hl7_bridge.mapping.publishing > docs/bridge-mapping.md`. The fields of the segments are those of HL7 v2.5.1, which hl7apy knows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from hl7_bridge.mapping.rows import mapped, skipped
from hl7_bridge.mapping.table import MAPPINGS

# the segments of the messages that are mapped; what other segments tell is kept in the raw message
SEGMENTS = (
    "MSH",
    "EVN",
    "PID",
    "PD1",
    "NK1",
    "MRG",
    "PV1",
    "PV2",
    "AL1",
    "IAM",
    "DG1",
    "PR1",
    "GT1",
    "IN1",
    "IN2",
    "SCH",
    "TQ1",
    "RGS",
    "AIS",
    "AIG",
    "AIL",
    "AIP",
    "FT1",
    "TXA",
    "ORC",
    "OBR",
    "OBX",
    "NTE",
    "SPM",
    "SAC",
)


def fields() -> Mapping[str, tuple[str, ...]]:
    """The names of the fields of each segment, by the tables of HL7 v2.5.1."""
    tables: Mapping[str, Any] = import_module("hl7apy.v2_5_1.segments").SEGMENTS
    return {name: tuple(str(field[1][3]) for field in tables[name][1]) for name in SEGMENTS}


def lines() -> Iterator[str]:
    """The page, line by line."""
    done, left_out, known = mapped(), skipped(), fields()
    yield "# What is mapped"
    yield ""
    yield "Rows are those of the segment maps of the [v2-to-FHIR implementation guide](https://hl7.org/fhir/uv/v2mappings/), one for each field of"
    yield "HL7 v2.5.1. A field that is not mapped is kept in the raw message, to which Provenance leads. This page is made by"
    yield "`python -m hl7_bridge.mapping.publishing`."
    yield ""
    yield "## Messages"
    yield ""
    types: dict[str, list[str]] = {}
    for type, trigger in sorted(MAPPINGS):
        types.setdefault(type, []).append(trigger)
    for type, triggers in types.items():
        yield f"* {type}: {', '.join(trigger or '(any)' for trigger in triggers)}"
    yield ""
    yield "## Segments"
    yield ""
    yield "| segment | fields | mapped | not mapped, with a reason | open |"
    yield "|---|---|---|---|---|"
    for name, names in known.items():
        rows = [f"{name}-{n}" for n in range(1, len(names) + 1)]
        mapped_rows = sum(row in done for row in rows)
        with_reason = sum(row in left_out and row not in done for row in rows)
        yield f"| {name} | {len(rows)} | {mapped_rows} | {with_reason} | {len(rows) - mapped_rows - with_reason} |"
    for name, names in known.items():
        yield ""
        yield f"### {name}"
        yield ""
        yield "| row | field | |"
        yield "|---|---|---|"
        for n, field in enumerate(names, 1):
            row = f"{name}-{n}"
            by = ", ".join(f"`{one}`" for one in done.get(row, ()))
            told = by or left_out.get(row, "**open**")
            yield f"| {row} | {field.replace('_', ' ').capitalize()} | {told} |"


def page() -> str:
    """The page."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
