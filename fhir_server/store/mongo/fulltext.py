"""The words of resources, for `_text` and `_content`: indexed after the write, and never stale.

MongoDB's own text index cannot stand under OR or NOT, divides words by other rules and drops some (docs/adr/0014). So a document
has its words in an array with an index, `w`: n and a word of the narrative, c and one that is elsewhere only; and in `x` the
texts that phrases are looked for in. A write leaves `late` instead. An invariant to keep: what is late when a search looks is
read word by word in the search itself, so an answer is always of its snapshot.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Mapping, Sequence

from pymongo import UpdateOne

from fhir_r4.jsonio import decode_object
from fhir_server.search.contained import is_contained
from fhir_server.search.entries import Entries
from fhir_server.search.fulltext import full_texts
from fhir_server.search.match import Candidate, NoLookup, matches
from fhir_server.search.tree import (
    And,
    Chain,
    ContainedIn,
    Expression,
    FullText,
    Has,
    Not,
    Or,
    Repeats,
    SearchQuery,
)
from fhir_server.store.mongo.connections import Connection, Document
from fhir_server.store.mongo.indexes import ID, WORDS
from fhir_server.store.mongo.leaves import NEVER, Access, Condition, Filter, listed
from fhir_server.store.mongo.read import by_sequence
from fhir_server.store.mongo.snapshots import Snapshot
from fhir_server.store.records import Stored

# What makes the words: where another program's rules made them they are made anew.
FORMAT = f"1 {unicodedata.unidata_version}"
BATCH = 500
STEP = 50


def asks_for_words(where: Expression) -> bool:
    """Whether the expression has a FullText somewhere."""
    match where:
        case FullText():
            return True
        case And(parts) | Or(parts):
            return any(asks_for_words(part) for part in parts)
        case Not(part) | Chain(part=part) | Has(part=part) | ContainedIn(part) | Repeats(part=part):
            return asks_for_words(part)
        case _:
            return False


def query_asks_for_words(query: SearchQuery) -> bool:
    return asks_for_words(query.where) or any(asks_for_words(one.where) for one in query.includes)


class LateWords:
    """Indexes the words that are late, a few at a time, for who has nothing else to do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._types: list[str] = []

    async def step(self) -> int:
        """Index some; how many were done, 0 when nothing is late."""
        if not self._types:
            await _keep_format(self._connection)
            self._types = await self._connection.types()
        while self._types:
            done = await catch_up(self._connection, self._types[-1], STEP)
            if done:
                return done
            self._types.pop()
        return 0


async def catch_up(connection: Connection, type: str, limit: int = BATCH) -> int:
    """Index the words of at most `limit` resources of a type that are late; how many there were.

    Whoever writes a resource meanwhile makes it late again, so nothing is lost when two do this at once.
    """
    collection = connection.of_type(type)
    found = await collection.find({"late": True}, {"s": 1}).limit(limit).to_list()
    stored = await by_sequence(connection, [document["s"] for document in found])
    writes = await asyncio.to_thread(lambda: [_indexing(one) for one in stored])
    if writes:
        await collection.bulk_write(writes, ordered=False)
    return len(found)


def _indexing(stored: Stored) -> UpdateOne:
    words = words_of(full_texts(decode_object(stored.body)))
    return UpdateOne({"_id": stored.id, "s": stored.sequence}, {"$set": words, "$unset": {"late": ""}})


async def _keep_format(connection: Connection) -> None:
    """Make everything late when the words in the database are those of other rules."""
    before = await connection.state.find_one({"_id": "words"})
    if before is not None and before["format"] == FORMAT:
        return
    if before is not None:
        for type in await connection.types():
            await connection.of_type(type).update_many({"d": False}, {"$set": {"late": True}})
    await connection.state.update_one({"_id": "words"}, {"$set": {"format": FORMAT}}, upsert=True)


def words_of(texts: tuple[str, str]) -> Document:
    """The members of a document that searches for words look at."""
    told, content = texts
    narrative = set(told.split())
    elsewhere = set(content.split()) - narrative
    words = sorted([f"n{word}" for word in narrative] + [f"c{word}" for word in elsewhere])
    return {"w": words, "x": {"text": told, "content": content}}


class Words:
    """Answers FullTexts for one snapshot; `look_at` first tells it what is late there."""

    def __init__(self) -> None:
        self._late: dict[str, Sequence[Candidate]] = {}

    async def look_at(self, snapshot: Snapshot, type: str) -> None:
        if type in self._late:
            return
        found = await snapshot.find(type, {"late": True}, {"s": 1})
        stored = await snapshot.bodies([document["s"] for document in found])
        self._late[type] = [
            Candidate(type, one.id, 0, 0, Entries(), lambda texts=full_texts(decode_object(one.body)): texts)  # type: ignore[misc]
            for one in stored
        ]

    def condition(self, asked: FullText, type: str) -> Condition:
        if is_contained(type):
            # its container is found by its words
            return listed(Access())
        late = [one.id for one in self._late.get(type, ()) if matches(asked, one, NoLookup())]
        tests: list[Filter] = []
        access = Access()
        for phrases in asked.query:
            test, rarest = _all_of(asked.field, [phrase for phrase in phrases if phrase])
            tests.append(test)
            access |= Access(others=((WORDS, rarest),))
        indexed = {"$and": [{"late": {"$ne": True}}, {"$or": tests or [NEVER]}]}
        if not late:
            return Condition(indexed, access)
        those = {"_id": {"$in": late}}
        return Condition({"$or": [indexed, those]}, access | Access(others=((ID, those),)))


_PREFIXES: Mapping[str, tuple[str, ...]] = {"text": ("n",), "content": ("n", "c")}


def _all_of(field: str, phrases: Sequence[tuple[str, ...]]) -> tuple[Filter, Filter]:
    """That all phrases are there, and that the longest of their words is: the one that most likely is rare."""
    parts: list[Filter] = [_word(field, word) for phrase in phrases for word in phrase]
    for phrase in phrases:
        if len(phrase) > 1:
            # words are letters and digits, so none has a meaning in a pattern
            parts.append({f"x.{field}": {"$regex": f"(^| ){' '.join(phrase)}( |$)"}})
    longest = max((word for phrase in phrases for word in phrase), key=len)
    return {"$and": parts}, _word(field, longest)


def _word(field: str, word: str) -> Filter:
    return {"w": {"$in": [prefix + word for prefix in _PREFIXES[field]]}}
