"""Expressions as conditions on one resource: whether the candidate with a known rid satisfies them.

Each leaf becomes a probe of an index by resource. Meaning: `fhir_server.search.match`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fhir_server.search.tree import (
    And,
    Chain,
    DateIs,
    Everything,
    Expression,
    Has,
    IdIs,
    Not,
    Nothing,
    NumberIs,
    Or,
    Present,
    QuantityIs,
    RefersTo,
    TokenIs,
    Updated,
)
from fhir_server.store.sqlite.leaves import (
    ALWAYS,
    NEVER,
    SCAN,
    Interval,
    Leaf,
    Lookup,
    Sql,
    intervals,
    look_up,
    one_of,
    references,
    tokens,
)
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import INDEX_TABLES

Types = tuple[str, ...]
Part = Expression | Lookup


class Conditions:
    """Makes conditions for one statement; every table in it gets an alias of its own."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._aliases = 0

    def alias(self, letter: str) -> str:
        self._aliases += 1
        return f"{letter}{self._aliases}"

    def parts(self, where: Expression, types: Types) -> list[Part]:
        """The conjuncts; conditions on one date or number of a parameter with single values become one lookup."""
        flat: list[Expression] = []
        _flatten(where, flat)
        grouped: dict[tuple[type, str], list[Interval]] = {}
        for part in flat:
            if isinstance(part, DateIs | NumberIs | QuantityIs):
                grouped.setdefault((type(part), part.param), []).append(part)
        joined: list[Part] = []
        merged: set[int] = set()
        for (_, param), leaves in grouped.items():
            pids = self._names.pids(types, param) if len(leaves) > 1 else ()
            if pids and not self._names.multiple(pids):
                both = intervals(tuple(leaves), pids, self._names)
                joined.append(Nothing() if both is None else both)
                merged.update(id(leaf) for leaf in leaves)
        return joined + [part for part in flat if id(part) not in merged]

    def lookup(self, leaf: Leaf, types: Types) -> Lookup | None:
        pids = self._names.pids(types, leaf.param)
        return look_up(leaf, pids, self._names) if pids else None

    def test(self, part: Part, types: Types, rid: str) -> Sql:
        """A condition that holds when the resource with this rid satisfies the part."""
        match part:
            case Everything():
                return ALWAYS
            case Nothing():
                return NEVER
            case And():
                return self.all_of(self.parts(part, types), types, rid)
            case Or(parts):
                return _joined("OR", [self.test(one, types, rid) for one in self.alternatives(parts, types)])
            case Not(inner):
                held = self.test(inner, types, rid)
                return Sql(f"NOT ({held.text})", held.values)
            case IdIs(ids):
                return self._on_resource(one_of("id", ids), rid) if ids else NEVER
            case Updated():
                return self._on_resource(updated(part), rid)
            case Present(param):
                return self._presence(param, types, rid)
            case Chain():
                return self._chain(part, types, rid)
            case Has():
                return self._has(part, rid)
            case Lookup():
                return self._exists(part, rid)
            case _:
                found = self.lookup(part, types)
                return NEVER if found is None else self._exists(found, rid)

    def all_of(self, parts: Sequence[Part], types: Types, rid: str) -> Sql:
        return _joined("AND", [self.test(part, types, rid) for part in parts])

    def alternatives(self, parts: Iterable[Expression], types: Types) -> list[Part]:
        """The parts of an Or; those that differ in a code or an id alone become one lookup."""
        kept: list[Part] = []
        codes: dict[tuple[str, str | None], list[str]] = {}
        ids: dict[RefersTo, list[str]] = {}
        for part in parts:
            match part:
                case Or(inner):
                    kept += self.alternatives(inner, types)
                case TokenIs(param, system, code) if code is not None:
                    codes.setdefault((param, system), []).append(code)
                case RefersTo(id=id) if id is not None:
                    ids.setdefault(replace(part, id=None), []).append(id)
                case _:
                    kept.append(part)
        found: list[Lookup | None] = []
        for (param, system), several in codes.items():
            pids = self._names.pids(types, param)
            found.append(tokens(pids, system, tuple(several), self._names) if pids else None)
        for reference, several in ids.items():
            pids = self._names.pids(types, reference.param)
            found.append(references(pids, reference, tuple(several), self._names) if pids else None)
        return kept + [lookup for lookup in found if lookup is not None]

    def _exists(self, lookup: Lookup, rid: str) -> Sql:
        alias = self.alias("x")
        where = one_of("pid", lookup.pids) & lookup.test
        return Sql(
            f"EXISTS (SELECT 1 FROM {lookup.table.name} {alias} WHERE {alias}.rid={rid} AND {where.text})",
            where.values,
        )

    def _on_resource(self, condition: Sql, rid: str) -> Sql:
        alias = self.alias("x")
        return Sql(
            f"EXISTS (SELECT 1 FROM resource {alias} WHERE {alias}.rid={rid} AND {condition.text})",
            condition.values,
        )

    def _presence(self, param: str, types: Types, rid: str) -> Sql:
        pids = self._names.pids(types, param)
        if not pids:
            return NEVER
        return _joined(
            "OR", [self._exists(Lookup(table, pids, Sql(""), (), SCAN), rid) for table in INDEX_TABLES]
        )

    def _chain(self, part: Chain, types: Types, rid: str) -> Sql:
        pids = self._names.pids(types, part.param)
        target = self._names.number(part.target)
        if not pids or target is None:
            return NEVER
        reference, resource = self.alias("x"), self.alias("t")
        held = self.test(part.part, (part.target,), f"{resource}.rid")
        pid = one_of(f"{reference}.pid", pids)
        return Sql(
            f"EXISTS (SELECT 1 FROM ix_reference {reference} CROSS JOIN resource {resource} INDEXED BY resource_id"
            f" ON {resource}.type={reference}.type AND {resource}.id={reference}.id WHERE {reference}.rid={rid}"
            f" AND {pid.text} AND {reference}.type=? AND {reference}.base=0 AND {resource}.deleted=0 AND {held.text})",
            (*pid.values, target, *held.values),
        )

    def _has(self, part: Has, rid: str) -> Sql:
        pids = self._names.pids((part.source,), part.param)
        if not pids:
            return NEVER
        resource, reference = self.alias("t"), self.alias("x")
        held = self.test(part.part, (part.source,), f"{reference}.rid")
        return Sql(
            f"EXISTS (SELECT 1 FROM resource {resource} CROSS JOIN ix_reference {reference} INDEXED BY ix_reference_value"
            f" ON {reference}.pid=? AND {reference}.id={resource}.id AND {reference}.type={resource}.type"
            f" AND {reference}.base=0 WHERE {resource}.rid={rid} AND {held.text})",
            (pids[0], *held.values),
        )


def _flatten(where: Expression, into: list[Expression]) -> None:
    if isinstance(where, And):
        for part in where.parts:
            _flatten(part, into)
    else:
        into.append(where)


def updated(part: Updated) -> Sql:
    """An instant is the millisecond that begins with it."""
    low, high = part.low, part.high
    end = "updated+1000"
    match part.prefix:
        case "eq":
            return Sql("updated>=? AND updated<=?", (low, high - 1000))
        case "ne":
            return Sql("NOT (updated>=? AND updated<=?)", (low, high - 1000))
        case "gt":
            return Sql("updated>?", (high - 1000,))
        case "lt":
            return Sql("updated<?", (low,))
        case "ge":
            return Sql(f"updated>=? AND ({end}>? OR updated>=?)", (min(low, high - 1000), high, low))
        case "le":
            return Sql(f"updated<=? AND (updated<? OR {end}<=?)", (max(low, high - 1000), low, high))
        case "sa":
            return Sql("updated>=?", (high,))
        case "eb":
            return Sql("updated<=?", (low - 1000,))
        case "ap":
            return Sql("updated<? AND updated>?", (high, low - 1000))


def _joined(word: str, conditions: Sequence[Sql]) -> Sql:
    """All conditions in one, as a balanced tree: SQLite bounds the depth of an expression."""
    if not conditions:
        return ALWAYS if word == "AND" else NEVER
    if len(conditions) == 1:
        return Sql(f"({conditions[0].text})", conditions[0].values)
    if len(conditions) <= 50:
        text = f" {word} ".join(f"({c.text})" for c in conditions)
        return Sql(f"({text})", tuple(v for c in conditions for v in c.values))
    middle = len(conditions) // 2
    return _joined(word, [_joined(word, conditions[:middle]), _joined(word, conditions[middle:])])
