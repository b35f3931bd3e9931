"""An expression as SQL over the index tables: the best way to list the candidates.

The most selective part of an `And` finds candidates through an index by value; the other parts are tested on each
candidate through the index by resource. How selective a part is gets counted, up to a bound, before: so no plan depends
on statistics that may be old. Meaning: `fhir_server.search.match`. An invariant to keep: a source gives only resources of
the types searched that are not deleted (index rows exist for these alone).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    TextIs,
    TokenIs,
    Updated,
    UriIs,
)
from fhir_server.store.sqlite.conditions import Conditions, Part, Types, updated
from fhir_server.store.sqlite.leaves import EQUAL, RANGE, SCAN, Lookup, Sql, one_of
from fhir_server.store.sqlite.names import Names

# SQLite takes 500 SELECTs in one UNION.
MOST_BRANCHES = 400
# A part with so few candidates is taken without looking at the others.
ENOUGH = 8


@dataclass(frozen=True, slots=True)
class Effort:
    """From which sizes on a plan changes; the answers are the same with any.

    Counting what a part matches ends at `counted`. A list of fewer than `small` candidates is read whole and put in order;
    for longer ones a page is first looked for among the first `window` resources of the type, in the order asked for.
    """

    counted: int = 1_000
    small: int = 1_000
    window: int = 5_000


@dataclass(frozen=True, slots=True)
class Branch:
    """A SELECT of rids from `origin`, whose alias is `alias`."""

    alias: str
    origin: str
    where: Sql

    def narrowed(self, condition: Sql) -> Branch:
        return replace(self, where=self.where & condition)

    def select(self, columns: str = "") -> Sql:
        return Sql(
            f"SELECT {columns or self.alias + '.rid'} FROM {self.origin} WHERE {self.where.text}",
            self.where.values,
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Rids of candidates, repeats allowed.

    `inner` is the source that it joins from, where that costs most; `narrows`: it lists hardly more rids than `inner`.
    """

    branches: tuple[Branch, ...]
    rank: int
    ordered: bool = False
    inner: Source | None = None
    narrows: bool = False

    def narrowed(self, condition: Callable[[str], Sql]) -> Source:
        """The candidates for which `condition` (given their rid's name) holds."""
        return replace(self, branches=tuple(b.narrowed(condition(f"{b.alias}.rid")) for b in self.branches))

    def select(self) -> Sql:
        parts = [branch.select() for branch in self.branches]
        if not parts:
            return Sql("SELECT NULL WHERE 0")
        return Sql(" UNION ALL ".join(p.text for p in parts), tuple(v for p in parts for v in p.values))


EMPTY = Source((), EQUAL)


class Compiler:
    """Compiles for one connection; what it counts and interns is of the state that the connection sees."""

    def __init__(self, connection: sqlite3.Connection, names: Names, effort: Effort) -> None:
        self._connection = connection
        self._names = names
        self._effort = effort
        self._conditions = Conditions(names)

    def source(self, where: Expression, types: Types) -> Source:
        """Candidates that satisfy `where`: the best way found to list them."""
        parts = self._conditions.parts(where, types)
        driver, rest = self._driver(parts, types)
        if not rest:
            return driver
        return driver.narrowed(lambda rid: self._conditions.all_of(rest, types, rid))

    def test(self, where: Expression, types: Types, rid: str) -> Sql:
        """A condition that holds when the resource with this rid satisfies `where`."""
        return self._conditions.test(where, types, rid)

    def count(self, source: Source, limit: int) -> int:
        """How many candidates the source lists, about, counted up to `limit`."""
        if source.inner is not None:
            number = self.count(source.inner, limit)
            if number >= limit or source.narrows:
                return number
        listed = source.select()
        sql = f"SELECT count(*) FROM (SELECT 1 FROM ({listed.text}) LIMIT ?)"
        return int(self._connection.execute(sql, (*listed.values, limit)).fetchone()[0])

    # choosing

    def _driver(self, parts: Sequence[Part], types: Types) -> tuple[Source, list[Part]]:
        found: list[tuple[Source, Part]] = []
        for part in parts:
            source = self._find(part, types)
            if source is not None:
                if not source.branches:
                    return EMPTY, []
                found.append((source, part))
        if not found:
            return self.everything(types), [p for p in parts if not isinstance(p, Everything)]
        found.sort(key=lambda pair: pair[0].rank)
        best, chosen = found[0]
        if len(found) > 1 and found[1][0].rank < SCAN:
            best, chosen = self._cheapest([pair for pair in found if pair[0].rank < SCAN])
        return best, [part for part in parts if part is not chosen]

    def _cheapest(self, found: Sequence[tuple[Source, Part]]) -> tuple[Source, Part]:
        best, fewest = found[0], self._effort.counted
        for pair in found:
            number = self.count(pair[0], fewest)
            if number < fewest:
                best, fewest = pair, number
            if fewest <= ENOUGH:
                break
        return best

    # finding

    def _find(self, part: Part, types: Types) -> Source | None:
        """Candidates for one part through an index; None when there is no index for it."""
        match part:
            case Lookup():
                return self._by_lookup(part)
            case Nothing():
                return EMPTY
            case TokenIs() | TextIs() | DateIs() | NumberIs() | QuantityIs() | RefersTo() | UriIs():
                found = self._conditions.lookup(part, types)
                return EMPTY if found is None else self._by_lookup(found)
            case IdIs(ids):
                return self._by_id(one_of("id", ids), types) if ids else EMPTY
            case Updated():
                return self._by_update(part, types)
            case And():
                return self.source(part, types)
            case Or(parts):
                return self._by_any(parts, types)
            case Chain():
                return self._by_chain(part, types)
            case Has():
                return self._by_has(part, types)
            case Everything() | Not() | Present():
                return None

    def _by_lookup(self, lookup: Lookup) -> Source | None:
        if not lookup.branches:
            return None
        alias = self._conditions.alias("s")
        origin = f"{lookup.table.name} {alias} INDEXED BY "
        pid = one_of("pid", lookup.pids)
        branches = tuple(
            Branch(alias, origin + index, pid & condition) for index, condition in lookup.branches
        )
        return Source(branches, lookup.rank, lookup.ordered and len(branches) == 1)

    def _types(self, types: Types) -> Sql | None:
        """The rows of the types; None when there never was a resource of any."""
        if not types:
            return Sql("type IN (SELECT nid FROM name)")
        numbers = [number for name in types if (number := self._names.number(name)) is not None]
        return one_of("type", tuple(numbers)) if numbers else None

    def everything(self, types: Types) -> Source:
        """Every resource of the types; in order of rid when there is one type, or when all are asked for."""
        alias = self._conditions.alias("s")
        if not types:
            return Source(
                (Branch(alias, f"resource {alias} NOT INDEXED", Sql("deleted=0")),), SCAN, ordered=True
            )
        of_types = self._types(types)
        if of_types is None:
            return EMPTY
        where = of_types & Sql("deleted=0")
        branch = Branch(alias, f"resource {alias} INDEXED BY resource_live", where)
        return Source((branch,), SCAN, ordered=len(types) == 1)

    def _by_id(self, condition: Sql, types: Types) -> Source:
        alias = self._conditions.alias("s")
        of_types = self._types(types)
        if of_types is None:
            return EMPTY
        where = of_types & condition & Sql("deleted=0")
        return Source((Branch(alias, f"resource {alias} INDEXED BY resource_id", where),), EQUAL)

    def _by_update(self, part: Updated, types: Types) -> Source | None:
        if not types or part.prefix == "ne":
            return None
        alias = self._conditions.alias("s")
        of_types = self._types(types)
        if of_types is None:
            return EMPTY
        where = of_types & Sql("deleted=0") & updated(part)
        return Source((Branch(alias, f"resource {alias} INDEXED BY resource_updated", where),), RANGE)

    def _by_any(self, parts: Sequence[Expression], types: Types) -> Source | None:
        branches: list[Branch] = []
        rank = EQUAL
        for part in self._conditions.alternatives(parts, types):
            found = self._find(part, types)
            if found is None:
                return None
            branches += found.branches
            rank = max(rank, found.rank)
        return Source(tuple(branches), rank) if len(branches) <= MOST_BRANCHES else None

    def _by_chain(self, part: Chain, types: Types) -> Source:
        pids = self._names.pids(types, part.param)
        target = self._names.number(part.target)
        inner = self.source(part.part, (part.target,))
        if not pids or target is None or not inner.branches:
            return EMPTY
        listed = inner.select()
        alias = self._conditions.alias("s")
        where = (
            one_of("pid", pids)
            & Sql(f"id IN (SELECT id FROM resource WHERE rid IN ({listed.text}))", listed.values)
            & Sql("type=? AND base=0", (target,))
        )
        branch = Branch(alias, f"ix_reference {alias} INDEXED BY ix_reference_value", where)
        return Source((branch,), max(inner.rank, RANGE), inner=inner)

    def _by_has(self, part: Has, types: Types) -> Source | None:
        pids = self._names.pids((part.source,), part.param)
        if not pids:
            return EMPTY
        numbers = [number for name in types if (number := self._names.number(name)) is not None]
        if not numbers:
            return EMPTY if types else None
        inner = self.source(part.part, (part.source,))
        if not inner.branches:
            return EMPTY
        listed = inner.select()
        branches: list[Branch] = []
        for number in numbers:
            alias, row = self._conditions.alias("s"), self._conditions.alias("x")
            targets = Sql(
                f"id IN (SELECT {row}.id FROM ix_reference {row} WHERE {row}.rid IN ({listed.text})"
                f" AND {row}.pid=? AND {row}.type=? AND {row}.base=0)",
                (*listed.values, pids[0], number),
            )
            where = Sql("type=?", (number,)) & targets & Sql("deleted=0")
            branches.append(Branch(alias, f"resource {alias} INDEXED BY resource_id", where))
        return Source(tuple(branches), max(inner.rank, RANGE), inner=inner, narrows=True)
