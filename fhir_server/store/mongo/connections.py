"""The connection to MongoDB: how it is opened, what its collections are called, and what its errors mean.

https://www.mongodb.com/docs/manual/reference/connection-string/. What the address says about time limits, TLS, pools and
authentication holds; what is acknowledged is on a majority of the members whatever it says. An invariant to keep: every
error that says "the database cannot be used just now" becomes `Unavailable`, nothing else does; no text has a secret of
the address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from fhir_r4.errors import InvalidRequest, Unavailable
from fhir_server.store.mongo.conditions import wait_in_place
from fhir_server.store.mongo.frequent import Frequent

Document = dict[str, Any]
Collection = AsyncCollection[Document]
Session = AsyncClientSession

DEFAULT_DATABASE = "osler"
# Collections of the store itself begin so; all others have the name of a resource type.
OWN = "osler."
# the mark at the end of the name of a collection of contained resources
CONTAINED = "#"

SNAPSHOT = ReadConcern("snapshot")
MAJORITY = WriteConcern("majority")

# A primary that does not answer any more is given up after three seconds, so that the next one is found.
_LIMITS = {
    "connecttimeoutms": 2_000,
    "serverselectiontimeoutms": 5_000,
    "heartbeatfrequencyms": 1_000,
    "waitqueuetimeoutms": 10_000,
}
_NAMES = {
    "connecttimeoutms": "connectTimeoutMS",
    "serverselectiontimeoutms": "serverSelectionTimeoutMS",
    "heartbeatfrequencyms": "heartbeatFrequencyMS",
    "waitqueuetimeoutms": "waitQueueTimeoutMS",
}
_WRITE_CONFLICT = 112
_MEANING = {
    11: "the user of the address is not known",
    13: "the user of the address may not do this",
    18: "the authentication failed",
    50: "it took too long",
    91: "the server is shutting down",
    189: "there is no primary just now",
    8000: "the authentication failed",
    10107: "there is no primary just now",
    11600: "the server is shutting down",
    11602: "there is no primary just now",
    13435: "there is no primary just now",
    13436: "there is no primary just now",
    14031: "the disk is full",
}


class Connection:
    """A client of the database that the address names. Belongs to the event loop that first uses it."""

    def __init__(self, address: str) -> None:
        wait_in_place()
        given = {name.lower() for name, _ in parse_qsl(urlsplit(address).query, keep_blank_values=True)}
        limits: dict[str, Any] = {_NAMES[name]: value for name, value in _LIMITS.items() if name not in given}
        try:
            self.client: AsyncMongoClient[Document] = AsyncMongoClient(
                address,
                w="majority",
                readConcernLevel="majority",
                retryWrites=True,
                appname="osler",
                **limits,
            )
            self.database: AsyncDatabase[Document] = self.client.get_default_database(DEFAULT_DATABASE)
        except (ConfigurationError, InvalidURI, ValueError) as error:
            raise InvalidRequest(
                f"The address of the store cannot be used: {_told(error, address)}"
            ) from None
        # how far what this connection has written or read goes
        self.seen: Timestamp | None = None
        # whether it is asked through the router of a cluster with shards
        self.routed = False
        # whether composites lead to all that has their two parts (composites.joint)
        self.paired = False
        self.frequent = Frequent()
        self.versions: Collection = self.database["osler.versions"]
        self.state: Collection = self.database["osler.state"]
        self.claims: Collection = self.database["osler.claims"]
        self.heads: Collection = self.database["osler.heads"]
        self.fingerprints: Collection = self.database["osler.fingerprints"]

    def of_type(self, type: str) -> Collection:
        """The current resources of a type."""
        return self.database[type]

    async def types(self, *, contained: bool = False) -> list[str]:
        """The resource types that have a collection; those of contained resources only with `contained`."""
        names = await self.database.list_collection_names()
        return sorted(
            name
            for name in names
            if not name.startswith((OWN, "system.")) and (contained or not name.endswith(CONTAINED))
        )

    async def require_transactions(self) -> None:
        """Raise Unavailable when the server cannot do transactions, or cannot be reached."""
        hello = await self.client.admin.command("hello")
        self.routed = hello.get("msg") == "isdbgrid"
        if "setName" not in hello and not self.routed:
            raise Unavailable(
                "This MongoDB server stands alone, and a server that stands alone has no transactions. Osler needs a"
                " replica set (one member is enough: start mongod with --replSet NAME, then run rs.initiate()) or a"
                " sharded cluster."
            )

    def snapshot(self) -> Session:
        """A session whose reads all see the state of one moment."""
        return self.client.start_session(snapshot=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        """A session whose reads see nothing older than what this connection has written or seen, whoever is primary."""
        async with self.client.start_session(causal_consistency=True) as session:
            if self.seen is not None:
                session.advance_operation_time(self.seen)
            yield session
            self.saw(session)

    def saw(self, session: Session) -> None:
        """Remember how far the operations of a session have come."""
        time = session.operation_time
        if time is not None and (self.seen is None or time > self.seen):
            self.seen = time

    async def close(self) -> None:
        await self.client.close()


def _told(error: Exception, address: str) -> str:
    """What is wrong with the address, unless that repeats its user or password."""
    text = str(error)
    secrets = address.split("://", 1)[-1].rpartition("@")[0].replace("@", ":").split(":")
    if "@" in text or any(secret and (secret in text or unquote_plus(secret) in text) for secret in secrets):
        return "user and password must be percent-encoded (RFC 3986)"
    return text


@contextmanager
def translated() -> Iterator[None]:
    """Raise Unavailable for those of MongoDB's errors that mean it."""
    try:
        yield
    except PyMongoError as error:
        told = unavailable(error)
        if told is None:
            raise
        raise told from error


def unavailable(error: PyMongoError) -> Unavailable | None:
    """The error to tell when `error` says that the database cannot be used; None when it says something else."""
    meaning: str | None = None
    if isinstance(error, ConnectionFailure):
        meaning = "no primary can be reached"
    elif isinstance(error, ConfigurationError):
        meaning = "its address leads nowhere"
    elif isinstance(error, ExecutionTimeout):
        meaning = "it took too long"
    elif isinstance(error, WTimeoutError):
        meaning = "too few members of the replica set answer"
    elif isinstance(error, OperationFailure):
        meaning = _MEANING.get(error.code or 0)
        if meaning is None and error.has_error_label("TransientTransactionError"):
            meaning = "too many want to write at the same time"
    return None if meaning is None else Unavailable(f"The store cannot be used just now: {meaning}.")


def has_collided(error: PyMongoError) -> bool:
    """Whether a transaction failed because another wrote the same documents."""
    return isinstance(error, OperationFailure) and error.code == _WRITE_CONFLICT


def is_transient(error: PyMongoError) -> bool:
    """Whether a transaction that failed so left nothing behind and may be tried again."""
    return isinstance(error, ConnectionFailure) or error.has_error_label("TransientTransactionError")
