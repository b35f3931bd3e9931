"""The syntax tree of FHIRPath: what `parser.parse` makes, `evaluate` runs and the search parameter compiler reads.

Source: http://hl7.org/fhirpath/N1/grammar.html. Nodes are immutable, comparable and hashable; two texts that differ only
in blanks, comments or needless parentheses give equal trees. A `target` or `argument` of None never occurs except where a
node says so: there it stands for the item (or, at the root, the resource) that the expression is evaluated on.

    Patient.name.where(use = 'official').given[0]

    Index(Name(Call(Name(Name(None, "Patient"), "name"), "where",
                    (Binary("=", Name(None, "use"), Literal("official", "string")),)), "given"), Literal(0, "integer"))
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal as OneOf


class FhirPathError(ValueError):
    """An expression that cannot be parsed or evaluated; the text says why."""


class FhirPathSyntaxError(FhirPathError):
    """A text that is no FHIRPath; `position` counts characters from 0."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        shown = text if len(text) <= 120 else f"{text[:117]}..."
        super().__init__(f"{problem} at position {position} of the FHIRPath expression: {shown}")
        self.position = position


LiteralKind = OneOf[
    "empty", "boolean", "string", "integer", "decimal", "date", "dateTime", "time", "quantity"
]
TypeOperator = OneOf["is", "as", "ofType"]
Focus = OneOf["$this", "$index", "$total"]
LiteralValue = bool | str | int | Decimal | tuple[Decimal, str] | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal; `kind` says how to read `value`.

    empty (`{}`): None. boolean, string, integer, decimal: that Python value. date, dateTime, time: the text without the
    `@` (and, for a time, without the `T`; a dateTime keeps a trailing `T`). quantity: (value, unit), where the unit is
    the UCUM code, or a calendar word as written (`year`, `days`).
    """

    value: LiteralValue
    kind: LiteralKind


@dataclass(frozen=True, slots=True)
class Name:
    """The element `name` of the items of `target`; with target None also possibly the name of the resource's type."""

    target: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """The function `name` called on `target` (None: on the item in focus). Never `is`, `as` or `ofType`: see TypeOp."""

    target: Node | None
    name: str
    args: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """`target[index]`."""

    target: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right`, op one of: * / div mod + - & | <= < > >= = ~ != !~ in contains and or xor implies."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Unary:
    """`+operand` or `-operand`."""

    op: OneOf["+", "-"]
    operand: Node


@dataclass(frozen=True, slots=True)
class TypeOp:
    """`target is T`, `target as T`, and the functions is(T), as(T) and ofType(T), which mean the same.

    `type` is as written: `Quantity`, `FHIR.Quantity`, `System.String`. target None: the item in focus.
    """

    op: TypeOperator
    target: Node | None
    type: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`%name`."""

    name: str


@dataclass(frozen=True, slots=True)
class This:
    """`$this`, `$index` or `$total`."""

    name: Focus = "$this"


Node = Literal | Name | Call | Index | Binary | Unary | TypeOp | Variable | This


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`, left to right."""
    match node:
        case Name(target) | TypeOp(_, target):
            return () if target is None else (target,)
        case Call(target, _, args):
            return args if target is None else (target, *args)
        case Index(target, index):
            return target, index
        case Binary(_, left, right):
            return left, right
        case Unary(_, operand):
            return (operand,)
        case _:
            return ()
