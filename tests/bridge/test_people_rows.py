"""The table of what is mapped is complete, and the page that tells it is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from hl7_bridge.mapping.publishing import fields, page
from hl7_bridge.mapping.rows import expanded, mapped, skipped

DOCS = Path(__file__).parents[2] / "docs" / "bridge-mapping.md"
SHARE = 0.9


def rows() -> list[str]:
    return [f"{name}-{n}" for name, names in fields().items() for n in range(1, len(names) + 1)]


def test_nine_of_ten_rows_of_each_segment_are_mapped_or_left_out_for_a_reason() -> None:
    decided = mapped().keys() | skipped().keys()
    for name, names in fields().items():
        found = sum(f"{name}-{n}" in decided for n in range(1, len(names) + 1))
        assert found >= SHARE * len(names), name


def test_every_reason_says_something() -> None:
    assert all(len(reason) > 20 and reason.endswith(".") for reason in skipped().values())


def test_no_row_is_named_that_does_not_exist() -> None:
    known = fields()
    for row in mapped().keys() | skipped().keys():
        segment, _, number = row.partition("-")
        if number and segment in known:
            # versions after 2.5.1 have added fields at the end
            assert int(number) <= max(len(known[segment]) + 12, 1), row


def test_lists_of_rows_are_expanded() -> None:
    assert list(expanded("PID-1, PID-36..38")) == ["PID-1", "PID-36", "PID-37", "PID-38"]


def test_the_page_is_that_of_the_code() -> None:
    assert DOCS.read_text() == page(), "python -m hl7_bridge.mapping.publishing > docs/bridge-mapping.md"


def test_the_page_tells_every_row() -> None:
    told = re.findall(r"^\| ([A-Z0-9]{3}-\d+) \|", DOCS.read_text(), re.M)
    assert told == rows()
