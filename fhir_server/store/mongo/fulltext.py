"""The words of resources, for `_text` and `_content`: indexed after the write, and never stale.

MongoDB's own text index cannot stand under OR or NOT, divides words by other rules and drops some (docs/adr/0014). So a document
has its words in an array with an index, `w`: n and a word of the narrative, c and one that is elsewhere only; and in `x` the
texts that phrases are looked for in. A write leaves `late` instead. An invariant to keep: what is late when a search looks is
read word by word in the search itself, so an answer is always of its snapshot.
"""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Mapping, Sequence
from uuid import uuid4

from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from fhir_r4.errors import FhirError
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
from fhir_server.store.mongo import feeds
from fhir_server.store.mongo.connections import Connection, Document
from fhir_server.store.mongo.indexes import ID, WORDS
from fhir_server.store.mongo.leaves import NEVER, Access, Condition, Filter, listed
from fhir_server.store.mongo.read import by_sequence
from fhir_server.store.mongo.snapshots import Snapshot
from fhir_server.store.mongo.traffic import Traffic
from fhir_server.store.records import Stored

# What makes the words: where another program's rules made them they are made anew.
FORMAT = f"1 {unicodedata.unidata_version}"
BATCH = 500
# Of how many resources words are indexed between two looks at what else there is to do.
STEP = 20
# Seconds: how long nobody writes before words are indexed, and how long that is waited for; how long requests in flight
# are waited for; how long a server has the work for itself.
IDLE, LONGEST_IDLE = 3.0, 60.0
GIVES_WAY = 1.0
LEASE_NAME, LEASE = "words", 30.0


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
    """Indexes the words that are late, a few at a time, beside what the store is asked for.

    One server at a time does it for all. It begins when nobody has written for some seconds, and waits before each few for a
    moment in which this server is not asked for anything; neither for ever.
    """

    def __init__(self, connection: Connection, traffic: Traffic) -> None:
        self._connection = connection
        self._traffic = traffic
        self._owner = uuid4().hex
        self._leased = -LEASE
        self._types: list[str] = []

    async def run(self) -> None:
        """Index what is late, and what will be, until this is cancelled."""
        while True:
            await self._traffic.quiet(IDLE, LONGEST_IDLE)
            try:
                done = await self.work()
            except (PyMongoError, FhirError):
                done = False
            if done:
                await self._traffic.next_write()
            else:
                await asyncio.sleep(IDLE)

    async def work(self) -> bool:
        """Index all that is late; False when another server does it just now."""
        while await self._is_mine():
            if not await self.step():
                await feeds.keep(self._connection, LEASE_NAME, self._owner, 0, 0)
                self._leased = -LEASE
                return True
        return False

    async def step(self) -> int:
        """Index some; how many were done, 0 when nothing is late."""
        if not self._types:
            await _keep_format(self._connection)
            self._types = await self._connection.types()
        while self._types:
            calm = await self._traffic.calm(GIVES_WAY)
            began = time.monotonic()
            done = await catch_up(self._connection, self._types[-1], STEP)
            if done:
                # others may be asking by other servers
                rest = 1 if calm and self._traffic.is_calm else 4
                await asyncio.sleep(min(GIVES_WAY, rest * (time.monotonic() - began)))
                return done
            self._types.pop()
        return 0

    async def _is_mine(self) -> bool:
        """Whether no other server does this; the lease is renewed in time."""
        now = time.monotonic()
        if now - self._leased > LEASE / 2:
            if await feeds.take(self._connection, LEASE_NAME, self._owner, LEASE) is None:
                return False
            self._leased = now
        return True


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
