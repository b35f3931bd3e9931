"""The collections and indexes of the store: made and verified when it is opened, or when a type is first written.

https://www.mongodb.com/docs/manual/core/index-creation/. Indexes are made while others read and write. An invariant to
keep: a type's collection and its indexes are there before a transaction writes to it, because a transaction cannot make
them without locking out others.
"""

from __future__ import annotations

from collections.abc import Collection as Names
from secrets import token_bytes

from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import OperationFailure

from fhir_r4.errors import Unavailable
from fhir_server.store.mongo.connections import Collection, Connection, Document
from fhir_server.store.mongo.indexes import indexes_of

SCHEMA = 1

SEQUENCE, CURSOR_KEY = "sequence", "cursor_key"
# there when all Observations were indexed by a program that marks what entries.PAIRED says
PAIRS = "pairs"

_VERSIONS = (
    IndexModel([("t", ASCENDING), ("i", ASCENDING), ("v", DESCENDING)], name="of", unique=True),
    IndexModel([("t", ASCENDING), ("_id", DESCENDING)], name="type"),
)
_CLAIMS = (
    IndexModel([("key", ASCENDING), ("high", ASCENDING)], name="key"),
    IndexModel([("type", ASCENDING), ("id", ASCENDING)], name="holder"),
)


class NewerDatabase(Unavailable):
    """The database was written by a newer program: this one does not understand it."""

    id = "newer-database"


class Schema:
    """Which collections are known to be ready."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready: set[str] = set()

    async def open(self) -> bytes:
        """Make what is missing; gives the key that cursors are signed with."""
        found = await self._kept("schema", {"n": SCHEMA})
        if found["n"] > SCHEMA:
            raise NewerDatabase(
                f"The database has schema {found['n']} and this program knows {SCHEMA}: use the program that wrote it,"
                " or a newer one."
            )
        sequence = await self._kept(SEQUENCE, {"n": 0, "u": 0, "types": {}})
        if sequence["n"] == 0:
            await self._kept(PAIRS, {"n": 1})
        self._connection.paired = await self._connection.state.find_one({"_id": PAIRS}) is not None
        cursors = await self._kept(CURSOR_KEY, {"key": token_bytes(32)})
        await self._require(self._connection.versions, _VERSIONS)
        await self._require(self._connection.claims, _CLAIMS)
        await self._require(self._connection.heads, ())
        await self.prepare(await self._connection.database.list_collection_names())
        return bytes(cursors["key"])

    async def _kept(self, id: str, otherwise: Document) -> Document:
        """A document of the state, made when it is not there."""
        found = await self._connection.state.find_one_and_update(
            {"_id": id}, {"$setOnInsert": otherwise}, upsert=True, return_document=ReturnDocument.AFTER
        )
        assert found is not None
        return found

    async def prepare(self, types: Names[str]) -> None:
        """Make the collections of types that are not known to be ready."""
        for type in types:
            if type not in self._ready and not type.startswith(("osler.", "system.")):
                await self._require(self._connection.of_type(type), indexes_of(type))
                self._ready.add(type)

    async def _require(self, collection: Collection, indexes: tuple[IndexModel, ...]) -> None:
        if indexes:
            await collection.create_indexes(list(indexes))
        else:
            await _create(collection)


async def _create(collection: Collection) -> None:
    try:
        await collection.database.create_collection(collection.name, check_exists=False)
    except OperationFailure as error:
        # it is there already
        if error.code != 48:
            raise
