"""The job that makes the index entries of stored resources anew, a stretch at a time, while the server works.

An invariant to keep: a parameter is marked as indexed only when every resource was gone through with the definition that
is in force at the end.
"""

from __future__ import annotations

import structlog

from fhir_server.bulk.jobs import JobHandle, request_unless_waiting
from fhir_server.context import Services
from fhir_server.interactions.indexing import REINDEX, digest, follow, newest, refresh_pending
from fhir_server.resources.job import Job
from fhir_server.store.protocol import Stale

log = structlog.get_logger("osler.index")

# Writers wait while the rows of a stretch are written.
STRETCH = 50


async def index_again(handle: JobHandle, services: Services) -> None:
    """Go through the resources that the job is about, from its cursor on."""
    store = services.store
    in_force = await follow(services)
    wanted = in_force.fingerprints(handle.job.types)
    basis = digest(wanted)
    if handle.job.basis != basis:
        counts = await store.counts()
        total = sum(n for type, n in counts.items() if not handle.job.types or type in handle.job.types)
        await handle.advance(basis=basis, cursor=0, done=0, changed=0, total=total)
        await handle.save()
    while True:
        job = handle.job
        try:
            made = await store.reindex(
                in_force.extractor.extract, newest(in_force), job.types, job.cursor, STRETCH
            )
        except Stale:
            in_force = await follow(services)
            continue
        done = job.done + made.resources
        await handle.advance(
            done=done,
            total=max(job.total, done),
            changed=job.changed + made.changed,
            cursor=job.cursor if made.next is None else made.next,
        )
        if made.next is None:
            break
    now = (await follow(services)).fingerprints(job.types)
    await store.set_fingerprints({name: text for name, text in wanted.items() if now.get(name) == text})
    await refresh_pending(services)


async def request_missing(services: Services) -> None:
    """At start: when resources are not indexed by the definitions of this program, ask for it and say so in the log."""
    pending = services.registry.current.pending
    if not pending:
        return
    types = tuple(sorted({type for type, _ in pending}))
    log.warning(
        "resources are not fully indexed; a job does it in the background",
        parameters=len(pending),
        types=len(types),
    )
    await request_unless_waiting(services, reindex_job(services, types))


def reindex_job(services: Services, types: tuple[str, ...] = ()) -> Job:
    """A new job for the resources of `types` (none: all)."""
    now = services.clock() // 1000 * 1000
    return Job(services.new_id(), REINDEX, "requested", now, now, types)
