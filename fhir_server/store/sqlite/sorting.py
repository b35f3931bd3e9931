"""Sort keys: where a resource's value is found, and the order and the page boundary that follow from it.

Ascending order takes the smallest value, descending the largest; a resource without a value comes last in both; ties are
broken by order of creation. Values are compared as SQLite and Python agree: numbers, and texts by code point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.tree import SortKey
from fhir_server.store.sqlite.leaves import Sql, one_of
from fhir_server.store.sqlite.rows import DATE, NUMBER, QUANTITY, REFERENCE, STRING, TOKEN, URI, IndexTable

# The column of the value by kind; intervals have two ends.
_VALUES: dict[str, tuple[IndexTable, str, str]] = {
    "token": (TOKEN, "code", "code"),
    "string": (STRING, "norm", "norm"),
    "date": (DATE, "lo", "hi"),
    "number": (NUMBER, "lo", "hi"),
    "quantity": (QUANTITY, "lo", "hi"),
    "reference": (REFERENCE, "id", "id"),
    "uri": (URI, "uri", "uri"),
}


# The indexes that have the rows of a parameter in order of the value.
ORDERED = {
    ("ix_token", "code"): "ix_token_value",
    ("ix_string", "norm"): "ix_string_value",
    ("ix_date", "lo"): "ix_date_value",
    ("ix_date", "hi"): "ix_date_high",
    ("ix_number", "lo"): "ix_number_value",
    ("ix_uri", "uri"): "ix_uri_value",
}


@dataclass(frozen=True, slots=True)
class Key:
    """A sort key bound to the parameters of the types searched; `table` None: a column of `resource`."""

    table: IndexTable | None
    column: str
    pids: tuple[int, ...]
    descending: bool
    param: str = ""

    def value(self, rid: str) -> Sql:
        """The value for the resource with this rid, NULL when it has none."""
        if self.table is None:
            return Sql(f"(SELECT {self.column} FROM resource WHERE rid={rid})")
        if not self.pids:
            return Sql("NULL")
        # The plus keeps SQLite from walking the parameter's whole index to its end: the few rows of rid are what is wanted.
        extreme = "max" if self.descending else "min"
        pid = one_of("k.pid", self.pids)
        return Sql(
            f"(SELECT {extreme}(+k.{self.column}) FROM {self.table.name} k WHERE k.rid={rid} AND {pid.text})",
            pid.values,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A row in the order: its value for each key and its rid. The page is what follows it, or `backwards` what precedes."""

    values: tuple[Any, ...]
    rid: int
    backwards: bool = False


def bind(key: SortKey, pids: tuple[int, ...]) -> Key:
    if key.param == "_id":
        return Key(None, "id", (), key.descending)
    if key.param == "_lastUpdated":
        return Key(None, "updated", (), key.descending)
    table, low, high = _VALUES.get(key.kind, (TOKEN, "", ""))
    bound = pids if key.kind in _VALUES else ()
    return Key(table, high if key.descending else low, bound, key.descending, key.param)


def order_by(keys: Sequence[Key], backwards: bool) -> str:
    """ORDER BY terms over the columns k0, k1, ... and rid."""
    nulls, onwards = ("DESC", "DESC") if backwards else ("ASC", "ASC")
    terms = [
        f"k{i} IS NULL {nulls}, k{i} {'DESC' if key.descending != backwards else 'ASC'}"
        for i, key in enumerate(keys)
    ]
    return ", ".join([*terms, f"rid {onwards}"])


def beyond(keys: Sequence[Key], place: Place) -> Sql:
    """What holds for the rows that come after the place, or before it when it is looked at backwards."""
    condition = Sql(f"rid{'<' if place.backwards else '>'}?", (place.rid,))
    for i in range(len(keys) - 1, -1, -1):
        name, value = f"k{i}", place.values[i]
        if value is None:
            equal = Sql(f"({name} IS NULL AND {condition.text})", condition.values)
            others = Sql(f"{name} IS NOT NULL") if place.backwards else None
        else:
            sign = "<" if keys[i].descending != place.backwards else ">"
            equal = Sql(f"({name}=? AND {condition.text})", (value, *condition.values))
            others = Sql(f"{name}{sign}?" + ("" if place.backwards else f" OR {name} IS NULL"), (value,))
        condition = (
            equal if others is None else Sql(f"({others.text} OR {equal.text})", others.values + equal.values)
        )
    return condition
