"""The definitions of billing say what the code does; no binary float is on the path of money."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fhir_server
from fhir_server.resources.billing.invoicing import CREDIT_NOTE
from fhir_server.resources.billing.settings import _PARTS
from profiles.ig.conformance import DEFINITIONS, load_definitions

ROOT = Path(fhir_server.__file__).parent
SOURCES = sorted((*ROOT.glob("*/billing/*.py"), ROOT / "subscriptions" / "charging.py"))
OFFICIAL = "http://hl7.org/fhir/"


def test_extensions_that_billing_uses_are_defined() -> None:
    defined = {d["id"] for d in load_definitions(DEFINITIONS) if d["resourceType"] == "StructureDefinition"}
    used = {
        name
        for source in SOURCES
        for name in re.findall(r'(?:OSLER|EXTENSION) \+ "([a-z][\w-]*)"', source.read_text(encoding="utf-8"))
    }
    assert len(used) > 10
    assert used <= defined, used - defined


def test_every_part_of_the_settings_is_defined() -> None:
    (found,) = [d for d in load_definitions(DEFINITIONS) if d.get("id") == "hospital-settings"]
    elements = found["differential"]["element"]
    parts = {e["sliceName"] for e in elements if re.fullmatch(r"Extension\.extension:[\w-]+", e["id"])}
    assert parts == {*_PARTS, "tax-group"}


def test_codes_that_billing_uses_are_defined() -> None:
    codes = {
        (d["id"], c["code"])
        for d in load_definitions(DEFINITIONS)
        if d["resourceType"] == "CodeSystem"
        for c in d["concept"]
    }
    assert {("invoice-type", CREDIT_NOTE), ("charge-event", "bed-day"), ("receivables-age", "total")} <= codes


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_no_float_is_on_the_path_of_money(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Name) and node.id in ("float", "round")), ast.unparse(node)
        assert not (
            isinstance(node, ast.Constant) and isinstance(node.value, float) and not _is_layout(source)
        )
        # an exact number is divided as a Fraction alone
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not _is_layout(source):
            assert "Fraction" in ast.unparse(node) or "whole" in ast.unparse(node), ast.unparse(node)


def _is_layout(source: Path) -> bool:
    """Whether it calculates with places on paper or with seconds, not with money."""
    return source.stem in ("sheets", "providers", "forwarding")
