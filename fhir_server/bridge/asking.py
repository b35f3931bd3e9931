"""What messages ask of the records at the same moment is one question to the store: there are many when the bridge catches up.

An invariant to keep: everybody gets what the same search alone would have found, as of a moment after it was asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fhir_r4.errors import FhirError
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirRequest, Resource, Services
from fhir_server.interactions.indexing import follow
from fhir_server.interactions.search import matching
from fhir_server.search.criteria import Criteria
from fhir_server.search.custom import InForce
from fhir_server.search.match import Candidate, NoLookup, matches
from fhir_server.search.tree import Expression, SearchQuery, all_of, any_of
from fhir_server.search.values import Reading

# types that messages ask for far more often than they are written, always by members of their own
SHARED = frozenset({"ConceptMap", "Location", "Organization", "Patient", "Practitioner"})
MOST_KEPT = 2000
# so many are asked about in one question
AT_ONCE = 32
# criteria of the resource itself, each answered by its own index entries
_PLAIN = re.compile(r"_id|[a-z][a-zA-Z-]*")

Pairs = tuple[tuple[str, str], ...]
# what a kept answer is good for: the newest version of the type, and the newest search parameter
Moment = tuple[int, int]


@dataclass(slots=True)
class Question:
    """A search of one type that somebody waits for: at most `most` resources."""

    pairs: Pairs
    most: int
    # None: it is to be asked alone
    answer: asyncio.Future[list[Resource] | None]


@dataclass(slots=True)
class _Kind:
    """The questions about a type."""

    waiting: list[Question] = field(default_factory=list)
    asking: asyncio.Task[None] | None = None
    kept: dict[tuple[Pairs, int], tuple[Moment, list[Resource]]] = field(default_factory=dict)


class Asking:
    """Searches for whoever asks; `request` is what they are made with."""

    def __init__(self, services: Services, request: FhirRequest) -> None:
        self._services = services
        self._request = request
        self._kinds: dict[str, _Kind] = {}

    async def find(self, type: str, pairs: Pairs, most: int) -> list[Resource]:
        """The first resources that match, in order of creation. Raises what a search raises."""
        pending = self._services.registry.current.pending
        if pending or not pairs or not all(_PLAIN.fullmatch(name) for name, _ in pairs):
            return await self._alone(type, pairs, most)
        kind = self._kinds.setdefault(type, _Kind())
        own = Question(pairs, most, asyncio.get_running_loop().create_future())
        kind.waiting.append(own)
        if kind.asking is None:
            kind.asking = asyncio.create_task(self._ask_all(type, kind))
        found = await own.answer
        return await self._alone(type, pairs, most) if found is None else found

    async def _ask_all(self, type: str, kind: _Kind) -> None:
        """Ask until nobody waits; what comes to wait meanwhile is asked together."""
        try:
            while kind.waiting:
                asked, kind.waiting = kind.waiting[:AT_ONCE], kind.waiting[AT_ONCE:]
                await self._ask(type, kind, [one for one in asked if not one.answer.done()])
        finally:
            kind.asking = None
            for one in kind.waiting:
                _settle(one, None)
            kind.waiting = []

    async def _ask(self, type: str, kind: _Kind, asked: Sequence[Question]) -> None:
        try:
            in_force = await follow(self._services)
            if type in SHARED:
                moment = (await self._services.store.last_sequence(type), in_force.sequence)
                asked = [one for one in asked if not _is_kept(kind, one, moment)]
                await self._answer(type, asked, in_force)
                _keep(kind, asked, moment)
            else:
                await self._answer(type, asked, in_force)
        except Exception as error:
            for one in asked:
                _settle(one, error)
        finally:
            for one in asked:
                _settle(one, None)

    async def _answer(self, type: str, asked: Sequence[Question], in_force: InForce) -> None:
        criteria = Criteria(in_force.parameters, self._reading())
        understood: list[tuple[Question, Expression]] = []
        for one in asked:
            try:
                parts = [criteria.expression((type,), name, value) for name, value in one.pairs]
            except FhirError as error:
                _settle(one, error)
                continue
            understood.append((one, all_of(parts)))
        if not understood:
            return
        most = min(self._services.settings.max_page, sum(one.most for one, _ in understood))
        query = SearchQuery((type,), any_of(where for _, where in understood), count=most)
        page = await self._services.store.search(query)
        if page.next is not None:
            # too much for one page: each by itself
            return
        found = [(decode_object(stored.body), stored) for stored in page.matches]
        if len(understood) == 1:
            _settle(understood[0][0], [resource for resource, _ in found])
            return
        extract = in_force.extractor.extract
        candidates = [
            (resource, Candidate(s.type, s.id, s.updated, n, extract(resource)))
            for n, (resource, s) in enumerate(found)
        ]
        for one, where in understood:
            own = [resource for resource, seen in candidates if matches(where, seen, NoLookup())]
            _settle(one, own[: one.most])

    def _reading(self) -> Reading:
        services = self._services
        zone = services.settings.default_timezone
        return Reading(services.clock(), zone, (self._request.base,), services.terminology)

    async def _alone(self, type: str, pairs: Pairs, most: int) -> list[Resource]:
        asked = (*pairs, ("_count", str(most)))
        return [decode_object(s.body) for s in await matching(self._request, self._services, (type,), asked)]


def _settle(one: Question, came: list[Resource] | Exception | None) -> None:
    if one.answer.done():
        return
    if isinstance(came, Exception):
        one.answer.set_exception(came)
        # who asked may have gone
        one.answer.exception()
    else:
        one.answer.set_result(came)


def _is_kept(kind: _Kind, one: Question, moment: Moment) -> bool:
    """Answer with what was found when the records were the same."""
    kept = kind.kept.get((one.pairs, one.most))
    if kept is None or kept[0] != moment:
        return False
    _settle(one, kept[1])
    return True


def _keep(kind: _Kind, asked: Sequence[Question], moment: Moment) -> None:
    if len(kind.kept) >= MOST_KEPT:
        kind.kept.clear()
    for one in asked:
        settled = one.answer.done() and not one.answer.cancelled() and one.answer.exception() is None
        if settled and (found := one.answer.result()) is not None:
            kind.kept[one.pairs, one.most] = moment, found
