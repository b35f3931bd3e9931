"""Which search parameters are in force, and for which of them every resource is indexed.

SearchParameter resources are followed as they are committed, by this process or another: a search asks the store for the
sequence of the newest one, and every write has it as a precondition. An invariant to keep: a resource is never committed
with index entries of other parameters than those in force at its commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from fhir_r4.errors import Issue
from fhir_r4.jsonio import decode_object
from fhir_server.context import Services
from fhir_server.resources.job import Job, job_of, unfinished
from fhir_server.search.contained import outer_type
from fhir_server.search.custom import InForce, Key, Version
from fhir_server.search.tree import SearchQuery
from fhir_server.search.usage import parameters_used
from fhir_server.store.records import HistoryQuery, NewestIs, Stored

SEARCH_PARAMETER = "SearchParameter"
REINDEX = "reindex"


async def begin(services: Services) -> InForce:
    """Open the store and take in the search parameters that it keeps."""
    await services.store.open()
    return await _take_in(services)


async def follow(services: Services) -> InForce:
    """The parameters in force now, with every SearchParameter that was committed meanwhile."""
    current = services.registry.current
    if await services.store.last_sequence(SEARCH_PARAMETER) == current.sequence:
        return current
    return await _take_in(services)


def newest(in_force: InForce) -> NewestIs:
    """The precondition that no SearchParameter was written since."""
    return NewestIs(SEARCH_PARAMETER, in_force.sequence)


async def _take_in(services: Services) -> InForce:
    registry = services.registry
    before = registry.current
    versions = await _versions_after(services, before.sequence)
    made = before
    if versions:
        made = registry.of(before.custom.after([_version(v) for v in versions], registry.standard))
    made = replace(made, pending=await find_pending(services, made))
    # another task may have come further while this one waited
    if made.sequence >= registry.current.sequence:
        registry.current = made
    return registry.current


def _version(stored: Stored) -> Version:
    return stored.sequence, stored.id, None if stored.deleted else decode_object(stored.body)


async def _versions_after(services: Services, sequence: int) -> list[Stored]:
    """The versions of SearchParameters above a sequence, in order."""
    found: list[Stored] = []
    cursor: str | None = None
    while True:
        page = await services.store.history(HistoryQuery(SEARCH_PARAMETER, count=500, cursor=cursor))
        found += [version for version in page.versions if version.sequence > sequence]
        cursor = page.next
        if cursor is None or page.versions[-1].sequence <= sequence:
            return found[::-1]


async def find_pending(services: Services, in_force: InForce) -> frozenset[Key]:
    """The (type, code) for which resources may lack entries. What has no resources at all is marked as indexed."""
    indexed = await services.store.indexed_fingerprints()
    missing = {name: text for name, text in in_force.fingerprints().items() if indexed.get(name) != text}
    if not missing:
        return frozenset()
    counts = await services.store.counts(contained=True)
    there = {outer_type(type) for type, number in counts.items() if number}
    complete = {name: text for name, text in missing.items() if name.partition(".")[0] not in there}
    if complete:
        await services.store.set_fingerprints(complete)
    return frozenset(_key(name) for name in missing if name not in complete)


def _key(name: str) -> Key:
    type, _, code = name.partition(".")
    return type, code


async def refresh_pending(services: Services) -> InForce:
    """The parameters in force, with what has been indexed meanwhile."""
    current = services.registry.current
    pending = await find_pending(services, current)
    if services.registry.current is current:
        services.registry.current = replace(current, pending=pending)
    return services.registry.current


def digest(fingerprints: Mapping[str, str]) -> str:
    """A short text for a set of fingerprints: work that was based on another set is not to be gone on with."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(fingerprints.items()))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


# Telling


async def find_jobs(services: Services, kind: str) -> list[tuple[Job, Stored]]:
    """The jobs that wait or are being done, the oldest first."""
    query = SearchQuery(("Task",), unfinished(kind), count=100)
    page = await services.store.search(query)
    found = ((job_of(decode_object(stored.body)), stored) for stored in page.matches)
    return [(job, stored) for job, stored in found if job is not None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the index of a type is: the job that does it, None when nobody does."""

    job: Job | None

    def __str__(self) -> str:
        if self.job is None:
            return f"not being indexed: POST {SEARCH_PARAMETER}/[id]/${REINDEX} or ${REINDEX} does it"
        if self.job.status == "requested":
            return "waiting to be indexed"
        return f"indexing, {self.job.done} of {self.job.total} resources done"


def progress_of(type: str, jobs: Collection[tuple[Job, Stored]]) -> Progress:
    """What is being done for the index of a type."""
    about = [job for job, _ in jobs if not job.types or type in job.types]
    return Progress(next((j for j in about if j.status == "in-progress"), about[0] if about else None))


async def incomplete(services: Services, query: SearchQuery) -> list[Issue]:
    """Warnings that name the parameters of the search for which some resources may not be indexed yet."""
    if not services.registry.current.pending:
        return []
    used = parameters_used(query, services.parameters)
    if not _affected(used, services.registry.current.pending):
        return []
    affected = _affected(used, (await refresh_pending(services)).pending)
    if not affected:
        return []
    jobs = await find_jobs(services, REINDEX)
    return [
        Issue(
            "warning",
            "incomplete",
            f"The search parameter {code} of {type} is not fully indexed ({progress_of(type, jobs)}): "
            "resources that were written before it came may be missing here.",
            (code,),
        )
        for type, code in affected
    ]


def _affected(used: Collection[Key], pending: frozenset[Key]) -> list[Key]:
    """The parameters that are used and pending; a use for '' is one for any type."""
    anywhere = {code for type, code in used if type == ""}
    return sorted(key for key in pending if key in used or key[1] in anywhere)
