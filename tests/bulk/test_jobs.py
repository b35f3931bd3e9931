"""Jobs are Tasks: one process does each, hands it back when it stops, and tells how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fhir_r4.jsonio import decode_object
from fhir_server.app import compose
from fhir_server.bulk.jobs import LEASE, JobHandle, JobRunner, do_at_once, write_job
from fhir_server.bulk.reindexing import reindex_job
from fhir_server.context import Services
from fhir_server.interactions.indexing import begin
from fhir_server.resources.job import Job, job_of
from fhir_server.settings import Settings

NOW = 1_750_000_000_000_000


@pytest.fixture(params=["sqlite", "memory"])
async def services(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Services]:
    store = f"sqlite:///{tmp_path}/osler.db" if request.param == "sqlite" else "memory:"
    made = replace(compose(Settings(store=store)), clock=lambda: NOW)
    await begin(made)
    yield made
    await made.store.close()


async def requested(services: Services, id: str, **changes: object) -> Job:
    job = replace(Job(id, "test", "requested", NOW, NOW), **changes)  # type: ignore[arg-type]
    await write_job(services, job, "POST", ())
    return job


async def read(services: Services, id: str) -> Job:
    stored = await services.store.read("Task", id)
    assert stored is not None
    job = job_of(decode_object(stored.body))
    assert job is not None
    return job


class Counted:
    """Work that counts how often each job was begun; `all` is set when that was `expected` times."""

    def __init__(self, expected: int = 1) -> None:
        self.begun: list[str] = []
        self.expected = expected
        self.all = asyncio.Event()

    async def __call__(self, handle: JobHandle, services: Services) -> None:
        self.begun.append(handle.job.id)
        await handle.advance(done=handle.job.done + 1)
        if len(self.begun) == self.expected:
            self.all.set()


async def test_jobs_are_done_in_the_order_in_which_they_came(services: Services) -> None:
    work = Counted()
    for id in ("b", "a", "c"):
        await requested(services, id)
    await requested(services, "unknown", kind="other")
    runner = JobRunner({"test": work})
    runner.wake(services)
    await runner.idle()
    assert work.begun == ["b", "a", "c"]
    job = await read(services, "a")
    assert (job.status, job.done) == ("completed", 1)
    assert (await read(services, "unknown")).status == "requested"


async def test_a_job_asked_for_while_another_is_done_is_done_after_it(services: Services) -> None:
    begun: list[str] = []
    runner: JobRunner

    async def work(handle: JobHandle, services: Services) -> None:
        begun.append(handle.job.id)
        if handle.job.id == "first":
            await requested(services, "second")
            runner.wake(services)

    runner = JobRunner({"test": work})
    await requested(services, "first")
    runner.wake(services)
    await runner.idle()
    assert begun == ["first", "second"]


async def test_two_processes_do_each_job_once(services: Services) -> None:
    work = Counted(10)
    ids = [f"j{n}" for n in range(10)]
    for id in ids:
        await requested(services, id)
    runners = [JobRunner({"test": work}) for _ in range(2)]
    for runner in runners:
        runner.wake(services)
    await work.all.wait()
    for runner in runners:
        await runner.close()
    assert sorted(work.begun) == sorted(ids)
    # one that was begun when the other stopped is completed, or would be handed back
    assert {(await read(services, id)).status for id in ids} == {"completed"}


async def test_a_job_that_another_process_renews_is_left_to_it_until_it_does_not(services: Services) -> None:
    work = Counted()
    await requested(services, "theirs", status="in-progress", modified=NOW - LEASE + 1_000_000)
    await requested(services, "dead", status="in-progress", modified=NOW - LEASE, done=7)
    runner = JobRunner({"test": work})
    runner.wake(services)
    await work.all.wait()
    await runner.close()
    assert work.begun == ["dead"]
    assert (await read(services, "dead")).done == 8
    assert (await read(services, "dead")).status == "completed"
    assert (await read(services, "theirs")).status == "in-progress"


async def test_a_runner_that_stops_hands_its_job_back_with_its_place(services: Services) -> None:
    going = asyncio.Event()

    async def work(handle: JobHandle, services: Services) -> None:
        while True:
            await handle.advance(done=handle.job.done + 1, cursor=handle.job.done + 1)
            going.set()
            await asyncio.sleep(0)

    await requested(services, "long")
    runner = JobRunner({"test": work})
    runner.wake(services)
    await going.wait()
    await runner.close()
    job = await read(services, "long")
    assert job.status == "requested"
    assert job.done == job.cursor > 0


async def test_a_job_ends_when_its_task_is_cancelled(services: Services) -> None:
    async def work(handle: JobHandle, services: Services) -> None:
        cancelled = replace(handle.job, status="cancelled")
        await write_job(services, cancelled, "PUT", ())
        await handle.save()
        raise AssertionError("the job goes on")

    await requested(services, "c")
    runner = JobRunner({"test": work})
    runner.wake(services)
    await runner.idle()
    assert (await read(services, "c")).status == "cancelled"


async def test_a_job_that_fails_says_so_without_details(services: Services) -> None:
    async def work(handle: JobHandle, services: Services) -> None:
        raise ValueError("Mr Osler")

    await requested(services, "f")
    runner = JobRunner({"test": work})
    runner.wake(services)
    await runner.idle()
    job = await read(services, "f")
    assert job.status == "failed"
    assert job.reason == "ValueError after 0 resources."


async def test_progress_is_written_now_and_then(services: Services) -> None:
    now = NOW

    def clock() -> int:
        nonlocal now
        now += 1_000_000
        return now

    ticking = replace(services, clock=clock)

    async def work(handle: JobHandle, services: Services) -> None:
        for _ in range(20):
            await handle.advance(done=handle.job.done + 1)

    shown: list[int] = []
    job = await do_at_once(ticking, reindex_job(ticking), work, lambda job: shown.append(job.done))
    assert shown == list(range(1, 21))
    stored = await services.store.read("Task", job.id)
    assert stored is not None
    assert stored.version == 6


def test_a_task_that_somebody_has_spoilt_is_no_job() -> None:
    task = Job("j", "test", "requested", NOW, NOW, ("Patient",), "SearchParameter/x").as_task()
    assert job_of(task) == Job("j", "test", "requested", NOW, NOW, ("Patient",), "SearchParameter/x")
    assert job_of({**task, "code": {"text": "something else"}}) is None
    for member in ("authoredOn", "output"):
        assert job_of({k: v for k, v in task.items() if k != member}) is None
    wrong = [{**o, "valueString": "x"} if "valueString" in o else o for o in task["output"]]
    assert job_of({**task, "output": wrong}) is None
