"""FHIRPath text to syntax tree: the complete grammar by precedence climbing.

Source: http://hl7.org/fhirpath/N1/grammar.html; precedence as in section 6.8 of http://hl7.org/fhirpath/N1/. Element
names that are words of the grammar (`div`, `day`) are accepted after a dot, because FHIR has such elements. An invariant
to keep: no text, however nested, exhausts the stack of the parser or of whoever walks the tree (MAX_DEPTH).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, NoReturn

from fhir_r4.fhirpath.syntax import (
    Binary,
    Call,
    FhirPathSyntaxError,
    Index,
    Literal,
    Name,
    Node,
    This,
    TypeOp,
    TypeOperator,
    Unary,
    Variable,
    children,
)

MAX_LENGTH = 20_000
MAX_DEPTH = 150
MAX_NESTING = 40

_TOKEN = re.compile(
    r"""(?:\s+|//[^\n]*|/\*(?:(?!\*/).)*\*/)*
    (?:(?P<temporal>@(?:T(?P<time>\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
        |\d{4}(?:-\d\d(?:-\d\d)?)?(?:T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?)?)?))
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`(?:\\.|[^`\\])*`)
    |(?P<string>'(?:\\.|[^'\\])*')
    |(?P<this>\$(?:this|index|total)\b)
    |(?P<mark>!=|!~|<=|>=|[-.\[\](){}*/+&|<>=~,%])
    |(?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)

_PRECEDENCE = {
    **dict.fromkeys((".", "["), 13),
    **dict.fromkeys(("*", "/", "div", "mod"), 11),
    **dict.fromkeys(("+", "-", "&"), 10),
    **dict.fromkeys(("is", "as"), 9),
    "|": 8,
    **dict.fromkeys(("<=", "<", ">", ">="), 7),
    **dict.fromkeys(("=", "~", "!=", "!~"), 6),
    **dict.fromkeys(("in", "contains"), 5),
    "and": 4,
    **dict.fromkeys(("or", "xor"), 3),
    "implies": 2,
}
_UNARY_PRECEDENCE = 12
_CALENDAR = frozenset(["year", "month", "week", "day", "hour", "minute", "second", "millisecond"])
_CALENDAR_WORDS = _CALENDAR | {word + "s" for word in _CALENDAR}
_RESERVED = frozenset(["and", "or", "xor", "implies", "div", "mod", "true", "false"])
_TYPE_OPS: Mapping[str, TypeOperator] = {"is": "is", "as": "as", "ofType": "ofType"}
_FOCUS: Mapping[str, This] = {"$this": This("$this"), "$index": This("$index"), "$total": This("$total")}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The syntax tree of `text`. Raises FhirPathSyntaxError, which says what was found and where."""
    if len(text) > MAX_LENGTH:
        raise FhirPathSyntaxError(f"More than {MAX_LENGTH} characters", text, MAX_LENGTH)
    node = _Parser(text).whole()
    _refuse_deep(node, text)
    return node


def _refuse_deep(node: Node, text: str) -> None:
    level = [node]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in children(parent)]
        if not level:
            return
    raise FhirPathSyntaxError(f"More than {MAX_DEPTH} steps or operators in a row", text, len(text))


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            start = len(text) - len(text[position:].lstrip())
            raise FhirPathSyntaxError(f"{text[start]!r} begins nothing that FHIRPath knows", text, start)
        kind = "temporal" if match.lastgroup == "time" else match.lastgroup or "end"
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        if kind == "end":
            return tokens
        position = match.end()


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), text)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.nesting = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def fail(self, expected: str) -> NoReturn:
        found = "the end" if self.token.kind == "end" else repr(self.token.text)
        raise FhirPathSyntaxError(f"Expected {expected}, found {found}", self.text, self.token.start)

    def is_mark(self, mark: str) -> bool:
        return self.token.kind == "mark" and self.token.text == mark

    def expect(self, mark: str) -> None:
        if not self.is_mark(mark):
            self.fail(repr(mark))
        self.at += 1

    def whole(self) -> Node:
        node = self.expression(0)
        if self.token.kind != "end":
            self.fail("an operator or the end")
        return node

    def expression(self, least: int) -> Node:
        """An expression of operators that bind at least as tightly as `least`."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise FhirPathSyntaxError(
                f"More than {MAX_NESTING} levels of nesting", self.text, self.token.start
            )
        node = self.operand()
        while self.token.kind in ("mark", "word"):
            op = self.token.text
            precedence = _PRECEDENCE.get(op)
            if precedence is None or precedence < least:
                break
            self.at += 1
            node = self.applied(node, op, precedence)
        self.nesting -= 1
        return node

    def applied(self, left: Node, op: str, precedence: int) -> Node:
        if op == ".":
            return self.invocation(left)
        if op == "[":
            index = self.expression(0)
            self.expect("]")
            return Index(left, index)
        if op in _TYPE_OPS:
            return TypeOp(_TYPE_OPS[op], left, self.type_name())
        return Binary(op, left, self.expression(precedence + 1))

    def operand(self) -> Node:
        token = self.token
        if token.kind == "mark":
            return self.marked(token)
        if token.kind == "number":
            return self.number()
        if token.kind == "string":
            self.at += 1
            return Literal(_unescape(token.text[1:-1]), "string")
        if token.kind == "temporal":
            return self.temporal()
        if token.kind == "word" and token.text in _RESERVED:
            if token.text not in ("true", "false"):
                self.fail("an operand")
            self.at += 1
            return Literal(token.text == "true", "boolean")
        return self.invocation(None)

    def marked(self, token: _Token) -> Node:
        self.at += 1
        if token.text == "(":
            node = self.expression(0)
            self.expect(")")
            return node
        if token.text == "+" or token.text == "-":
            return Unary("+" if token.text == "+" else "-", self.expression(_UNARY_PRECEDENCE))
        if token.text == "{":
            self.expect("}")
            return Literal(None, "empty")
        if token.text == "%":
            return self.variable()
        self.at -= 1
        return self.fail("an operand")

    def variable(self) -> Node:
        token = self.token
        if token.kind not in ("word", "quoted", "string"):
            self.fail("the name of a variable")
        self.at += 1
        return Variable(token.text if token.kind == "word" else _unescape(token.text[1:-1]))

    def number(self) -> Node:
        text = self.take().text
        unit = self.token
        if unit.kind == "string":
            self.at += 1
            return Literal((Decimal(text), _unescape(unit.text[1:-1])), "quantity")
        if unit.kind == "word" and unit.text in _CALENDAR_WORDS:
            self.at += 1
            return Literal((Decimal(text), unit.text), "quantity")
        return Literal(Decimal(text), "decimal") if "." in text else Literal(int(text), "integer")

    def temporal(self) -> Node:
        text = self.take().text[1:]
        if text.startswith("T"):
            return Literal(text[1:], "time")
        return Literal(text, "dateTime" if "T" in text else "date")

    def invocation(self, target: Node | None) -> Node:
        token = self.token
        if token.kind == "this" and target is None:
            self.at += 1
            return This(
                "$this" if token.text == "$this" else "$index" if token.text == "$index" else "$total"
            )
        name = self.identifier("the name of an element or function" if target else "an operand")
        if not self.is_mark("("):
            return Name(target, name)
        self.at += 1
        if name in _TYPE_OPS:
            type_name = self.type_name()
            self.expect(")")
            return TypeOp(_TYPE_OPS[name], target, type_name)
        return Call(target, name, self.arguments())

    def arguments(self) -> tuple[Node, ...]:
        args: list[Node] = []
        if not self.is_mark(")"):
            args.append(self.expression(0))
            while self.is_mark(","):
                self.at += 1
                args.append(self.expression(0))
        self.expect(")")
        return tuple(args)

    def identifier(self, expected: str) -> str:
        token = self.token
        if token.kind == "quoted":
            self.at += 1
            return _unescape(token.text[1:-1])
        if token.kind != "word":
            self.fail(expected)
        self.at += 1
        return token.text

    def type_name(self) -> str:
        """A qualified name; a dot before a function call is not part of it."""
        name = self.identifier("the name of a type")
        while self.is_mark(".") and self.tokens[self.at + 2].text != "(":
            self.at += 1
            name += "." + self.identifier("the name of a type")
        return name
