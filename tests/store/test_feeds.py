"""Consumers of the change feed, on every kind of store: told of everything in order, one of them at a time."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from fhir_server.store.feed import consume
from fhir_server.store.mongo.store import MongoStore
from tests.store.making import delete, put


@asynccontextmanager
async def consuming(store, name, owner, lease=0.4, fails_at=None):
    """A consumer that gives what it handles as a queue of (owner, sequence)."""
    handled = asyncio.Queue()

    async def handle(stored):
        if stored.sequence == fails_at:
            raise RuntimeError("this one is too much")
        handled.put_nowait((owner, stored.sequence))

    task = asyncio.create_task(consume(store, name, owner, handle, lease=lease))
    try:
        yield handled, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def taken(queue, count):
    async with asyncio.timeout(20):
        return [await queue.get() for _ in range(count)]


async def test_what_is_there_and_what_comes_is_told_in_order(store):
    await store.transact([put(str(n)) for n in range(3)])
    seen = []

    async def write_more():
        for n in range(20):
            await store.transact([put(f"{n}a"), put(f"{n}b")])
        await store.transact([delete("0")])

    writing = asyncio.create_task(write_more())
    async with asyncio.timeout(30), aclosing(store.watch(1)) as versions:
        async for stored in versions:
            seen.append(stored)
            if len(seen) == 43:
                break
    await writing
    assert [stored.sequence for stored in seen] == list(range(2, 45))
    assert seen == [stored async for stored in store.changes(1)]


async def test_what_another_server_writes_is_told(mongo, mongo_address):
    other = MongoStore(mongo_address)
    await other.open()
    async with asyncio.timeout(30), aclosing(mongo.watch()) as versions:
        first = asyncio.create_task(anext(versions))
        (written,) = await other.transact([put("1")])
        assert await first == written
    await other.close()


async def test_a_lease_is_held_by_one_until_it_ends(store):
    assert await store.take_feed("mail", "a", 30) == 0
    assert await store.take_feed("mail", "b", 30) is None
    assert await store.take_feed("audit", "b", 30) == 0
    assert await store.keep_feed("mail", "a", 7, 0)
    assert not await store.keep_feed("mail", "b", 9, 30)
    assert await store.take_feed("mail", "b", 30) == 7
    assert not await store.keep_feed("mail", "a", 8, 30)
    assert await store.take_feed("mail", "b", 30) == 7
    assert not await store.keep_feed("none", "a", 8, 30)


async def test_one_owner_handles_and_the_next_takes_over_where_it_ended(store):
    await store.transact([put("1"), put("2")])
    async with consuming(store, "mail", "b", lease=0.4) as (later, _):
        first = next(iter(await taken(later, 1)))
        assert first == ("b", 1)
        async with consuming(store, "mail", "a", lease=0.4) as (earlier, _):
            await store.transact([put("3")])
            assert await taken(later, 2) == [("b", 2), ("b", 3)]
            assert earlier.empty()
    async with consuming(store, "mail", "c") as (handled, _):
        await store.transact([put("4")])
        assert await taken(handled, 1) == [("c", 4)]


async def test_a_version_that_could_not_be_handled_comes_again(store):
    await store.transact([put(str(n)) for n in range(5)])
    async with consuming(store, "mail", "a", fails_at=4) as (handled, task):
        assert [sequence for _, sequence in await taken(handled, 3)] == [1, 2, 3]
        with pytest.raises(RuntimeError, match="too much"):
            await task
    async with consuming(store, "mail", "b") as (handled, _):
        assert await taken(handled, 2) == [("b", 4), ("b", 5)]


async def test_an_owner_that_died_is_followed_when_its_lease_ends(store):
    await store.transact([put("1"), put("2")])
    assert await store.take_feed("mail", "dead", 0.5) == 0
    assert await store.keep_feed("mail", "dead", 1, 0.5)
    async with consuming(store, "mail", "heir") as (handled, _):
        assert await taken(handled, 1) == [("heir", 2)]
