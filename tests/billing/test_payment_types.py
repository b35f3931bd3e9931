"""No binary float on the way of money, whatever is written or calculated; and the operations are what their definitions say."""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from pathlib import Path

import pytest

import fhir_server
from fhir_server.resources.billing.ledger import postings_of
from profiles.ig.conformance import DEFINITIONS, load_definitions
from tests.billing.cash import build, done, invoice, read
from tests.conftest import Client

ROOT = Path(fhir_server.__file__).parent
SOURCES = sorted(ROOT.glob("*/billing/*.py"))
# lays out pages; it prints amounts and calculates none
LAYOUT = {"sheets"}
# seconds to wait for others, which are no money
TIMEOUT = "SECONDS"


def floats_in(source: Path) -> list[str]:
    """Where a file names a float, writes one, or divides what is no Fraction."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    allowed = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [TIMEOUT]
    }
    found = []
    for node in ast.walk(tree):
        named = (isinstance(node, ast.Name) and node.id == "float") or (
            isinstance(node, ast.Attribute) and node.attr in ("as_float", "fsum")
        )
        written = isinstance(node, ast.Constant) and isinstance(node.value, float) and id(node) not in allowed
        divided = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        if named or written or (divided and not re.search("Fraction|whole", ast.unparse(node))):
            found.append(f"{source.name}:{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    "source", [s for s in SOURCES if s.stem not in LAYOUT], ids=lambda p: f"{p.parts[-3]}-{p.stem}"
)
def test_no_float_is_named_written_or_made(source: Path) -> None:
    assert floats_in(source) == []


async def test_what_is_kept_is_decimal_with_the_digits_of_its_currency(client: Client) -> None:
    await build(
        client,
        invoice("i1", "100.10"),
        invoice("i2", "1001", currency="JPY"),
        invoice("i3", "1.005", currency="KWD"),
    )
    for id, digits in (("i1", 2), ("i2", 0), ("i3", 3)):
        made = await done(client, f"Invoice/{id}/$pay")
        value = made["paymentAmount"]["value"]
        assert type(value) in (Decimal, int)
        assert -Decimal(value).as_tuple().exponent == digits  # type: ignore[operator]
        entry = (await client.get(f"/Basic?subject=PaymentReconciliation/{made['id']}")).json()["entry"][0][
            "resource"
        ]
        for posting in postings_of(await read(client, f"Basic/{entry['id']}")):
            assert type(posting.amount) is Decimal


def test_extensions_that_payments_use_are_defined() -> None:
    defined = {d["id"] for d in load_definitions(DEFINITIONS) if d["resourceType"] == "StructureDefinition"}
    used = {
        name
        for source in SOURCES
        for name in re.findall(r'OSLER \+ "([a-z][\w-]+)"', source.read_text(encoding="utf-8"))
        if "resources" in source.parts
    }
    assert len(used) > 15
    assert used <= defined, used - defined
