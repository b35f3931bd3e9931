"""What an expression yields: values that know their type and, when they stand in a resource, their place in it.

Source: http://hl7.org/fhirpath/N1/#expressions and https://hl7.org/fhir/R4/fhirpath.html. Values made by an expression
have System types and no place; elements of a resource have FHIR types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.definitions import Property
from fhir_r4.fhirpath.moments import Moment
from fhir_r4.fhirpath.syntax import FhirPathError

_MOMENTS = {"date": "Date", "dateTime": "DateTime", "instant": "DateTime", "time": "Time"}
_QUANTITIES = frozenset(
    ["Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"]
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A System.Quantity: a UCUM code or a calendar word as unit."""

    value: Decimal
    unit: str


System = bool | int | Decimal | str | Moment | Quantity


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """One item of a collection.

    `value` is the JSON value (None: a primitive that has only extensions), or a `System` value. `type` is `Patient`,
    `HumanName`, `string`, `BackboneElement`, `System.Boolean`; `shape` names the definitions of its children, None for
    primitives and System values. `extra` is the `_name` sibling of a primitive. The item stands at `parent[name]`, or,
    in a list, at `parent[name][index]`, as `property` defines it; parent None: it is the resource itself or was made by
    an expression.
    """

    value: Any
    type: str
    shape: str | None = None
    parent: Mapping[str, Any] | None = None
    name: str = ""
    index: int | None = None
    extra: Mapping[str, Any] | None = None
    property: Property | None = None


Collection = list[Located]

_TYPES: Mapping[type, str] = {
    bool: "System.Boolean",
    int: "System.Integer",
    str: "System.String",
    Quantity: "System.Quantity",
}


def made(value: System) -> Located:
    """An item for a value that an expression made."""
    if isinstance(value, Moment):
        return Located(value, f"System.{value.kind}")
    return Located(value, _TYPES.get(type(value), "System.Decimal"))


def collection(value: System | None) -> Collection:
    """One item, or none for None."""
    return [] if value is None else [made(value)]


def system(item: Located) -> Any:
    """The value as operators see it: FHIR dates as `Moment`, FHIR quantities as `Quantity`, complex types as they are."""
    value = item.value
    kind = _MOMENTS.get(item.type)
    if kind is not None and isinstance(value, str):
        return Moment.parse(value, kind) or value
    if item.type in _QUANTITIES and isinstance(value, Mapping):
        return fhir_quantity(value) or value
    return value


def fhir_quantity(value: Mapping[str, Any]) -> Quantity | None:
    """The System.Quantity of a FHIR Quantity that has a value and no comparator."""
    number = value.get("value")
    if not isinstance(number, int | Decimal) or value.get("comparator") is not None:
        return None
    unit = value.get("code") or value.get("unit") or "1"
    return Quantity(Decimal(number), str(unit))


def singleton(items: Collection, what: str) -> Located | None:
    """The only item, None when there is none. Raises FhirPathError for more than one."""
    if not items:
        return None
    if len(items) > 1:
        raise FhirPathError(f"{what} takes one item, not {len(items)}")
    return items[0]


def truth(items: Collection, what: str) -> bool | None:
    """A collection as a boolean: one item that is no boolean counts as true, none as unknown (None)."""
    item = singleton(items, what)
    if item is None:
        return None
    return item.value if isinstance(item.value, bool) else True
