"""What became of the messages to other systems, in figures for each destination.

An invariant to keep: every message that was made is in one of these states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fhir_r4.jsonio import decode_object
from fhir_server.context import Services
from fhir_server.search.tree import Expression, Not, SearchQuery, SortKey, TokenIs, all_of
from hl7_bridge.outgoing import DESTINATION

# the status of the Communication by what it means
STATES = {"waiting": "preparation", "held": "on-hold", "dead": "not-done", "acknowledged": "completed"}
MOST_DESTINATIONS = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """Messages to one destination by state; when the last one was acknowledged, in microseconds since 1970, None: never."""

    states: dict[str, int]
    last: int | None


async def figures_of(services: Services, names: Iterable[str] = ()) -> dict[str, Sent]:
    """The figures of the destinations in `names`, and of all that messages were made for. Raises Unavailable."""
    every = dict.fromkeys((*names, *await _destinations(services)))
    return {name: await _figures(services, name) for name in every}


async def _figures(services: Services, name: str) -> Sent:
    here = TokenIs("_tag", DESTINATION, name)
    counted = {}
    for state, status in STATES.items():
        query = SearchQuery(("Communication",), _with(here, status), count=0, total="accurate")
        counted[state] = (await services.store.search(query)).total or 0
    newest = SearchQuery(
        ("Communication",),
        _with(here, STATES["acknowledged"]),
        (SortKey("_lastUpdated", "date", descending=True),),
        count=1,
    )
    page = await services.store.search(newest)
    return Sent(counted, page.matches[0].updated if page.matches else None)


def _with(where: Expression, status: str) -> Expression:
    return all_of([where, TokenIs("status", None, status)])


async def _destinations(services: Services) -> list[str]:
    """The names of the destinations that messages were made for."""
    names: list[str] = []
    while len(names) < MOST_DESTINATIONS:
        others = [Not(TokenIs("_tag", DESTINATION, name)) for name in names]
        where = all_of([TokenIs("_tag", DESTINATION, None), *others])
        ids = await services.store.matching_ids("Communication", where, 1)
        stored = await services.store.read("Communication", ids[0]) if ids else None
        if stored is None or stored.deleted:
            break
        tags = decode_object(stored.body).get("meta", {}).get("tag", ())
        names += [one["code"] for one in tags if one.get("system") == DESTINATION]
    return names
