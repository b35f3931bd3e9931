"""However many want the same thing at once, from tasks, threads or processes, one gets it."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fhir_server.search.tree import SearchQuery, TokenIs
from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Claim, MatchesAre, VersionIs
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import put
from tests.store.test_writing import MALE, man

ROOT = Path(__file__).parents[2]


def nobody_has(number):
    return MatchesAre("Patient", TokenIs("identifier", "urn:a", number), (), 1)


def numbered(id, number):
    return put(id, tokens=[("identifier", "urn:a", number)])


async def won(attempts, refusal):
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert all(isinstance(result, tuple | refusal) for result in results)
    return sum(isinstance(result, tuple) for result in results)


async def test_of_64_conditional_creates_one_creates(store):
    attempts = [store.transact([man(str(n))], [MatchesAre("Patient", MALE, ())]) for n in range(64)]
    assert await won(attempts, Stale) == 1
    assert len(await store.matching_ids("Patient", MALE, 99)) == 1


@pytest.mark.parametrize("there", [False, True])
async def test_each_of_many_identifiers_is_taken_once_however_transactions_are_grouped(store, there):
    if there:
        await store.transact([numbered("there", "0")])
    wanted = [str(n % 8) for n in range(48)]
    attempts = [
        store.transact([numbered(f"p{n}", number)], [nobody_has(number), nobody_has(f"other-{n}")])
        for n, number in enumerate(wanted)
    ]
    assert await won(attempts, Stale) == 8 - there
    for number in set(wanted):
        assert len(await store.matching_ids("Patient", nobody_has(number).where, 9)) == 1


async def test_of_50_claims_one_is_granted(store):
    attempts = [store.transact([put(str(n), claims=(Claim("bed"),))]) for n in range(50)]
    assert await won(attempts, ClaimRefused) == 1
    assert await store.counts() == {"Patient": 1}


async def test_of_20_updates_of_one_version_one_succeeds(store):
    await store.transact([put("1")])
    attempts = [store.transact([put("1", text=str(n))], [VersionIs("Patient", "1", 1)]) for n in range(20)]
    assert await won(attempts, Stale) == 1
    assert (await store.read("Patient", "1")).version == 2


async def test_what_fails_in_a_group_leaves_the_others_alone(store):
    await store.transact([put("0", claims=(Claim("held"),))])
    attempts = [
        store.transact([put(str(n), claims=(Claim("held"),) if n % 3 == 0 else ()), put(f"{n}b")])
        for n in range(1, 31)
    ]
    assert await won(attempts, ClaimRefused) == 20
    assert await store.counts() == {"Patient": 41}
    assert [s.sequence async for s in store.changes()] == list(range(1, 42))


def test_loops_in_several_threads_share_a_store(path):
    store = SqliteStore(path, readers=1)
    asyncio.run(store.open())
    granted = []

    async def attempt(name):
        for n in range(10):
            try:
                await store.transact([put(f"{name}-{n}", claims=(Claim("bed"),))])
                granted.append(name)
            except ClaimRefused:
                pass
            await store.transact([man(f"{name}-man-{n}")])
            assert len((await store.search(SearchQuery(("Patient",), MALE, count=500))).matches) > n

    threads = [threading.Thread(target=asyncio.run, args=(attempt(str(n)),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1
    assert asyncio.run(store.counts()) == {"Patient": 81}
    asyncio.run(store.close())


@pytest.mark.parametrize("kind", ["sqlite", "mongo"])
def test_of_64_claims_and_64_conditional_creates_by_4_processes_one_is_granted(kind, path, request):
    address = f"sqlite:///{path}" if kind == "sqlite" else request.getfixturevalue("mongo_address")
    command = [sys.executable, "-m", "tests.store.writing_process", "race", address]
    processes = [
        subprocess.Popen(
            [*command, f"p{n}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        results = [process.communicate(timeout=60)[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(int(claimed) for claimed, _ in results) == 1
    assert sum(int(created) for _, created in results) == 1


async def test_a_reader_never_sees_half_a_transaction(sqlite):
    """Two resources are always written together; a search sees both or none."""
    done = False

    async def write():
        nonlocal done
        for n in range(40):
            await sqlite.transact([man(f"{n}a"), man(f"{n}b")])
        done = True

    async def look():
        while not done:
            page = await sqlite.search(SearchQuery(("Patient",), MALE, count=500, total="accurate"))
            assert len(page.matches) % 2 == 0
            assert page.total == len(page.matches)
            await asyncio.sleep(0)

    await asyncio.gather(write(), look())
