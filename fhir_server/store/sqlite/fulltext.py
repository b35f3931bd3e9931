"""The index of words for `_text` and `_content`: kept up lazily, and never stale.

https://www.sqlite.org/fts5.html. Writes do not touch it. It knows the words of every resource as of one sequence number;
the writer brings it forward when it has nothing else to do, and before a search when it is far behind. An invariant to keep: what
was written since that number is looked at word by word in the search itself, so an answer is always of its snapshot.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from fhir_r4.errors import NotSupported
from fhir_r4.jsonio import decode_object
from fhir_server.search.entries import Entries
from fhir_server.search.fulltext import full_texts
from fhir_server.search.match import Candidate, NoLookup, matches
from fhir_server.search.tree import And, Chain, Expression, FullText, Has, Not, Or
from fhir_server.store.sqlite.leaves import NEVER, Sql

# Texts are taken out of the index by giving them once more, so what makes them must be the same: otherwise it is made anew.
FORMAT = f"1 {unicodedata.unidata_version}"
BATCH = 50

_TABLES = (
    # Words come divided by blanks, in lower case; all that is not ASCII belongs to words.
    "CREATE VIRTUAL TABLE IF NOT EXISTS fulltext USING fts5(narrative, content, content='', columnsize=0, tokenize='ascii')",
    "CREATE TABLE IF NOT EXISTS fulltext_of(rid INTEGER PRIMARY KEY, seq INT NOT NULL)",
)
_COLUMNS = {"text": "narrative", "content": "content"}


def asks_for_words(where: Expression) -> bool:
    """Whether the expression has a FullText somewhere."""
    match where:
        case FullText():
            return True
        case And(parts) | Or(parts):
            return any(asks_for_words(part) for part in parts)
        case Not(part) | Chain(part=part) | Has(part=part):
            return asks_for_words(part)
        case _:
            return False


def behind(connection: sqlite3.Connection) -> int:
    """How many versions have been written since the sequence that the index is at."""
    newest: int = connection.execute("SELECT coalesce(max(seq), 0) FROM version").fetchone()[0]
    return newest - (indexed_until(connection) or 0)


def catch_up(connection: sqlite3.Connection, limit: int = BATCH) -> int:
    """Bring the index forward by at most `limit` versions, in the writer's transaction; how far it is behind then.

    Raises NotSupported when SQLite was built without FTS5.
    """
    at = indexed_until(connection)
    if at is None:
        at = _begin(connection)
    rows = connection.execute(
        "SELECT v.seq, v.rid, r.seq FROM version v CROSS JOIN resource r ON r.rid=v.rid WHERE v.seq>? ORDER BY v.seq LIMIT ?",
        (at, limit),
    ).fetchall()
    if not rows:
        return 0
    until = rows[-1][0]
    # What has a later version still is indexed when that one's turn comes.
    for rid in dict.fromkeys(rid for _, rid, newest in rows if newest <= until):
        _index(connection, rid)
    connection.execute(
        "INSERT OR REPLACE INTO meta(key, value) VALUES ('fulltext', ?)", (f"{until} {FORMAT}",)
    )
    return behind(connection)


def indexed_until(connection: sqlite3.Connection) -> int | None:
    """The sequence that the index is at; None when there is no index, or one that another program's rules made."""
    row = connection.execute("SELECT value FROM meta WHERE key='fulltext'").fetchone()
    if row is None:
        return None
    sequence, _, made = row[0].partition(" ")
    return int(sequence) if made == FORMAT else None


def _begin(connection: sqlite3.Connection) -> int:
    try:
        for table in _TABLES:
            connection.execute(table)
    except sqlite3.OperationalError as error:
        if "no such module" in str(error):
            raise NotSupported(
                "The SQLite library of this Python was built without FTS5, which _text and _content need."
            ) from error
        raise
    connection.execute("INSERT INTO fulltext(fulltext) VALUES ('delete-all')")
    connection.execute("DELETE FROM fulltext_of")
    connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('fulltext', ?)", (f"0 {FORMAT}",))
    return 0


def _index(connection: sqlite3.Connection, rid: int) -> None:
    known = connection.execute(
        "SELECT v.body FROM fulltext_of f CROSS JOIN version v ON v.seq=f.seq WHERE f.rid=?", (rid,)
    ).fetchone()
    if known is not None:
        connection.execute(
            "INSERT INTO fulltext(fulltext, rowid, narrative, content) VALUES ('delete', ?, ?, ?)",
            (rid, *full_texts(decode_object(known[0]))),
        )
        connection.execute("DELETE FROM fulltext_of WHERE rid=?", (rid,))
    seq, body = connection.execute(
        "SELECT v.seq, v.body FROM resource r CROSS JOIN version v ON v.seq=r.seq WHERE r.rid=?", (rid,)
    ).fetchone()
    if body:
        connection.execute(
            "INSERT INTO fulltext(rowid, narrative, content) VALUES (?, ?, ?)",
            (rid, *full_texts(decode_object(body))),
        )
        connection.execute("INSERT INTO fulltext_of(rid, seq) VALUES (?, ?)", (rid, seq))


@dataclass(frozen=True, slots=True)
class Found:
    """Where a FullText holds: for what `match` finds in the index, but for `late_ones` for `late_matches` alone.

    `match` None: nothing in the index.
    """

    match: str | None
    late_ones: str
    late_matches: str

    def not_late(self, rid: str) -> Sql:
        if not self.late_ones:
            return Sql("")
        return Sql(f"{rid} NOT IN (SELECT value FROM json_each(?))", (self.late_ones,))

    def late(self, rid: str) -> Sql:
        if not self.late_matches:
            return NEVER
        return Sql(f"{rid} IN (SELECT value FROM json_each(?))", (self.late_matches,))

    def test(self, rid: str) -> Sql:
        late = self.late(rid)
        if self.match is None:
            return late
        found = Sql(f"{rid} IN (SELECT rowid FROM fulltext WHERE fulltext MATCH ?)", (self.match,))
        found &= self.not_late(rid)
        return Sql(f"({found.text} OR {late.text})", found.values + late.values)


class Words:
    """Answers FullTexts for the state that a connection sees."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        at = indexed_until(connection)
        self._indexed = at is not None
        rows = connection.execute(
            "SELECT DISTINCT r.rid, v.body FROM version n CROSS JOIN resource r ON r.rid=n.rid"
            " CROSS JOIN version v ON v.seq=r.seq WHERE n.seq>?",
            (at or 0,),
        ).fetchall()
        self._late = [
            (rid, Candidate("", "", 0, 0, Entries(), lambda texts=full_texts(decode_object(body)): texts))  # type: ignore[misc]
            for rid, body in rows
            if body
        ]
        self._late_ones = json.dumps([rid for rid, _ in rows]) if rows else ""

    def find(self, part: FullText) -> Found:
        rids = [rid for rid, candidate in self._late if matches(part, candidate, NoLookup())]
        match = _match(part) if self._indexed else None
        return Found(match, self._late_ones, json.dumps(rids) if rids else "")


def _match(part: FullText) -> str | None:
    """The question in the language of FTS5; None when it can have no answer."""
    asked = [_all(phrases) for phrases in part.query if phrases and all(phrases)]
    return f"{_COLUMNS[part.field]} : ({' OR '.join(asked)})" if asked else None


def _all(phrases: Iterable[tuple[str, ...]]) -> str:
    return "(" + " AND ".join(f'"{" ".join(phrase)}"' for phrase in phrases) + ")"
