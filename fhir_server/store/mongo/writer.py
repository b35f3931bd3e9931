"""The writer: a task that writes waiting transactions in groups, one MongoDB transaction for each group.

https://www.mongodb.com/docs/manual/core/transactions-in-applications/. Nothing is acknowledged before a majority of the
members has it. A group that collides with one of another server, or loses its primary, begins anew until its time is
over; one whose commit got no answer asks for that answer again, since a commit may be asked for twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo.errors import DocumentTooLarge, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from fhir_r4.errors import TooLarge, Unavailable
from fhir_server.store.mongo import copying
from fhir_server.store.mongo.connections import (
    MAJORITY,
    SNAPSHOT,
    Connection,
    Document,
    Session,
    has_collided,
    is_transient,
    translated,
    unavailable,
)
from fhir_server.store.mongo.documents import prepare
from fhir_server.store.mongo.group import Asked, Group, Manner, Matching
from fhir_server.store.mongo.inside import types_inside
from fhir_server.store.mongo.schema import Schema
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Copied, Precondition, Stored, WriteOp

GROUP_OPS = 500
GROUP_BYTES = 4 * 2**20
# Seconds after which it is looked whether a transaction that holds up all others belongs to a process that is gone.
SUSPICIOUS = 2.0
# Seconds that the answer to a commit is asked for: until then nobody knows whether it was written.
COMMIT_PATIENCE = 60.0
# Seconds that a transaction that failed is given to be ended in order.
ABORT_PATIENCE = 0.5

# Seconds between two attempts of a group: while others write, and while there is no primary. They do not grow, because
# whoever has waited longest would then be the last to come.
TURN, RECONNECT = (0.001, 0.02), (0.02, 0.1)

# the code of the server's own refusal of a document beyond its limit
_TOO_LARGE = 10334

T = TypeVar("T")
Result = tuple[Stored, ...] | BaseException
Act = Callable[[Session], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction, or a function to run alone in one (`act`), and the future that its caller waits for."""

    asked: Asked
    future: asyncio.Future[Any]
    since: float
    act: Act[Any] | None = None

    @property
    def size(self) -> int:
        bodies = [op.body for op in self.asked.ops if op.body is not None]
        return sum(len(body.before) + len(body.after) for body in bodies)


class Writer:
    """Takes transactions from the event loop that made it.

    `clock` gives microseconds since 1970 UTC; `patience` is how many seconds a transaction is tried.
    """

    def __init__(
        self,
        connection: Connection,
        schema: Schema,
        matching: Matching,
        clock: Callable[[], int],
        patience: float,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._matching = matching
        self._clock = clock
        self._patience = patience
        self._queue: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._task = asyncio.create_task(self._run(), name="store-writer")

    def transact(
        self, ops: Sequence[WriteOp], preconditions: Sequence[Precondition], rehearse: bool = False
    ) -> asyncio.Future[tuple[Stored, ...]]:
        """Accept a transaction; its result comes by the future."""
        # while the writer waits for MongoDB with others, not when their turn has come and the counter is held
        prepared = () if rehearse else tuple(map(prepare, ops))
        return self._accept(Asked(ops, preconditions, rehearse, prepared), None)

    def run(self, act: Act[T]) -> asyncio.Future[T]:
        """Run `act` alone in a transaction, which is committed when it returns. It may be run again from its beginning."""
        return self._accept(Asked((), ()), act)

    async def copy(self, versions: Sequence[Copied]) -> None:
        """Keep the next versions of another store, in native form as far as that can be."""
        await self.prepare(
            {one.stored.type for one in versions} | types_inside(one.entries for one in versions)
        )
        try:
            await self.run(lambda session: copying.write(self._connection, session, versions))
        except (PyMongoError, BSONError, OverflowError):
            if len(versions) == 1:
                await self.run(
                    lambda session: copying.write(self._connection, session, versions, native=False)
                )
                return
            for one in versions:
                await self.copy([one])

    def _accept(self, asked: Asked, act: Act[Any] | None) -> asyncio.Future[Any]:
        if self._closed:
            raise Unavailable("The store is closed.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(asked, future, time.monotonic(), act))
        self._arrived.set()
        return future

    async def close(self) -> None:
        """Write what was accepted, then end."""
        self._closed = True
        self._arrived.set()
        await self._task

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            # what this turn of the event loop accepts besides belongs to the same group
            await asyncio.sleep(0)
            while self._queue:
                await self._write(self._gather())
            if self._closed:
                return
            self._arrived.clear()

    def _gather(self) -> list[Waiting]:
        """The transactions to write next."""
        group: list[Waiting] = []
        ops = size = 0
        while self._queue and (not group or (ops < GROUP_OPS and size < GROUP_BYTES)):
            if self._queue[0].act is not None:
                return group or [self._queue.popleft()]
            waiting = self._queue.popleft()
            group.append(waiting)
            ops += len(waiting.asked.ops)
            size += waiting.size
        return group

    async def _write(self, group: list[Waiting]) -> None:
        try:
            results = await self._results(group)
        except BaseException as error:
            results = [error] * len(group)
            if not isinstance(error, Exception):
                raise
        finally:
            for waiting, result in zip(group, results, strict=True):
                _settle(waiting.future, result)

    async def _results(self, group: Sequence[Waiting]) -> list[Any]:
        act = group[0].act
        if act is not None:
            return [await self._transaction(act)]
        asked = [waiting.asked for waiting in group]
        try:
            return await self._of_group(asked, Manner())
        except Unavailable:
            raise
        except Exception:
            # Something in one of them cannot be written like this: each alone, so that only that one fails.
            return [await self._alone(one) for one in asked]

    async def _alone(self, asked: Asked) -> Result:
        """Write a transaction alone; in native form only if that can be."""
        try:
            try:
                return (await self._of_group([asked], Manner(wary=True)))[0]
            except (PyMongoError, BSONError, OverflowError):
                return (await self._of_group([asked], Manner(wary=True, native=False)))[0]
        except Exception as error:
            if isinstance(error, DocumentTooLarge) or getattr(error, "code", None) == _TOO_LARGE:
                return TooLarge("MongoDB holds resources of up to 16 MiB; this one is larger with its index.")
            return error

    async def _of_group(self, asked: Sequence[Asked], manner: Manner) -> list[Result]:
        ops = [op for one in asked for op in one.ops]
        await self.prepare({op.type for op in ops} | types_inside(op.entries for op in ops))

        async def act(session: Session) -> list[Result]:
            group = Group(self._connection, session, self._matching, manner)
            await group.begin(asked, self._clock())
            results: list[Result] = []
            for one in asked:
                try:
                    results.append(await group.transact(one))
                except (Stale, ClaimRefused) as refusal:
                    results.append(refusal)
            if not group.wrote:
                await session.abort_transaction()
            else:
                await group.finish()
            return results

        return await self._transaction(act)

    async def _transaction(self, act: Act[T]) -> T:
        """What `act` gives in a transaction that was committed, unless `act` has ended it.

        Raises Unavailable when it could not be committed in time: then nothing was written.
        """
        began = time.monotonic()
        looked = began
        while True:
            try:
                return await self._once(act)
            except PyMongoError as error:
                if not is_transient(error):
                    told = unavailable(error)
                    raise (told or error) from error
                now = time.monotonic()
                if now - began > self._patience:
                    raise unavailable(error) or error from error
                if now - looked > SUSPICIOUS:
                    looked = now
                    await self._end_abandoned()
                pause = random.uniform(*(TURN if has_collided(error) else RECONNECT))
            await asyncio.sleep(pause)

    async def _once(self, act: Act[T]) -> T:
        async with self._connection.client.start_session(causal_consistency=False) as session:
            await session.start_transaction(SNAPSHOT, MAJORITY, ReadPreference.PRIMARY)
            try:
                result = await act(session)
            except BaseException:
                # a primary that is gone is not waited for: it ends the transaction by itself
                with suppress(PyMongoError), pymongo.timeout(ABORT_PATIENCE):
                    await session.abort_transaction()
                raise
            if session.in_transaction:
                await self._commit(session)
            return result

    async def _commit(self, session: Session) -> None:
        deadline = time.monotonic() + COMMIT_PATIENCE
        while True:
            try:
                await session.commit_transaction()
                self._connection.saw(session)
                return
            except PyMongoError as error:
                if not error.has_error_label("UnknownTransactionCommitResult"):
                    raise
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "The store did not answer a commit, so it is not known whether this was written."
                    ) from error
                self._refuse_late()
            await asyncio.sleep(0.05)

    def _refuse_late(self) -> None:
        """Refuse what waits behind a commit that nobody answers for; nothing of it was begun."""
        late = time.monotonic() - self._patience
        while self._queue and self._queue[0].since < late:
            told = Unavailable("The store cannot be used just now: no primary can be reached.")
            _settle(self._queue.popleft().future, told)

    async def prepare(self, types: Collection[str]) -> None:
        """Make the collections of types; a transaction cannot do it."""
        with translated():
            await self._schema.prepare(types)

    async def _end_abandoned(self) -> None:
        """End transactions of processes that are gone, which hold what every writer needs until the server's own limit.

        One of a process that lives and is slow is tried again by that process. Where the server does not let us look, its
        limit (a minute) has to do.
        """
        with suppress(PyMongoError):
            idle = {
                "type": "idleSession",
                "appName": "osler",
                "transaction.timeInactiveMicros": {"$gte": int(SUSPICIOUS * 1_000_000)},
            }
            pipeline: list[Document] = [
                {"$currentOp": {"idleSessions": True, "allUsers": False}},
                {"$match": idle},
            ]
            admin = self._connection.client.admin.with_options(read_concern=ReadConcern("local"))
            found = await (await admin.aggregate(pipeline)).to_list()
            if found:
                await admin.command("killSessions", [{"id": one["lsid"]["id"]} for one in found])


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
