"""The operators of FHIRPath on collections.

Source: http://hl7.org/fhirpath/N1/#operations. What is unknown is the empty collection, in Python None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, DivisionByZero, InvalidOperation, localcontext
from typing import Any

from fhir_r4.fhirpath import moments
from fhir_r4.fhirpath.located import (
    Collection,
    Located,
    Quantity,
    System,
    collection,
    singleton,
    system,
    truth,
)
from fhir_r4.fhirpath.moments import Moment
from fhir_r4.fhirpath.syntax import FhirPathError
from fhir_r4.fhirpath.units import same_unit


def is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def equal_items(left: Located, right: Located) -> bool | None:
    """`=` for two items."""
    return equal_values(system(left), system(right))


def equal_values(a: Any, b: Any) -> bool | None:
    if is_number(a) and is_number(b):
        return bool(a == b)
    if isinstance(a, Moment) and isinstance(b, Moment):
        if (a.kind == "Time") != (b.kind == "Time"):
            return False
        order = moments.compare(a, b)
        return None if order is None else order == 0
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        pair = same_unit(a, b)
        return None if pair is None else pair[0] == pair[1]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal_values(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal_values, a, b))
    if isinstance(a, Moment) != isinstance(b, Moment):
        return _mixed_moments(a, b)
    return type(a) is type(b) and bool(a == b)


def _mixed_moments(a: Any, b: Any) -> bool | None:
    """A date is compared with a text that writes one, because literals of FHIR elements are texts."""
    moment, other = (a, b) if isinstance(a, Moment) else (b, a)
    parsed = Moment.parse(other, moment.kind) if isinstance(other, str) else None
    return False if parsed is None else equal_values(moment, parsed)


def equal(left: Collection, right: Collection) -> bool | None:
    """`=`: as many items, equal one by one."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    verdicts = [equal_items(a, b) for a, b in zip(left, right, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def equivalent_items(left: Located, right: Located) -> bool:
    return equivalent_values(system(left), system(right))


def equivalent_values(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return " ".join(a.lower().split()) == " ".join(b.lower().split())
    if is_number(a) and is_number(b):
        places = min(_places(a), _places(b))
        return bool(round(Decimal(a), places) == round(Decimal(b), places))
    if isinstance(a, Moment) and isinstance(b, Moment):
        return moments.compare(a, b) == 0
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        pair = same_unit(a, b)
        return pair is not None and equivalent_values(*pair)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equivalent_values(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(any(equivalent_values(x, y) for y in b) for x in a)
    return equal_values(a, b) is True


def _places(value: int | Decimal) -> int:
    exponent = Decimal(value).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def equivalent(left: Collection, right: Collection) -> bool:
    """`~`: the same items in any order, strings without regard to case and blanks, numbers to the lesser precision."""
    if len(left) != len(right):
        return False
    rest = list(right)
    for item in left:
        match = next((other for other in rest if equivalent_items(item, other)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def order(left: Collection, right: Collection, op: str) -> int | None:
    """-1, 0 or 1 for two singletons. Raises FhirPathError when they cannot be ordered."""
    first, second = singleton(left, op), singleton(right, op)
    if first is None or second is None:
        return None
    a, b = system(first), system(second)
    if is_number(a) and is_number(b):
        return int(a > b) - int(a < b)
    if isinstance(a, Moment) or isinstance(b, Moment):
        return _moment_order(a, b, op)
    if isinstance(a, str) and isinstance(b, str):
        return (a > b) - (a < b)
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        pair = same_unit(a, b)
        return None if pair is None else (pair[0] > pair[1]) - (pair[0] < pair[1])
    raise FhirPathError(f"{op} cannot compare {first.type} with {second.type}")


def _moment_order(a: Any, b: Any, op: str) -> int | None:
    if isinstance(a, str) and isinstance(b, Moment):
        a = Moment.parse(a, b.kind)
    if isinstance(b, str) and isinstance(a, Moment):
        b = Moment.parse(b, a.kind)
    if not (isinstance(a, Moment) and isinstance(b, Moment)) or (a.kind == "Time") != (b.kind == "Time"):
        raise FhirPathError(f"{op} cannot compare a date or time with something else")
    return moments.compare(a, b)


def arithmetic(op: str, left: Collection, right: Collection) -> System | None:
    first, second = singleton(left, op), singleton(right, op)
    if first is None or second is None:
        return None
    a, b = system(first), system(second)
    if is_number(a) and is_number(b):
        return _calculated(op, a, b)
    if op == "+" and isinstance(a, str) and isinstance(b, str):
        return a + b
    if isinstance(a, Moment) and isinstance(b, Quantity) and op in "+-":
        moved = moments.add(a, b.value if op == "+" else -b.value, b.unit)
        if moved is None:
            raise FhirPathError(f"{b.value} {b.unit!r} cannot be added to a {a.kind}")
        return moved
    if isinstance(a, Quantity) or isinstance(b, Quantity):
        return _quantities(op, a, b)
    raise FhirPathError(f"{op} cannot be applied to {first.type} and {second.type}")


def _calculated(op: str, a: int | Decimal, b: int | Decimal) -> int | Decimal | None:
    try:
        with localcontext() as context:
            context.prec = 40
            return _ARITHMETIC[op](a, b)
    except (ZeroDivisionError, DivisionByZero, InvalidOperation):
        return None


def _divided(a: int | Decimal, b: int | Decimal) -> Decimal:
    quotient = Decimal(a) / Decimal(b)
    return quotient if _places(quotient) <= 28 else round(quotient, 28)


def _whole(a: int | Decimal, b: int | Decimal) -> int:
    return int(Decimal(a) / Decimal(b))


def _rest(a: int | Decimal, b: int | Decimal) -> int | Decimal:
    rest = Decimal(a) % Decimal(b)
    return int(rest) if isinstance(a, int) and isinstance(b, int) else rest


_ARITHMETIC: Mapping[str, Callable[[Any, Any], int | Decimal]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divided,
    "div": _whole,
    "mod": _rest,
}


def _quantities(op: str, a: Any, b: Any) -> System | None:
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        if op in "+-":
            if a.unit == b.unit:
                return Quantity(a.value + b.value if op == "+" else a.value - b.value, a.unit)
            return None
        if op == "*":
            return Quantity(
                a.value * b.value,
                b.unit if a.unit == "1" else a.unit if b.unit == "1" else f"{a.unit}.{b.unit}",
            )
        if op == "/" and b.value:
            pair = same_unit(a, b)
            return (
                Quantity(_divided(*pair), "1")
                if pair
                else Quantity(_divided(a.value, b.value), f"{a.unit}/{b.unit}")
            )
        return None
    quantity, number = (a, b) if isinstance(a, Quantity) else (b, a)
    if is_number(number) and op == "*":
        return Quantity(quantity.value * number, quantity.unit)
    if is_number(number) and op == "/" and quantity is a:
        return Quantity(_divided(quantity.value, number), quantity.unit) if number else None
    raise FhirPathError(f"{op} cannot be applied to a quantity and something else")


def concatenated(left: Collection, right: Collection) -> str:
    """`&`: an empty side counts as the empty string."""
    texts = []
    for side in (left, right):
        item = singleton(side, "&")
        if item is not None and not isinstance(item.value, str):
            raise FhirPathError("& joins strings")
        texts.append("" if item is None else item.value)
    return "".join(texts)


def logical(op: str, a: bool | None, b: bool | None) -> bool | None:
    """and, or, xor and implies of three-valued logic."""
    if op == "and":
        return False if a is False or b is False else None if a is None or b is None else True
    if op == "or":
        return True if a is True or b is True else None if a is None or b is None else False
    if op == "xor":
        return None if a is None or b is None else a != b
    return logical("or", None if a is None else not a, b)


def union(left: Collection, right: Collection) -> Collection:
    """`|`: the items of both, equal ones once."""
    return distinct([*left, *right])


def distinct(items: Collection) -> Collection:
    kept: Collection = []
    for item in items:
        if not contained(item, kept):
            kept.append(item)
    return kept


def contained(item: Located, items: Collection) -> bool:
    return any(equal_items(item, other) is True for other in items)


def membership(op: str, left: Collection, right: Collection) -> bool | None:
    """`in` and `contains`."""
    one, many = (left, right) if op == "in" else (right, left)
    item = singleton(one, op)
    if item is None:
        return None
    return contained(item, many)


def negated(items: Collection, op: str) -> Collection:
    """Unary plus and minus."""
    item = singleton(items, op)
    if item is None:
        return []
    value = system(item)
    if is_number(value):
        return collection(-value if op == "-" else value)
    if isinstance(value, Quantity):
        return collection(Quantity(-value.value, value.unit) if op == "-" else value)
    raise FhirPathError(f"{op} cannot be applied to {item.type}")


COMPARISONS: Mapping[str, Callable[[int], bool]] = {
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


def apply(op: str, left: Collection, right: Collection) -> Collection:
    """The result of a binary operator but `and`, `or`, `xor` and `implies`, which need not look at both sides."""
    if op == "|":
        return union(left, right)
    if op in ("=", "!="):
        verdict = equal(left, right)
        return collection(verdict if verdict is None or op == "=" else not verdict)
    if op in ("~", "!~"):
        return collection(equivalent(left, right) is (op == "~"))
    if op in COMPARISONS:
        sign = order(left, right, op)
        return collection(None if sign is None else COMPARISONS[op](sign))
    if op in ("in", "contains"):
        return collection(membership(op, left, right))
    if op == "&":
        return collection(concatenated(left, right))
    return collection(arithmetic(op, left, right))


__all__ = [
    "apply",
    "contained",
    "distinct",
    "equal",
    "equal_items",
    "equivalent",
    "logical",
    "negated",
    "truth",
    "union",
]
