"""How many matches a search has, about: counted up to a bound, beyond it projected from a sample.

The sample is spread over the resources by creation, so the same state always gives the same estimate; not at equal steps,
because what is written together again and again (the resources of a patient) would be met at the same place each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.search.contained import is_contained
from fhir_server.search.tree import Expression
from fhir_server.store.mongo.indexes import ORDER, SEQUENCE
from fhir_server.store.mongo.links import Links
from fhir_server.store.mongo.selection import Selection
from fhir_server.store.mongo.snapshots import Snapshot

COUNTED = 2_000
SAMPLE = 1_000
# its multiples are spread evenly between the integers
_GOLDEN = 0.6180339887


async def estimated(
    snapshot: Snapshot, links: Links, selections: Sequence[Selection], where: Expression
) -> tuple[int, bool]:
    """The number of matches of the selections, and whether it is a guess."""
    counted = 0
    for selection in selections:
        counted += await selection.counted(COUNTED + 1 - counted)
        if counted > COUNTED:
            return await _projected(snapshot, links, selections, where, counted)
    return counted, False


async def _projected(
    snapshot: Snapshot, links: Links, selections: Sequence[Selection], where: Expression, least: int
) -> tuple[int, bool]:
    highest = await snapshot.last_sequence()
    places = _spread(highest)
    held = 0
    for selection in selections:
        # what is contained is sampled by the versions of its containers
        path, hint = ("s", SEQUENCE) if is_contained(selection.type) else ("c", ORDER)
        sampled = {"d": False, path: {"$in": places}}
        found = await snapshot.find(selection.type, sampled, {"_id": 1}, hint=hint)
        held += len(await links.holding(selection.type, where, {one["_id"] for one in found}))
    return max(least, round(held / len(places) * highest)), True


def _spread(highest: int) -> list[int]:
    """Some numbers from 1 to `highest`, one in each stretch of equal length."""
    if highest <= SAMPLE:
        return list(range(1, highest + 1))
    step = highest / SAMPLE
    return [1 + int((n + n * _GOLDEN % 1) * step) for n in range(SAMPLE)]
