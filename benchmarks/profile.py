"""Where the server's time goes: `python -m benchmarks.profile read|create|update|ingest|search`.

The application runs in this process without sockets, on an SQLite file. First the plain CPU time of an operation is
measured (event loop and store threads apart), then the same under cProfile, a table for the event loop and one for the
other threads. cProfile makes small functions look dear: take the shares from it and the times from the first line.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import itertools
import pstats
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvloop

from benchmarks import workload
from benchmarks.inprocess import Caller
from fhir_server.app import create_app
from fhir_server.settings import Settings

PATIENTS = 200
SEARCHES = (
    "/fhir/Patient?name=ros&_count=20",
    "/fhir/Patient?identifier=http://north-hospital.example/record-numbers|00000007",
    "/fhir/Observation?patient=Patient/p7&code=http://loinc.org|718-7&_sort=-date&_count=20",
    "/fhir/Observation?code=http://loinc.org|718-7&value-quantity=gt12&_count=20",
)

# Does the numbered operation and answers how many resources it handled.
Operation = Callable[[int], Awaitable[int]]


async def main(name: str, count: int, concurrency: int, top: int, sort: str) -> None:
    """Time, then profile `count` operations of the kind `name`, `concurrency` at a time."""
    async with prepared(name) as operation:
        numbers = itertools.count()
        await repeat(operation, numbers, max(1, count // 10), concurrency)
        await timed(name, operation, numbers, count, concurrency)
    threads: list[tuple[str, cProfile.Profile]] = []
    profiler = cProfile.Profile()
    with profiled_threads(threads):
        async with prepared(name) as operation:
            numbers = itertools.count()
            await repeat(operation, numbers, max(1, count // 10), concurrency)
            for _, profile in threads:
                profile.clear()
            profiler.enable()
            await repeat(operation, numbers, count, concurrency)
            profiler.disable()
    show("event loop", profiler, sort, top)
    for thread, profile in threads:
        if profile.getstats():
            show(thread, profile, sort, top)


@asynccontextmanager
async def prepared(name: str) -> AsyncIterator[Operation]:
    """The operation of the kind `name` on a server of its own, with what it needs loaded."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(store=f"sqlite:///{folder}/profile.db", log_level="error"))
        await app.services.store.open()
        try:
            yield await KINDS[name](Caller(app))
        finally:
            await app.services.store.close()


@contextmanager
def profiled_threads(profiles: list[tuple[str, cProfile.Profile]]) -> Iterator[None]:
    """Profile every thread that begins inside, under its name."""

    def begin(frame: Any, event: str, argument: Any) -> None:
        profile = cProfile.Profile()
        profiles.append((threading.current_thread().name, profile))
        profile.enable()

    threading.setprofile(begin)
    try:
        yield
    finally:
        threading.setprofile(None)


async def timed(
    name: str, operation: Operation, numbers: itertools.count[int], count: int, concurrency: int
) -> None:
    """Print the plain times of `count` operations."""
    wall, loop, all_threads = time.perf_counter(), time.thread_time(), time.process_time()
    done = await repeat(operation, numbers, count, concurrency)
    wall, loop, all_threads = (
        time.perf_counter() - wall,
        time.thread_time() - loop,
        time.process_time() - all_threads,
    )
    print(
        f"{name}: {done} resources in {wall:.2f} s, {done / wall:,.0f}/s; CPU of each {all_threads / done * 1e6:.1f} µs:"
        f" event loop {loop / done * 1e6:.1f}, other threads {(all_threads - loop) / done * 1e6:.1f}"
    )


async def repeat(operation: Operation, numbers: itertools.count[int], count: int, concurrency: int) -> int:
    """Do `count` operations; how many resources they handled."""

    async def some(times: int) -> int:
        return sum([await operation(next(numbers)) for _ in range(times)])

    return sum(await asyncio.gather(*[some(count // concurrency or 1) for _ in range(concurrency)]))


def show(title: str, profile: cProfile.Profile, sort: str, top: int) -> None:
    print(f"\n== {title}")
    pstats.Stats(profile).sort_stats(sort).print_stats(top)


async def _load_patients(caller: Caller) -> None:
    for number, patient in enumerate(workload.patients(PATIENTS)):
        body = workload.as_bytes(workload.with_id(patient, f"p{number}"))
        status, answer = await caller("PUT", f"/fhir/Patient/p{number}", body)
        assert status == 201, answer


async def reading(caller: Caller) -> Operation:
    await _load_patients(caller)

    async def operation(number: int) -> int:
        status, _ = await caller("GET", f"/fhir/Patient/p{number % PATIENTS}")
        assert status == 200
        return 1

    return operation


async def creating(caller: Caller) -> Operation:
    bodies = [workload.as_bytes(o) for o in workload.observations(500, PATIENTS)]

    async def operation(number: int) -> int:
        status, answer = await caller("POST", "/fhir/Observation", bodies[number % len(bodies)])
        assert status == 201, answer
        return 1

    return operation


async def updating(caller: Caller) -> Operation:
    await _load_patients(caller)
    bodies = [
        workload.as_bytes(workload.with_id(p, f"p{n}")) for n, p in enumerate(workload.patients(PATIENTS))
    ]

    async def operation(number: int) -> int:
        status, answer = await caller("PUT", f"/fhir/Patient/p{number % PATIENTS}", bodies[number % PATIENTS])
        assert status == 200, answer
        return 1

    return operation


async def ingesting(caller: Caller) -> Operation:
    records = list(workload.bundles(40))
    bodies = [(workload.as_bytes(bundle), len(bundle["entry"])) for bundle in records]

    async def operation(number: int) -> int:
        body, resources = bodies[number % len(bodies)]
        status, answer = await caller("POST", "/fhir", body)
        assert status == 200, answer
        return resources

    return operation


async def searching(caller: Caller) -> Operation:
    await _load_patients(caller)
    for observation in workload.observations(2000, PATIENTS):
        await caller("POST", "/fhir/Observation", workload.as_bytes(observation))

    async def operation(number: int) -> int:
        status, answer = await caller("GET", SEARCHES[number % len(SEARCHES)].replace("|", "%7C"))
        assert status == 200, answer
        return 1

    return operation


KINDS: dict[str, Callable[[Caller], Awaitable[Operation]]] = {
    "read": reading,
    "create": creating,
    "update": updating,
    "ingest": ingesting,
    "search": searching,
}
COUNTS = {"read": 5000, "create": 3000, "update": 2000, "ingest": 100, "search": 400}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, help="operations to profile")
    parser.add_argument("--concurrency", type=int, default=8, help="operations in flight")
    parser.add_argument("--top", type=int, default=35, help="functions to show")
    parser.add_argument("--sort", default="tottime", choices=("tottime", "cumulative"))
    given = parser.parse_args()
    uvloop.run(main(given.kind, given.count or COUNTS[given.kind], given.concurrency, given.top, given.sort))
