"""Carry out the jobs that are kept as Task resources, one after the other, in the background of a server.

Several processes may share a store. A job belongs to the process that put it in progress for as long as it renews the
Task; each change is made to the version last seen, so two processes never both have it. An invariant to keep: a job that
is left off, for whatever reason, goes on where its Task says. Whoever sets a Task to `cancelled` ends its job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import structlog

from fhir_r4.errors import Unavailable
from fhir_r4.jsonio import decode_object
from fhir_server.context import Services
from fhir_server.interactions.writing import commit, prepare
from fhir_server.resources.job import Job, job_of, touched, unfinished
from fhir_server.search.tree import SearchQuery
from fhir_server.store.protocol import Stale
from fhir_server.store.records import MatchesAre, Precondition, Stored, VersionIs

log = structlog.get_logger("osler.jobs")

SECOND = 1_000_000
# A job whose Task was not renewed for so long belongs to nobody.
LEASE = 30 * SECOND
RENEWED_AFTER = 5 * SECOND
RETRY_SECONDS = 1.0


class Interrupted(Exception):
    """The job is to be left off: the server stops, or the Task is not this process's any more."""


class JobHandle:
    """A job that this process has in progress; `job` is its present state, `progress` is called with it."""

    def __init__(
        self,
        services: Services,
        job: Job,
        version: int,
        stopping: Callable[[], bool] = lambda: False,
        progress: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self.job = job
        self._progress = progress
        self._services = services
        self._version = version
        self._saved = job.modified
        self._stopping = stopping

    async def advance(self, **changes: Any) -> None:
        """Note what was done; now and then it is written down. Raises Interrupted when the job is to be left off."""
        self.job = touched(self.job, self._services.clock(), **changes)
        self._progress(self.job)
        if self._stopping():
            raise Interrupted
        if self.job.modified - self._saved >= RENEWED_AFTER:
            await self.save()

    async def save(self) -> None:
        """Write the Task. Raises Interrupted when somebody else has changed it."""
        expected = VersionIs("Task", self.job.id, self._version)
        try:
            self._version = (await write_job(self._services, self.job, "PUT", [expected])).version
        except Stale as stale:
            raise Interrupted from stale
        self._saved = self.job.modified

    async def finish(self, **changes: Any) -> None:
        """Write the last state of the job."""
        self.job = touched(self.job, self._services.clock(), **changes)
        with suppress(Interrupted):
            await self.save()


Work = Callable[[JobHandle, Services], Awaitable[None]]


async def write_job(
    services: Services, job: Job, method: Literal["POST", "PUT"], preconditions: Sequence[Precondition]
) -> Stored:
    """Write the job's Task. Raises Stale."""
    task = job.as_task()
    (stored,), _ = await commit(services, [prepare(services, method, task, job.id)], preconditions, [task])
    return stored


async def request_unless_waiting(services: Services, job: Job) -> Stored | None:
    """Write the Task of a new job unless one of its kind is unfinished already."""
    with suppress(Stale):
        return await write_job(services, job, "POST", [MatchesAre("Task", unfinished(job.kind), ())])
    return None


async def do_at_once(services: Services, job: Job, work: Work, progress: Callable[[Job], None]) -> Job:
    """Do a new job in the foreground; its last state. When it is broken off, a server goes on with it."""
    begun = touched(job, services.clock(), status="in-progress")
    stored = await write_job(services, begun, "POST", ())
    handle = JobHandle(services, begun, stored.version, progress=progress)
    await work(handle, services)
    await handle.finish(status="completed")
    return handle.job


class JobRunner:
    """Does the jobs of some kinds; `works` says how. Used by one event loop."""

    def __init__(self, works: Mapping[str, Work]) -> None:
        self._works = works
        self._running: asyncio.Task[None] | None = None
        self._again = False
        self._stop = asyncio.Event()

    def wake(self, services: Services) -> None:
        """See to the jobs that wait, in the background."""
        self._again = True
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run(services))

    async def close(self) -> None:
        """Leave off; what is in progress is handed back, to be gone on with at the next start."""
        self._stop.set()
        if self._running is not None:
            await self._running
            self._running = None

    async def idle(self) -> None:
        """Wait until there is nothing to do any more."""
        if self._running is not None:
            await self._running

    async def _run(self, services: Services) -> None:
        while self._again and not self._stop.is_set():
            self._again = False
            try:
                while not self._stop.is_set() and await self._do_next(services):
                    pass
            except Unavailable as error:
                log.warning("jobs wait for the store", reason=str(error))
                self._again = True
                await self._pause(RETRY_SECONDS)
            except Exception as error:
                log.error("jobs stopped", exception=type(error).__qualname__)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _do_next(self, services: Services) -> bool:
        """Do the oldest job that can be done, or wait for the owner of one; False when there is none."""
        page = await services.store.search(SearchQuery(("Task",), unfinished(), count=100))
        wait: int | None = None
        for stored in page.matches:
            job = job_of(decode_object(stored.body))
            if job is None or job.kind not in self._works:
                continue
            left = job.modified + LEASE - services.clock() if job.status == "in-progress" else 0
            if left <= 0:
                await self._take(services, job, stored.version)
                return True
            wait = left if wait is None else min(left, wait)
        if wait is None:
            return False
        await self._pause(wait / SECOND)
        return True

    async def _take(self, services: Services, job: Job, version: int) -> None:
        taken = touched(job, services.clock(), status="in-progress")
        handle = JobHandle(services, taken, version, self._stop.is_set)
        with suppress(Interrupted):
            await handle.save()
            await self._carry_out(services, handle)

    async def _carry_out(self, services: Services, handle: JobHandle) -> None:
        job = handle.job
        log.info("job begins", kind=job.kind, task=job.id, done=job.done)
        try:
            await self._works[job.kind](handle, services)
        except Interrupted:
            if self._stop.is_set():
                await handle.finish(status="requested")
            log.info("job left off", kind=job.kind, task=job.id, done=handle.job.done)
            raise
        except Unavailable:
            # it stays in progress; the next look finds it when its lease has ended
            raise
        except Exception as error:
            # the message may hold patient data
            name = type(error).__qualname__
            log.error("job failed", kind=job.kind, task=job.id, exception=name)
            await handle.finish(status="failed", reason=f"{name} after {handle.job.done} resources.")
        else:
            await handle.finish(status="completed")
            log.info("job completed", kind=job.kind, task=job.id, done=handle.job.done)
