"""The stored history held against the journal: nothing acknowledged is lost, nothing is half-written or made up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.scenarios.journal import KEYS, Journal, Resource, Version, Write, mark_of
from tests.scenarios.writers import etag_of

PAGE = 1000
READ_AGAIN = 40


@dataclass(slots=True)
class History:
    """Every version that the server has: its resource, None for a deletion."""

    versions: dict[Version, Resource | None] = field(default_factory=dict)
    marks: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))


async def read_history(client: httpx.AsyncClient, problems: list[str]) -> History:
    """The whole history of the system, page by page."""
    history = History()
    url: str | None = f"_history?_count={PAGE}"
    total = 0
    while url is not None:
        response = await client.get(url)
        response.raise_for_status()
        page = response.json()
        total = page["total"]
        for entry in page.get("entry", ()):
            version = entry_version(entry)
            if version in history.versions:
                problems.append(f"{version} is in the history twice")
            resource = history.versions[version] = entry.get("resource")
            mark = None if resource is None else mark_of(resource)
            if mark is not None:
                history.marks[mark].append(version)
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    if total != len(history.versions):
        problems.append(f"the history says it has {total} versions and shows {len(history.versions)}")
    return history


def entry_version(entry: dict[str, Any]) -> Version:
    """Type, id and version of a history entry."""
    number = int(entry["response"]["etag"].removeprefix('W/"').removesuffix('"'))
    if "resource" in entry:
        return entry["resource"]["resourceType"], entry["resource"]["id"], number
    type, id = entry["request"]["url"].split("/")[-2:]
    return type, id, number


async def verify(base: str, journal: Journal) -> list[str]:
    """Everything that is wrong with what the server at `base` has."""
    problems = list(journal.unexpected)
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        history = await read_history(client, problems)
        problems += gaps(history)
        problems += wrong_current(history, await current_states(client, journal, history))
    for write in journal.writes:
        problems += faults(write, history)
    problems += repeated_keys(history)
    known = {mark for write in journal.writes for mark in write.sent}
    problems += [f"nobody sent {mark}" for mark in history.marks if mark not in known]
    return problems


def gaps(history: History) -> Iterator[str]:
    """Resources whose versions are not 1, 2, 3 and so on."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for type, id, number in history.versions:
        numbers[type, id].append(number)
    for (type, id), found in numbers.items():
        # The newest come first; sorting would hide a version in the wrong place.
        if found != list(range(len(found), 0, -1)):
            yield f"{type}/{id} has the versions {found}"


async def current_states(
    client: httpx.AsyncClient, journal: Journal, history: History
) -> dict[tuple[str, str], tuple[int, int]]:
    """Status and version that a read gives, for the resources that were written last."""
    recent = [key[:2] for write in journal.acknowledged[-READ_AGAIN:] for key in write.acknowledged or ()]
    found = {}
    for type, id in dict.fromkeys(recent):
        response = await client.get(f"{type}/{id}")
        found[type, id] = (response.status_code, etag_of(response) if "etag" in response.headers else 0)
    return found


def wrong_current(history: History, current: dict[tuple[str, str], tuple[int, int]]) -> Iterator[str]:
    """Reads that do not give the newest version of the history."""
    newest: dict[tuple[str, str], int] = {}
    for type, id, number in history.versions:
        newest[type, id] = max(number, newest.get((type, id), 0))
    for key, (status, version) in current.items():
        last = newest.get(key, 0)
        wanted = 404 if not last else 410 if history.versions[(*key, last)] is None else 200
        if status != wanted or (last and version != last):
            yield f"a read of {'/'.join(key)} gives {status}, version {version}; the history ends with {last}"


def faults(write: Write, history: History) -> Iterator[str]:
    """What is wrong with one write: lost, half there, twice there, or other content than was sent."""
    stored = {mark: history.marks.get(mark, []) for mark in write.sent}
    count = sum(map(len, stored.values()))
    if any(len(versions) > 1 for versions in stored.values()):
        yield f"a {write.kind} was written more than once: {stored}"
    if count and len(write.sent) > count:
        yield f"a {write.kind} is half-written: {count} of {len(write.sent)} resources"
    for mark, versions in stored.items():
        for version in versions:
            resource = history.versions[version]
            assert resource is not None
            if content(resource) != content(write.sent[mark]):
                yield f"{version} has other content than was sent as {mark}"
    if write.refused and count:
        yield f"a {write.kind} was answered 503 and is written all the same: {stored}"
    yield from lost(write, history)
    if write.kind == "transaction" and count:
        yield from torn_references(write, history)


def lost(write: Write, history: History) -> Iterator[str]:
    """Acknowledged versions that are not there, or are not what was acknowledged."""
    if write.acknowledged is None:
        return
    for version in write.acknowledged:
        if version not in history.versions:
            yield f"acknowledged and lost: {write.kind} of {version}"
    if write.kind == "delete":
        found = [v for v in write.acknowledged if history.versions.get(v) is not None]
        yield from (f"acknowledged as deleted, yet there: {v}" for v in found)
    elif write.kind == "conditional create":
        for version in write.acknowledged:
            resource = history.versions.get(version)
            if resource is not None and write.key not in keys_of(resource):
                yield f"{version} was given for the key {write.key}, which it does not have"
    else:
        made = {v for mark in write.sent for v in history.marks.get(mark, ())}
        if made != set(write.acknowledged):
            yield f"{write.kind} was acknowledged as {write.acknowledged} and is stored as {sorted(made)}"


def torn_references(write: Write, history: History) -> Iterator[str]:
    """Observations of a transaction that do not refer to the Patient of the same transaction."""
    made = [v for mark in write.sent for v in history.marks.get(mark, ())]
    patient = next(
        (f"Patient/{id}" for type, id, _ in made if type == "Patient" and not id.startswith("shared")), None
    )
    for version in made:
        found = (history.versions[version] or {}).get("subject", {}).get("reference")
        if version[0] == "Observation" and found != patient:
            yield f"{version} refers to {found}, its transaction made {patient}"


def repeated_keys(history: History) -> Iterator[str]:
    """Keys of conditional creates that more than one resource has."""
    holders: dict[str, set[str]] = defaultdict(set)
    for (_, id, _), resource in history.versions.items():
        for key in keys_of(resource or {}):
            holders[key].add(id)
    yield from (f"the key {key} was created {len(ids)} times" for key, ids in holders.items() if len(ids) > 1)


def keys_of(resource: Resource) -> list[str]:
    return [str(i["value"]) for i in resource.get("identifier", ()) if i.get("system") == KEYS]


def content(resource: Resource) -> Resource:
    """The resource without what a server sets, and without references that a transaction rewrites."""
    kept = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    if str(kept.get("subject", {}).get("reference", "")).startswith(("urn:", "Patient/")):
        del kept["subject"]
    return kept
