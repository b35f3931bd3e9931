"""The resources that includes add to a page, round by round, each round in order of creation.

https://hl7.org/fhir/R4/search.html#include. The first round follows every include from the matches, the later ones
those that iterate, from what the round before has found. What is contained is included by nothing: it comes with its container.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from fhir_server.search.contained import is_contained
from fhir_server.search.tree import Everything, Expression, Include
from fhir_server.store.sqlite.compile import Compiler, Effort
from fhir_server.store.sqlite.leaves import Sql, one_of
from fhir_server.store.sqlite.names import Names

_FORWARD = """
SELECT DISTINCT t.rid FROM resource o
CROSS JOIN ix_reference x ON x.rid=o.rid
CROSS JOIN resource t INDEXED BY resource_id ON t.type=x.type AND t.id=x.id
WHERE o.rid IN (SELECT value FROM json_each(?)) AND x.base=0 AND t.deleted=0 AND t.type>0
"""
_REVERSE = """
SELECT DISTINCT x.rid FROM resource o
CROSS JOIN ix_reference x INDEXED BY ix_reference_value ON x.id=o.id AND x.type=o.type
WHERE o.rid IN (SELECT value FROM json_each(?)) AND x.base=0
"""

# A plus before a column keeps SQLite from going through all resources of the type: the few rids are the way in.


class Includes:
    """Follows includes for one connection."""

    def __init__(self, connection: sqlite3.Connection, names: Names, effort: Effort) -> None:
        self._connection = connection
        self._names = names
        self._effort = effort

    def added(
        self, matches: Sequence[int], includes: Sequence[Include], limit: int
    ) -> tuple[tuple[int, ...], bool]:
        """The rids that the includes add, at most `limit`, and whether there would be more."""
        seen = set(matches)
        added: list[int] = []
        found: Sequence[int] = matches
        following = includes
        while found and following:
            new = {rid for include in following for rid in self._follow(include, found)}
            found = sorted(new - seen)
            seen |= new
            added += found
            if len(added) > limit:
                return tuple(added[:limit]), True
            following = [include for include in includes if include.iterate]
        return tuple(added), False

    def _follow(self, include: Include, rids: Sequence[int]) -> Iterable[int]:
        sql = self._reverse(include) if include.reverse else self._forward(include)
        if sql is None:
            return ()
        rows = self._connection.execute(sql.text, (json.dumps(list(rids)), *sql.values))
        found = [row[0] for row in rows.fetchall()]
        if isinstance(include.where, Everything):
            return found
        inner = include.reverse and is_contained(include.source)
        return self._holding(include.where, (include.source,) if inner else (), found)

    def _holding(self, where: Expression, types: tuple[str, ...], rids: Sequence[int]) -> list[int]:
        """Those of the rids for which `where` holds; none of what is contained unless it is of `types`."""
        held = Compiler(self._connection, self._names, self._effort).test(where, types, "j.value")
        rows = self._connection.execute(
            f"SELECT j.value FROM json_each(?) j WHERE {held.text}", (json.dumps(rids), *held.values)
        )
        return [row[0] for row in rows.fetchall()]

    def _forward(self, include: Include) -> Sql | None:
        sql = Sql(_FORWARD)
        if include.source != "*":
            source = self._names.number(include.source)
            if source is None:
                return None
            sql &= Sql("+o.type=?", (source,))
        if include.param is not None:
            pids = self._pids(include.source, include.param)
            if not pids:
                return None
            sql &= one_of("x.pid", pids)
        return self._targeted(sql, include, "x.type")

    def _reverse(self, include: Include) -> Sql | None:
        sql = Sql(_REVERSE)
        if include.param is not None:
            pids = self._pids(include.source, include.param)
            if not pids:
                return None
            sql &= one_of("x.pid", pids)
        elif include.source != "*":
            source = self._names.number(include.source)
            if source is None:
                return None
            sql &= Sql("x.pid IN (SELECT pid FROM param WHERE type=?)", (source,))
        else:
            sql &= Sql("x.pid NOT IN (SELECT pid FROM param WHERE type<0)")
        return self._targeted(sql, include, "o.type")

    def _pids(self, source: str, param: str) -> tuple[int, ...]:
        return self._names.pids(() if source == "*" else (source,), param)

    def _targeted(self, sql: Sql, include: Include, column: str) -> Sql | None:
        if include.target is None:
            return sql
        number = self._names.number(include.target)
        return None if number is None else sql & Sql(f"+{column}=?", (number,))
