"""Proof that a store's file agrees with itself: history, current states, bodies, index and claims.

Reads one snapshot, so it may run while the server writes. It changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from fhir_server.search.contained import contained_key, outer_type
from fhir_server.search.entries import Entries
from fhir_server.store.records import Claim
from fhir_server.store.report import Report, body_problem, parsed
from fhir_server.store.sqlite.claims import claim_row
from fhir_server.store.sqlite.connections import connect, snapshot, translated
from fhir_server.store.sqlite.fulltext import indexed_until
from fhir_server.store.sqlite.group import heads_inside
from fhir_server.store.sqlite.names import Names
from fhir_server.store.sqlite.rows import INDEX_TABLES, SELECTS, Row, find_rows, kinds_of
from fhir_server.store.sqlite.schema import planned

BATCH = 500

Extractor = Callable[[dict[str, Any]], Entries]
ClaimsOf = Callable[[dict[str, Any]], Iterable[Claim]]

_DELETED = 3
_HISTORY = (
    (
        "the sequences have gaps",
        "SELECT count(*) - coalesce(max(seq), 0) FROM version HAVING count(*) != coalesce(max(seq), 0)",
    ),
    (
        "versions that do not count up from 1",
        "SELECT t.text || '/' || v.id FROM version v JOIN name t ON t.nid=v.type GROUP BY v.rid"
        " HAVING min(v.version) != 1 OR max(v.version) != count(*)",
    ),
    (
        "a version earlier in time than the one before it",
        "SELECT v.seq FROM version v JOIN version b ON b.seq=v.seq-1 WHERE v.updated < b.updated",
    ),
    (
        "resources that do not point at their newest version",
        "SELECT t.text || '/' || r.id FROM resource r JOIN name t ON t.nid=r.type LEFT JOIN version v ON v.seq=r.seq"
        " WHERE r.type>0 AND (v.rid IS NOT r.rid OR v.version IS NOT r.version OR v.type IS NOT r.type OR v.id IS NOT r.id"
        " OR v.updated IS NOT r.updated OR r.deleted IS NOT (v.method=3)"
        " OR v.version != (SELECT max(version) FROM version n WHERE n.rid=r.rid))",
    ),
    (
        "contained resources that do not point at the newest version of their container",
        "SELECT r.id FROM resource r LEFT JOIN version v ON v.seq=r.seq LEFT JOIN resource c ON c.rid=v.rid"
        " LEFT JOIN name t ON t.nid=c.type WHERE r.type<0 AND (c.type IS NULL OR c.type<0"
        " OR substr(r.id, 1, instr(r.id, '#') - 1) IS NOT t.text || '/' || c.id"
        " OR v.version IS NOT r.version OR v.updated IS NOT r.updated OR (r.deleted=0 AND (c.deleted=1 OR c.seq!=r.seq)))",
    ),
    (
        "versions without a resource",
        "SELECT v.seq FROM version v LEFT JOIN resource r ON r.rid=v.rid WHERE r.rid IS NULL",
    ),
    *(
        (
            f"rows of {name} of no live resource",
            f"SELECT DISTINCT x.rid FROM {name} x LEFT JOIN resource r ON r.rid=x.rid"
            " WHERE r.rid IS NULL OR r.deleted=1",
        )
        for name in (*(table.name for table in INDEX_TABLES), "claim")
    ),
)
_WORDS = (
    (
        "the index of words has another version than the newest it knows of",
        "SELECT f.rid FROM fulltext_of f LEFT JOIN resource r ON r.rid=f.rid"
        " WHERE r.rid IS NULL OR (r.seq<=:at AND (r.deleted=1 OR r.seq!=f.seq))",
    ),
    (
        "the index of words lacks a resource",
        "SELECT r.rid FROM resource r LEFT JOIN fulltext_of f ON f.rid=r.rid"
        " WHERE r.deleted=0 AND r.type>0 AND r.seq<=:at AND f.rid IS NULL",
    ),
)


def check(
    path: str | Path,
    extractor: Extractor | None = None,
    claims_of: ClaimsOf | None = None,
    progress: Callable[[int], None] | None = None,
    governed: Collection[str] = (),
) -> Report:
    """Look at everything in the file. Without an extractor or `claims_of` index or claims are not compared.

    Resources of `governed` types hold more claims than follow from them alone; those are not looked at here. `progress` is told how many versions have been looked at. Raises Unavailable when the file cannot be read, is no store,
    or needs a migration first.
    """
    report = Report()
    with translated():
        connection = connect(Path(path), busy_timeout=5.0)
        try:
            connection.execute("PRAGMA query_only=ON")
            if planned(connection):
                report.add("the schema is not up to date: open the store once")
                return report
            with snapshot(connection):
                _Check(connection, report, progress, frozenset(governed)).run(extractor, claims_of)
        finally:
            connection.close()
    return report


class _Check:
    def __init__(
        self,
        connection: sqlite3.Connection,
        report: Report,
        progress: Callable[[int], None] | None,
        governed: frozenset[str],
    ) -> None:
        self._connection = connection
        self._governed = governed
        self._names = Names(connection)
        self._report = report
        self._progress = progress

    def run(self, extractor: Extractor | None, claims_of: ClaimsOf | None) -> None:
        for (problem,) in self._rows("PRAGMA integrity_check"):
            if problem != "ok":
                self._report.add(f"file: {problem}")
        for what, sql in _HISTORY:
            for row in self._rows(sql):
                self._report.add(f"{what}: {row[0]}")
        at = indexed_until(self._connection)
        if at is not None:
            for what, sql in _WORDS:
                for (rid,) in self._connection.execute(sql, {"at": at}):
                    self._report.add(f"{what}: {rid}")
        self._bodies()
        for rid, type_number, id, kinds, body in self._rows(
            "SELECT r.rid, r.type, r.id, r.kinds, v.body FROM resource r JOIN version v ON v.seq=r.seq"
            " WHERE r.deleted=0 AND r.type>0"
        ):
            self._report.resources += 1
            resource = parsed(body)
            if resource is not None:
                where = f"{self._names.text(type_number)}/{id}"
                if extractor is not None:
                    entries = extractor(resource)
                    self._index(where, rid, type_number, kinds, entries)
                    self._inside((self._names.text(type_number), id), entries)
                if claims_of is not None:
                    self._claims(where, rid, claims_of(resource))

    def _rows(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._connection.execute(sql, values)

    def _bodies(self) -> None:
        for seq, type_number, id, version, updated, method, body in self._rows(
            "SELECT seq, type, id, version, updated, method, body FROM version ORDER BY seq"
        ):
            self._report.versions += 1
            if self._progress is not None and seq % BATCH == 0:
                self._progress(seq)
            type_name = self._names.text(type_number)
            problem = body_problem(type_name, id, version, updated, method == _DELETED, body)
            if problem is not None:
                self._report.add(f"{self._names.text(type_number)}/{id}/_history/{version}: {problem}")

    def _index(self, where: str, rid: int, type_number: int, kinds: int, entries: Entries) -> None:
        if kinds != kinds_of(entries):
            self._report.add(f"{where}: the index tables noted are not those of its entries")
        for select, wanted in zip(SELECTS, find_rows(self._names, type_number, entries), strict=True):
            present: set[Row] = {tuple(row[1:]) for row in select.select(self._connection, (rid,))}
            self._report.entries += len(present)
            for row in present.symmetric_difference(wanted):
                what = "is missing from" if row in wanted else "should not be in"
                self._report.add(f"{where}: the entry {row} {what} the index")

    def _inside(self, container: tuple[str, str], entries: Entries) -> None:
        wanted = {contained_key(container, c.type, c.id): c.entries for c in entries.contained}
        found = heads_inside(self._connection, self._names, container)
        present = {key: head for key, head in found.items() if not head.deleted}
        for type, id in present.keys() ^ wanted.keys():
            what = "is missing" if (type, id) in wanted else "should not be there"
            self._report.add(f"the contained {outer_type(type)} {id} {what}")
        for key in present.keys() & wanted.keys():
            number, head = self._names.number(key[0]), present[key]
            assert number is not None
            self._index(key[1], head.rid, number, head.kinds, wanted[key])

    def _claims(self, where: str, rid: int, claims: Iterable[Claim]) -> None:
        columns = "rid, n, key, units, capacity, lo, hi, expires"
        present = set(self._rows(f"SELECT {columns} FROM claim WHERE rid=?", rid))
        self._report.claims += len(present)
        wanted = {claim_row(rid, n, claim) for n, claim in enumerate(claims)}
        if where.partition("/")[0] in self._governed:
            present = {row for row in present if row[1] < len(wanted)}
        for row in present.symmetric_difference(wanted):
            what = "is missing" if row in wanted else "should not be there"
            self._report.add(f"{where}: the claim on {row[2]} {what}")
