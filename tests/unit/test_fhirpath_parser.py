"""FHIRPath text to syntax tree."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fhir_r4 import definitions
from fhir_r4.fhirpath.parser import parse
from fhir_r4.fhirpath.syntax import (
    Binary,
    Call,
    FhirPathSyntaxError,
    Index,
    Literal,
    Name,
    This,
    TypeOp,
    Unary,
    Variable,
    children,
)


def integer(value):
    return Literal(value, "integer")


def test_steps_calls_and_indexes_nest_to_the_left():
    assert parse("Patient.name.where(use = 'official').given[0]") == Index(
        Name(
            Call(
                Name(Name(None, "Patient"), "name"),
                "where",
                (Binary("=", Name(None, "use"), Literal("official", "string")),),
            ),
            "given",
        ),
        integer(0),
    )


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a or b and c", "a or (b and c)"),
        ("a and b = c", "a and (b = c)"),
        ("a implies b or c", "a implies (b or c)"),
        ("a in b and c", "(a in b) and c"),
        ("a = b | c", "a = (b | c)"),
        ("a < b = c", "(a < b) = c"),
        ("a | b as T", "a | (b as T)"),
        ("1 + 2 * 3 - 4", "(1 + (2 * 3)) - 4"),
        ("-a.b * c", "(-(a.b)) * c"),
        ("1 & 2 + 3", "(1 & 2) + 3"),
        ("a is T and b", "(a is T) and b"),
        ("a xor b or c", "(a xor b) or c"),
        (" a // to the end\n . b /* in\nbetween */ [ 1 ]", "a.b[1]"),
    ],
)
def test_precedence(text, same):
    assert parse(text) == parse(same)


def test_operators_of_one_rank_group_to_the_left():
    assert parse("a - b - c") == Binary("-", Binary("-", Name(None, "a"), Name(None, "b")), Name(None, "c"))


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("{}", None, "empty"),
        ("true", True, "boolean"),
        ("'it\\'s \\u0041\\n'", "it's A\n", "string"),
        ("42", 42, "integer"),
        ("1.10", Decimal("1.10"), "decimal"),
        ("@2014-01", "2014-01", "date"),
        ("@2014T", "2014T", "dateTime"),
        ("@2014-01-25T14:30:14.559+01:00", "2014-01-25T14:30:14.559+01:00", "dateTime"),
        ("@T14:30", "14:30", "time"),
        ("4.5 'mg'", (Decimal("4.5"), "mg"), "quantity"),
        ("3 weeks", (Decimal(3), "weeks"), "quantity"),
    ],
)
def test_literals(text, value, kind):
    node = parse(text)
    assert node == Literal(value, kind)
    assert str(node.value) == str(value)


def test_type_operators_and_functions_are_one_node():
    assert (
        parse("a as FHIR.Quantity")
        == parse("a.as(FHIR.Quantity)")
        == TypeOp("as", Name(None, "a"), "FHIR.Quantity")
    )
    assert parse("is(Patient)") == TypeOp("is", None, "Patient")
    assert parse("a.ofType(Range)") == TypeOp("ofType", Name(None, "a"), "Range")


def test_words_of_the_grammar_may_be_names():
    assert parse("text.div") == Name(Name(None, "text"), "div")
    assert parse("a.contains('x')") == Call(Name(None, "a"), "contains", (Literal("x", "string"),))
    assert parse("`a b`.day") == Name(Name(None, "a b"), "day")


def test_variables_and_the_items_in_focus():
    assert parse("%resource") == Variable("resource")
    assert parse("%'vs-x'") == parse("%`vs-x`") == Variable("vs-x")
    assert parse("$this") == This("$this")
    assert parse("-$index") == Unary("-", This("$index"))


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 0, "found the end"),
        ("a.", 2, "the name of an element"),
        ("a.where(b", 9, "Expected ')'"),
        ("a b", 2, "found 'b'"),
        ("a ? b", 2, "begins nothing"),
        ("'open", 0, "begins nothing"),
        ("a and", 5, "an operand"),
        ("a = and", 4, "an operand"),
        ("a is", 4, "the name of a type"),
        ("a[1", 3, "Expected ']'"),
        ("%", 1, "the name of a variable"),
        ("a.1", 2, "the name of an element"),
    ],
)
def test_errors_say_what_and_where(text, position, said):
    with pytest.raises(FhirPathSyntaxError, match=r"position \d+") as caught:
        parse(text)
    assert caught.value.position == position
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "a" + ")" * 5000, ".".join("a" * 5000), "-" * 5000 + "1", "a" * 50_000]
)
def test_no_text_exhausts_the_stack(text):
    with pytest.raises(FhirPathSyntaxError):
        parse(text)


def test_every_search_parameter_and_invariant_of_r4_parses():
    expressions = {p.expression for p in definitions.search_parameters() if p.expression is not None}
    expressions |= {e for p in definitions.search_parameters() for _, e in p.components}
    expressions |= {i["expression"] for i in definitions.invariants().values() if "expression" in i}
    assert len(expressions) > 1500
    for expression in expressions:
        names, rest = 0, [parse(expression)]
        while rest:
            node = rest.pop()
            names += isinstance(node, Name | Call | This | Variable | TypeOp)
            rest.extend(children(node))
        assert names > 0, expression
