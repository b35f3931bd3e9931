"""An expression as SQL over the index tables: finding candidates, and testing one that is known.

The most selective part of an `And` finds candidates through an index by value; the other parts are tested on each
candidate through the index by resource. How selective a part is gets counted, up to a bound, before: so no plan depends
on statistics that may be old. Meaning: `fhir_server.search.match`. An invariant to keep: a source gives only resources of
the types searched that are not deleted (index rows exist for these alone).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fhir_server.search.contained import CONTAINED, contained_type, is_contained
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    ContainedIn,
    Everything,
    Expression,
    FullText,
    Has,
    IdIs,
    Near,
    Not,
    Nothing,
    Or,
    Present,
    RefersTo,
    Repeats,
    TokenIs,
    TypeIs,
    Updated,
)
from fhir_server.store.sqlite.composites import composite
from fhir_server.store.sqlite.fulltext import Found, Words
from fhir_server.store.sqlite.leaves import (
    ALWAYS,
    EQUAL,
    KINDS_OF_INTERVALS,
    NEVER,
    RANGE,
    SCAN,
    Interval,
    Leaf,
    Lookup,
    Sql,
    in_order_of,
    intervals,
    look_up,
    one_of,
    references,
    tokens,
)
from fhir_server.store.sqlite.migrations.m0003_contained import FRAGMENT
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.positions import near
from fhir_server.store.sqlite.rows import INDEX_TABLES, REFERENCE, IndexTable

# SQLite takes 500 SELECTs in one UNION, and 1,000 levels of expression.
MOST_BRANCHES = 400
ENOUGH = 8
# Where one part lists fewer than this, how much more the others list does not matter.
FEW = 50
# A test of one candidate costs as much as listing so many; of more than some candidates, the page may need few.
TEST, SOME = 8, 1_000
# Types or sets of parameters that are gone through one beside the other; more are gone through as a list.
MERGED = 8

Types = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effort:
    """From which sizes on a plan changes; the answers are the same with any.

    Counting what a part matches ends at `counted`, or at `thorough` before as many candidates are tested. Fewer than `small` matches are read whole and put in order; when there
    are more, a page is first looked for among the first `window` resources of the type, in the order asked for.
    Up to `late` versions that the index of words does not know are looked at by the search itself; up to `changed`
    resources that were written since the first page are judged one by one, beyond that pages are unstable.
    """

    counted: int = 1_000
    thorough: int = 50_000
    small: int = 3_000
    window: int = 5_000
    late: int = 50
    changed: int = 5_000


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
    """Rids of candidates.

    `ordered`: each branch gives them in ascending order; `unique`: none comes twice. `inner` is the source that it joins
    from, where that costs most; `narrows`: it lists hardly more rids than `inner`. `untested` is the source before its
    candidates were tested for more.
    """

    branches: tuple[Branch, ...]
    rank: int
    ordered: bool = False
    unique: bool = False
    inner: Source | None = None
    narrows: bool = False
    untested: Source | None = None

    def narrowed(self, condition: Callable[[str], Sql]) -> Source:
        """The candidates for which `condition` (given their rid's name) holds."""
        return replace(
            self,
            branches=tuple(b.narrowed(condition(f"{b.alias}.rid")) for b in self.branches),
            untested=self.untested or self,
        )

    def bounded(self, condition: Callable[[str], Sql]) -> Source:
        """The candidates beyond a bound, which comes before all others: SQLite looks a column up by the first of several."""
        branches = (replace(b, where=condition(f"{b.alias}.rid") & b.where) for b in self.branches)
        return replace(self, branches=tuple(branches))

    def select(self) -> Sql:
        parts = [branch.select() for branch in self.branches]
        if not parts:
            return Sql("SELECT NULL WHERE 0")
        return Sql(" UNION ALL ".join(p.text for p in parts), tuple(v for p in parts for v in p.values))


EMPTY = Source((), EQUAL)


class Compiler:
    """Compiles for one connection; what it counts and interns is of the state that the connection sees.

    With a `horizon`, chains and `_has` see no resource with a rid beyond it.
    """

    def __init__(
        self, connection: sqlite3.Connection, names: Names, effort: Effort, horizon: int | None = None
    ) -> None:
        self._connection = connection
        self._names = names
        self._effort = effort
        self._horizon = horizon
        self._words: Words | None = None
        # What was counted of a source, and up to which bound.
        self._counts: dict[Sql, tuple[int, int]] = {}
        self._aliases = 0

    def source(self, where: Expression, types: Types) -> Source:
        """Candidates that satisfy `where`: the best way found to list them."""
        parts, narrower = self._parts(where, types)
        if narrower is None:
            return EMPTY
        types = narrower
        driver, rest = self._driver(parts, types)
        if not rest:
            return driver
        source = driver.narrowed(lambda rid: self._all(rest, types, rid))
        # What is looked up in a list costs no more than the candidate itself.
        return replace(source, untested=None) if all(isinstance(part, Source) for part in rest) else source

    def count(self, source: Source, limit: int) -> int:
        """How many candidates the source lists, about, counted up to `limit`."""
        if source.inner is not None:
            number = self.count(source.inner, limit)
            if number >= limit or source.narrows:
                return number
        listed = source.select()
        known, bound = self._counts.get(listed, (0, 0))
        if known < bound or limit <= bound:
            return min(known, limit)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM ({listed.text}) LIMIT ?)"
        number = int(self._connection.execute(sql, (*listed.values, limit)).fetchone()[0])
        self._counts[listed] = number, limit
        return number

    def has_more(self, source: Source, than: int) -> bool:
        """Whether the source lists more candidates than so many, about; counting them would take twice as long."""
        if source.inner is not None:
            more = self.has_more(source.inner, than)
            if more or source.narrows:
                return more
        listed = source.select()
        sql = f"SELECT EXISTS (SELECT 1 FROM ({listed.text}) LIMIT 1 OFFSET ?)"
        return bool(self._connection.execute(sql, (*listed.values, than)).fetchone()[0])

    def _alias(self, letter: str) -> str:
        self._aliases += 1
        return f"{letter}{self._aliases}"

    # choosing

    def _parts(self, where: Expression, types: Types) -> tuple[list[Expression | Lookup], Types | None]:
        """The conjuncts, and the types that they leave (None: no type).

        Conditions on one date or number of a parameter with single values become one lookup, chains by a reference that
        no resource has two of become one chain.
        """
        flat: list[Expression] = []
        _flatten(where, flat)
        for part in flat:
            if isinstance(part, TypeIs):
                types = _among(part.types, types)
                if not types:
                    return [], None
        flat = [part for part in flat if not isinstance(part, TypeIs)]
        flat = self._chains_joined(flat, types)
        grouped: dict[tuple[type, str], list[Interval]] = {}
        for part in flat:
            if isinstance(part, Interval):
                grouped.setdefault((type(part), part.param), []).append(part)
        joined: list[Expression | Lookup] = []
        merged: set[int] = set()
        for (_, param), leaves in grouped.items():
            pids = self._names.pids(types, param)
            if pids and not self._names.multiple(types, param):
                both = intervals(tuple(leaves), pids, self._names)
                joined.append(Nothing() if both is None else replace(both, unique=len(both.branches) == 1))
                merged.update(id(leaf) for leaf in leaves)
        return joined + [part for part in flat if id(part) not in merged], types

    def _chains_joined(self, parts: list[Expression], types: Types) -> list[Expression]:
        grouped: dict[tuple[str, str], list[Expression]] = {}
        for part in parts:
            if isinstance(part, Chain):
                grouped.setdefault((part.param, part.target), []).append(part.part)
        for (param, target), several in grouped.items():
            if len(several) > 1 and not any(
                self._names.multiple(types, code) for code in (param, param + CONTAINED)
            ):
                rest = [
                    p for p in parts if not (isinstance(p, Chain) and (p.param, p.target) == (param, target))
                ]
                parts = [*rest, Chain(param, target, And(tuple(several)))]
        return parts

    def stretch(
        self, where: Expression, types: Types, table: IndexTable, param: str, column: str
    ) -> Lookup | None:
        """Where in the order of a column the matches are, when `where` bounds a parameter with single values."""
        flat: list[Expression] = []
        _flatten(where, flat)
        kind = KINDS_OF_INTERVALS.get(table)
        leaves = tuple(
            part for part in flat if kind is not None and isinstance(part, kind) and part.param == param
        )
        pids = self._names.pids(types, param)
        if not leaves or not pids or self._names.multiple(types, param):
            return None
        found = in_order_of(column, leaves, pids, self._names)
        return None if found is None else replace(found, complete=len(leaves) == len(flat))

    def when(self, where: Expression) -> Sql:
        """What `where` says of the time of the last update, on the columns of `resource`."""
        flat: list[Expression] = []
        _flatten(where, flat)
        said = Sql("")
        for part in flat:
            if isinstance(part, Updated):
                said &= _updated(part)
        return said

    def _driver(
        self, parts: Sequence[Expression | Lookup], types: Types
    ) -> tuple[Source, list[Expression | Lookup | Source]]:
        """The source to find candidates by, and what is left to be tested; parts that are short come as their source."""
        found: list[tuple[Source, Expression | Lookup]] = []
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
        listed: dict[int, Source] = {}
        indexed = [pair for pair in found if pair[0].rank < SCAN]
        if len(indexed) > 1:
            best, chosen, number = self._cheapest(indexed)
            others = [pair for pair in indexed if pair[1] is not chosen]
            if number > ENOUGH:
                listed = {id(part): source for source, part in others if self._is_short(source, number)}
        return best, [listed.get(id(part), part) for part in parts if part is not chosen]

    def _cheapest(
        self, found: Sequence[tuple[Source, Expression | Lookup]]
    ) -> tuple[Source, Expression | Lookup, int]:
        """The shortest source, its part, and how many candidates it lists, counted up to a bound.

        A low bound comes first: where one source is short, the others need not be counted further.
        """
        (best, chosen), fewest = found[0], 0
        for most in (FEW, self._effort.counted):
            fewest = most
            for source, part in found:
                number = self.count(source, fewest)
                if number < fewest:
                    best, chosen, fewest = source, part, number
                if fewest <= ENOUGH:
                    break
            if fewest < most:
                break
        return best, chosen, fewest

    def _is_short(self, source: Source, candidates: int) -> bool:
        """Whether it costs less to list the source once than to test so many candidates."""
        most = max(min(candidates, SOME) * TEST, candidates)
        return not self.has_more(source, most - 1)

    # finding

    def _find(self, part: Expression | Lookup, types: Types) -> Source | None:
        """Candidates for one part through an index; None when there is no index for it."""
        match part:
            case Lookup():
                return self._by_lookup(part)
            case Nothing():
                return EMPTY
            case IdIs(ids):
                return self._by_ids(ids, types) if ids else EMPTY
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
            case FullText():
                return self._by_words(part, types)
            case TypeIs(of):
                among = _among(of, types)
                return self.everything(among) if among else EMPTY
            case Everything() | Not() | Present() | ContainedIn() | Repeats():
                return None
            case _:
                found = self._lookup(part, types)
                return EMPTY if found is None else self._by_lookup(found)

    def _lookup(self, leaf: Leaf | Composite | Near, types: Types) -> Lookup | None:
        if isinstance(leaf, Composite):
            return composite(leaf, types, self._names)
        pids = self._names.pids(types, leaf.param)
        if not pids:
            return None
        return near(leaf, pids) if isinstance(leaf, Near) else look_up(leaf, pids, self._names)

    def _by_lookup(self, lookup: Lookup) -> Source | None:
        if not lookup.branches:
            return None
        alias = self._alias("s")
        origin = f"{lookup.table.name} {alias} INDEXED BY "
        pids, listed = lookup.pids, len(lookup.pids) > MERGED
        of_sets = [one_of("pid", pids)] if listed else [Sql("pid=?", (pid,)) for pid in pids]
        branches = tuple(
            Branch(alias, origin + index, pid & condition)
            for pid in of_sets
            for index, condition in lookup.branches
        )
        return Source(
            branches, lookup.rank, lookup.ordered and not listed, lookup.unique and len(branches) == 1
        )

    def _types(self, types: Types) -> Sql | None:
        """The rows of the types; None when there never was a resource of any."""
        if not types:
            return Sql("type IN (SELECT nid FROM name)")
        numbers = [number for name in types if (number := self._names.number(name)) is not None]
        return one_of("type", tuple(numbers)) if numbers else None

    def everything(self, types: Types) -> Source:
        """Every resource of the types; in order of rid unless there are many types."""
        alias = self._alias("s")
        if not types:
            return Source(
                (Branch(alias, f"resource {alias} NOT INDEXED", Sql("deleted=0 AND type>0")),),
                SCAN,
                ordered=True,
                unique=True,
            )
        numbers = [number for name in types if (number := self._names.number(name)) is not None]
        listed = len(numbers) > MERGED
        of_types = [one_of("type", tuple(numbers))] if listed else [Sql("type=?", (n,)) for n in numbers]
        branches = tuple(
            Branch(alias, f"resource {alias} INDEXED BY resource_live", of_type & Sql("deleted=0"))
            for of_type in of_types
        )
        return Source(branches, SCAN, ordered=not listed, unique=True)

    def _by_ids(self, ids: tuple[str, ...], types: Types) -> Source:
        """By logical id; that of what is contained is the one within its container."""
        inside = tuple(type for type in types if is_contained(type))
        if not inside:
            return self._by_id(one_of("id", ids), types)
        numbers = [number for name in inside if (number := self._names.number(name)) is not None]
        alias = self._alias("s")
        where = one_of("type", tuple(numbers)) & one_of(FRAGMENT, ids) & Sql("type<0 AND deleted=0")
        branch = Branch(alias, f"resource {alias} INDEXED BY resource_fragment", where)
        outside = tuple(type for type in types if not is_contained(type))
        others = self._by_id(one_of("id", ids), outside).branches if outside else ()
        return Source((*others, branch) if numbers else others, EQUAL, unique=not others)

    def _by_id(self, condition: Sql, types: Types) -> Source:
        alias = self._alias("s")
        of_types = self._types(types)
        if of_types is None:
            return EMPTY
        where = of_types & condition & Sql("deleted=0")
        return Source((Branch(alias, f"resource {alias} INDEXED BY resource_id", where),), EQUAL, unique=True)

    def _by_update(self, part: Updated, types: Types) -> Source | None:
        if part.prefix == "ne":
            return None
        alias = self._alias("s")
        of_types = self._types(types)
        if of_types is None:
            return EMPTY
        where = of_types & Sql("deleted=0") & _updated(part)
        return Source(
            (Branch(alias, f"resource {alias} INDEXED BY resource_updated", where),), RANGE, unique=True
        )

    def _by_any(self, parts: Sequence[Expression], types: Types) -> Source | None:
        branches: list[Branch] = []
        rank = EQUAL
        alternatives = self._alternatives(parts, types)
        if len(alternatives) == 1:
            return self._find(alternatives[0], types)
        for part in alternatives:
            found = self._find(part, types)
            if found is None:
                return None
            branches += found.branches
            rank = max(rank, found.rank)
        return Source(tuple(branches), rank) if len(branches) <= MOST_BRANCHES else None

    def _ways(self, part: Chain, types: Types) -> list[tuple[tuple[int, ...], str, int]]:
        """How a chain leads on: parameters, and the type that they lead to with its number.

        Where nothing of these types contains such a resource, there is no more than the one way.
        """
        found = []
        for param, target in (
            (part.param, part.target),
            (part.param + CONTAINED, contained_type(part.target)),
        ):
            pids = self._names.pids(types, param)
            number = self._names.number(target) if pids else None
            if number is not None:
                found.append((pids, target, number))
        return found

    def _by_chain(self, part: Chain, types: Types) -> Source:
        found = [
            source
            for pids, target, number in self._ways(part, types)
            if (source := self._by_way(pids, number, self.source(part.part, (target,)))).branches
        ]
        if len(found) < 2:
            return found[0] if found else EMPTY
        inner = [source.inner for source in found if source.inner is not None]
        return Source(
            tuple(branch for source in found for branch in source.branches),
            max(source.rank for source in found),
            inner=Source(
                tuple(branch for source in inner for branch in source.branches), max(s.rank for s in inner)
            ),
        )

    def _by_way(self, pids: tuple[int, ...], target: int, inner: Source) -> Source:
        """What refers by one of the parameters to a resource that `inner` lists."""
        if not inner.branches:
            return EMPTY
        listed, seen = inner.select(), self._seen("rid")
        alias = self._alias("s")
        where = (
            one_of("pid", pids)
            & Sql(
                f"id IN (SELECT id FROM resource WHERE rid IN ({listed.text}){seen.text})",
                listed.values + seen.values,
            )
            & Sql("type=? AND base=0", (target,))
        )
        branch = Branch(alias, f"ix_reference {alias} INDEXED BY ix_reference_value", where)
        return Source((branch,), max(inner.rank, RANGE), inner=inner)

    def _by_has(self, part: Has, types: Types) -> Source | None:
        pids = self._referring_pids(part, types)
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
            alias, row = self._alias("s"), self._alias("x")
            seen, pid = self._seen(f"{row}.rid"), one_of(f"{row}.pid", pids)
            targets = Sql(
                f"id IN (SELECT {row}.id FROM ix_reference {row} WHERE {row}.rid IN ({listed.text})"
                f" AND {pid.text} AND {row}.type=? AND {row}.base=0{seen.text})",
                (*listed.values, *pid.values, number, *seen.values),
            )
            where = Sql("type=?", (number,)) & targets & Sql("deleted=0")
            branches.append(Branch(alias, f"resource {alias} INDEXED BY resource_id", where))
        return Source(tuple(branches), max(inner.rank, RANGE), inner=inner, narrows=True)

    def _referring_pids(self, part: Has, types: Types) -> tuple[int, ...]:
        """The parameters that refer to resources of `types`: to contained ones others do."""
        pids = self._names.pids((part.source,), part.param)
        if any(is_contained(type) for type in types):
            pids += self._names.pids((part.source,), part.param + CONTAINED)
        return pids

    def _by_words(self, part: FullText, types: Types) -> Source:
        of_types = self._types(types)
        if of_types is None:
            return EMPTY
        found = self._words_of(part)
        branches: list[Branch] = []
        if found.match is not None:
            words, alias = self._alias("f"), self._alias("s")
            where = Sql(f"{words}.fulltext MATCH ? AND {alias}.rid={words}.rowid", (found.match,))
            where &= (
                Sql(f"+{of_types.text}", of_types.values) & Sql("deleted=0") & found.not_late(f"{alias}.rid")
            )
            branches.append(Branch(alias, f"fulltext {words} CROSS JOIN resource {alias}", where))
        if found.late_matches:
            alias = self._alias("s")
            where = found.late(f"{alias}.rid") & Sql(f"+{of_types.text}", of_types.values) & Sql("deleted=0")
            branches.append(Branch(alias, f"resource {alias}", where))
        return Source(tuple(branches), RANGE)

    def _words_of(self, part: FullText) -> Found:
        if self._words is None:
            self._words = Words(self._connection)
        return self._words.find(part)

    def _seen(self, rid: str) -> Sql:
        """What is put behind a condition on a resource that a chain or `_has` leads to."""
        return Sql("") if self._horizon is None else Sql(f" AND {rid}<=?", (self._horizon,))

    # testing

    def test(self, part: Expression | Lookup | Source, types: Types, rid: str) -> Sql:
        """A condition that holds when the resource with this rid satisfies the part."""
        match part:
            case Source():
                # The plus keeps SQLite from looking up each of the list for each candidate.
                among = part.select()
                return Sql(f"+{rid} IN ({among.text})", among.values)
            case Everything():
                return ALWAYS
            case Nothing():
                return NEVER
            case And():
                parts, narrower = self._parts(part, types)
                if narrower is None:
                    return NEVER
                held = self._all(parts, narrower, rid)
                return held if narrower == types else held & self._of_types(narrower, types, rid)
            case TypeIs(of):
                return self._of_types(of, types, rid)
            case FullText():
                return self._words_of(part).test(rid)
            case Or(parts):
                return _joined("OR", [self.test(one, types, rid) for one in self._alternatives(parts, types)])
            case Not(inner):
                held = self.test(inner, types, rid)
                return Sql(f"NOT ({held.text})", held.values)
            case IdIs(ids):
                column = FRAGMENT if any(is_contained(type) for type in types) else "id"
                return self._on_resource(one_of(column, ids), rid) if ids else NEVER
            case Updated():
                return self._on_resource(_updated(part), rid)
            case Present(param):
                return self._presence(param, types, rid)
            case Chain():
                return self._chain(part, types, rid)
            case Has():
                return self._has(part, types, rid)
            case ContainedIn(inner):
                return self._contained_in(inner, (), rid)
            case Repeats(of, inner):
                return self._repeats(of, inner, rid)
            case Lookup():
                return self._exists(part, rid)
            case _:
                found = self._lookup(part, types)
                return NEVER if found is None else self._exists(found, rid)

    def _of_types(self, wanted: Types, types: Types, rid: str) -> Sql:
        """That a resource of one of `types` (none given: of any) is of a type wanted."""
        if types and set(types) <= set(wanted):
            return ALWAYS
        numbers = [number for name in wanted if (number := self._names.number(name)) is not None]
        return self._on_resource(one_of("type", tuple(numbers)), rid) if numbers else NEVER

    def _all(self, parts: Sequence[Expression | Lookup | Source], types: Types, rid: str) -> Sql:
        return _joined("AND", [self.test(part, types, rid) for part in parts])

    def _alternatives(self, parts: Iterable[Expression], types: Types) -> list[Expression | Lookup]:
        """The parts of an Or; those that differ in a code or an id alone become one lookup."""
        kept: list[Expression | Lookup] = []
        codes: dict[tuple[str, str | None], list[str]] = {}
        ids: dict[RefersTo, list[str]] = {}
        for part in parts:
            match part:
                case Or(inner):
                    kept += self._alternatives(inner, types)
                case TypeIs(of) if types and not set(of) & set(types):
                    continue
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
        alias, table = self._alias("x"), lookup.table.name
        where = one_of("pid", lookup.pids) & lookup.test
        # Left to choose, SQLite would go through all rows of a value for each candidate.
        return Sql(
            f"EXISTS (SELECT 1 FROM {table} {alias} INDEXED BY sqlite_autoindex_{table}_1"
            f" WHERE {alias}.rid={rid} AND {where.text})",
            where.values,
        )

    def _on_resource(self, condition: Sql, rid: str) -> Sql:
        alias = self._alias("x")
        return Sql(
            f"EXISTS (SELECT 1 FROM resource {alias} WHERE {alias}.rid={rid} AND {condition.text})",
            condition.values,
        )

    def _presence(self, param: str, types: Types, rid: str) -> Sql:
        pids = self._names.all_pids(types, param)
        if not pids:
            return NEVER
        lookups = [Lookup(table, pids, Sql(""), (), SCAN) for table in self._tables(pids)]
        return _joined("OR", [self._exists(lookup, rid) for lookup in lookups])

    def _tables(self, pids: tuple[int, ...]) -> list[IndexTable]:
        """The tables that may have rows of the parameters; the references are in order of their ids, so they always may."""
        others = [table for table in INDEX_TABLES if table is not REFERENCE]
        pid = one_of("pid", pids)
        parts = [
            f"EXISTS (SELECT 1 FROM {t.name} present INDEXED BY {t.name}_value WHERE {pid.text})"
            for t in others
        ]
        row = self._connection.execute(f"SELECT {', '.join(parts)}", pid.values * len(parts)).fetchone()
        return [*(table for table, found in zip(others, row, strict=True) if found), REFERENCE]

    def _chain(self, part: Chain, types: Types, rid: str) -> Sql:
        return _joined("OR", [self._way(part.part, *way, rid) for way in self._ways(part, types)])

    def _way(self, part: Expression, pids: tuple[int, ...], target: str, number: int, rid: str) -> Sql:
        reference, resource = self._alias("x"), self._alias("t")
        held = self.test(part, (target,), f"{resource}.rid")
        pid, seen = one_of(f"{reference}.pid", pids), self._seen(f"{resource}.rid")
        return Sql(
            f"EXISTS (SELECT 1 FROM ix_reference {reference} CROSS JOIN resource {resource} INDEXED BY resource_id"
            f" ON {resource}.type={reference}.type AND {resource}.id={reference}.id WHERE {reference}.rid={rid}"
            f" AND {pid.text} AND {reference}.type=? AND {reference}.base=0 AND {resource}.deleted=0{seen.text}"
            f" AND {held.text})",
            (*pid.values, number, *seen.values, *held.values),
        )

    def _contained_in(self, part: Expression, types: Types, rid: str) -> Sql:
        """That it is contained in a resource of `types` (none: of any) for which the part holds.

        Its row points at the version of its container.
        """
        own, version = self._alias("t"), self._alias("v")
        held = self.test(part, types, f"{version}.rid")
        if types:
            held = self._of_types(types, (), f"{version}.rid") & held
        return Sql(
            f"EXISTS (SELECT 1 FROM resource {own} CROSS JOIN version {version} ON {version}.seq={own}.seq"
            f" WHERE {own}.rid={rid} AND {own}.type<0 AND {held.text})",
            held.values,
        )

    def _repeats(self, types: Types, part: Expression, rid: str) -> Sql:
        outside = tuple(type for type in types if not is_contained(type))
        inside = tuple(type for type in types if is_contained(type))
        found: list[Sql] = []
        if outside:
            found.append(self._contained_in(part, outside, rid))
        numbers = tuple(number for name in inside if (number := self._names.number(name)) is not None)
        if numbers:
            c, s = self._alias("t"), self._alias("s")
            held = one_of(f"+{s}.type", numbers) & self.test(part, inside, f"{s}.rid")
            found.append(
                Sql(
                    f"EXISTS (SELECT 1 FROM resource {c} CROSS JOIN resource {s} INDEXED BY resource_inside ON {s}.type<0"
                    f" AND {s}.id>substr({c}.id, 1, instr({c}.id, '#'))"
                    f" AND {s}.id<substr({c}.id, 1, instr({c}.id, '#') - 1) || '$'"
                    f" WHERE {c}.rid={rid} AND {c}.type<0 AND {s}.rid<{c}.rid AND {s}.deleted=0 AND {held.text})",
                    held.values,
                )
            )
        return _joined("OR", found)

    def _has(self, part: Has, types: Types, rid: str) -> Sql:
        pids = self._referring_pids(part, types)
        if not pids:
            return NEVER
        resource, reference = self._alias("t"), self._alias("x")
        pid = one_of(f"{reference}.pid", pids)
        held, seen = self.test(part.part, (part.source,), f"{reference}.rid"), self._seen(f"{reference}.rid")
        return Sql(
            f"EXISTS (SELECT 1 FROM resource {resource} CROSS JOIN ix_reference {reference} INDEXED BY ix_reference_value"
            f" ON {pid.text} AND {reference}.id={resource}.id AND {reference}.type={resource}.type"
            f" AND {reference}.base=0 WHERE {resource}.rid={rid}{seen.text} AND {held.text})",
            (*pid.values, *seen.values, *held.values),
        )


def _among(wanted: Types, types: Types) -> Types:
    """Those of `types` (none: of all that stand alone) that are wanted."""
    return tuple(t for t in dict.fromkeys(wanted) if (t in types if types else not is_contained(t)))


def _flatten(where: Expression, into: list[Expression]) -> None:
    if isinstance(where, And):
        for part in where.parts:
            _flatten(part, into)
    else:
        into.append(where)


def _updated(part: Updated) -> Sql:
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
