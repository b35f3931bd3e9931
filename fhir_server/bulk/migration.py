"""Moving all that one store holds into another: every version with its sequence, time and bytes, claims and fingerprints.

The other store has nothing else, or the beginning of the same versions: then the migration goes on where it was left off.
Index entries and claims are made of the resources by the definitions that the first store holds. An invariant to keep: the
proof reads what both stores have, not what was meant to be written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fhir_r4.errors import InvalidRequest
from fhir_r4.jsonio import decode_object
from fhir_server.store.protocol import Extract, OutOfStep, Recipient, Store
from fhir_server.store.records import Claim, Copied, Stored

STRETCH = 500

ClaimsOf = Callable[[dict[str, Any]], Collection[Claim]]


class Target(Store, Recipient, Protocol):
    """A store that can be copied into."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What both stores hold: versions, live resources by type, and the SHA-256 over all versions in order."""

    versions: int
    resources: Mapping[str, int]
    sha256: str


async def migrate(
    source: Store,
    target: Target,
    extract: Extract,
    claims_of: ClaimsOf,
    progress: Callable[[int], None] = lambda _: None,
) -> Proof:
    """Copy what `target` does not have yet and prove that both hold the same. `progress` is told the sequence reached.

    Nobody else may write to `target`. What is written to `source` meanwhile has to be copied by another call, which takes up
    where this one ends.
    Raises InvalidRequest when `target` holds something else, or the proof fails.
    """
    after = await target.last_sequence()
    await _require_same_beginning(source, target, after)
    stretch: list[Stored] = []
    async for stored in source.changes(after):
        stretch.append(stored)
        if len(stretch) == STRETCH:
            await _copy(target, stretch, extract, claims_of)
            progress(stored.sequence)
            stretch = []
    if stretch:
        await _copy(target, stretch, extract, claims_of)
        progress(stretch[-1].sequence)
    await target.set_fingerprints(await source.indexed_fingerprints())
    return await prove(source, target)


async def _require_same_beginning(source: Store, target: Store, after: int) -> None:
    if after == 0:
        return
    here = [stored async for stored in target.changes(after - 1, 1)]
    there = [stored async for stored in source.changes(after - 1, 1)]
    if here != there:
        raise InvalidRequest(
            f"The store to migrate to has {after} versions that are not those of the other store; migrate into a new one."
        )


async def _copy(target: Target, stretch: list[Stored], extract: Extract, claims_of: ClaimsOf) -> None:
    newest = {(stored.type, stored.id): stored.version for stored in stretch}
    copied = []
    for stored in stretch:
        if stored.deleted or newest[stored.type, stored.id] != stored.version:
            copied.append(Copied(stored))
        else:
            resource = decode_object(stored.body)
            copied.append(Copied(stored, extract(resource), tuple(claims_of(resource))))
    try:
        await target.copy(copied)
    except OutOfStep as error:
        raise InvalidRequest(f"Somebody else writes to the store to migrate to. {error}") from error


async def prove(source: Store, target: Store) -> Proof:
    """Read both stores and hold them against each other. Raises InvalidRequest when they differ."""
    last = await target.last_sequence()
    if await source.last_sequence() != last:
        raise InvalidRequest("The store was written to meanwhile: stop its servers, and migrate the rest.")
    proofs = [await _proof(store, last) for store in (source, target)]
    if proofs[0] != proofs[1]:
        raise InvalidRequest(f"The stores differ: {proofs[0]} there, {proofs[1]} here.")
    if dict(await source.indexed_fingerprints()) != dict(await target.indexed_fingerprints()):
        raise InvalidRequest("The stores differ: their indexes were made by different definitions.")
    return proofs[1]


async def _proof(store: Store, last: int) -> Proof:
    digest = hashlib.sha256()
    versions = 0
    async for s in store.changes(0, last):
        about = f"{s.sequence}\0{s.type}\0{s.id}\0{s.version}\0{s.updated}\0{s.method}\0{s.created}\0{len(s.body)}\0"
        digest.update(about.encode())
        digest.update(s.body)
        versions += 1
    return Proof(versions, await store.counts(), digest.hexdigest())
