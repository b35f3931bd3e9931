"""This server as the bridge knows it: the same dispatch that HTTP uses, without HTTP.

So every rule, claim, manner and index entry holds for what messages say, as for any other client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fhir_r4.errors import (
    Conflict,
    FhirError,
    Gone,
    MultipleMatches,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from fhir_r4.jsonio import decode_object
from fhir_server.context import Actor, FhirRequest, FhirResponse, Resource, Services
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.interactions.indexing import follow
from fhir_server.interactions.search import matching
from fhir_server.interactions.transaction import transaction
from fhir_server.store.protocol import Stale
from hl7_bridge.delivery import Overtaken, Query, Refused, Unreachable

ACTOR = Actor("hl7-bridge")
# where relative references are relative to, when no setting says it
BASE = "http://localhost/fhir"
# who delivers knows what it has sent
MINIMAL = {"prefer": "return=minimal"}
# types that messages ask for far more often than they are written, always by members of their own
SHARED = frozenset({"ConceptMap", "Location", "Organization", "Patient", "Practitioner"})
MOST_KEPT = 2000

T = TypeVar("T")
Pairs = tuple[tuple[str, str], ...]


class Kept:
    """What was found of records that many messages share, as long as no resource of the type was written since."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Pairs], tuple[tuple[int, int], list[Resource]]] = {}

    async def asked(
        self, services: Services, type: str, query: Pairs, ask: Callable[[], Awaitable[list[Resource]]]
    ) -> list[Resource]:
        """What `ask` gives, or gave when the records and the search parameters were the same."""
        parameters = await follow(services)
        now = (await services.store.last_sequence(type), parameters.sequence)
        kept = self._found.get((type, query))
        if kept is not None and kept[0] == now:
            return kept[1]
        found = await ask()
        if len(self._found) >= MOST_KEPT:
            self._found.clear()
        self._found[type, query] = (now, found)
        return found


class InProcess:
    """A `FhirServer`."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._base = dispatch.services.settings.base_url or BASE
        self._kept = Kept()

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        services = self._dispatch.services
        most = min(limit, services.settings.max_page)
        pairs: Pairs = (*query, ("_count", str(most)))
        request = FhirRequest(method="GET", path=(type,), query=pairs, base=self._base, actor=ACTOR)

        async def ask() -> list[Resource]:
            return [decode_object(s.body) for s in await matching(request, services, (type,), pairs)]

        if type not in SHARED:
            return await self._answered(ask)
        return await self._answered(lambda: self._kept.asked(services, type, pairs, ask))

    async def read(self, type: str, id: str) -> Resource | None:
        request = FhirRequest(method="GET", path=(type, id), base=self._base, actor=ACTOR)
        try:
            return _resource(await self._answered(lambda: self._dispatch(request)))
        except Refused as refused:
            if refused.status in (404, 410):
                return None
            raise

    async def deliver(self, bundle: Resource) -> Resource:
        request = FhirRequest(
            method="POST", path=(), headers=MINIMAL, resource=bundle, base=self._base, actor=ACTOR
        )
        dispatch = self._dispatch
        # a draft has looked for what it creates
        return _resource(
            await self._answered(
                lambda: transaction(request, dispatch.services, dispatch, dispatch.answer_error, looked=True)
            )
        )

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        # nothing else has its turn while the store answers at once
        await asyncio.sleep(0)
        try:
            return await ask()
        except Unavailable as error:
            raise Unreachable(str(error)) from error
        except (NotFound, Gone) as error:
            raise self._refused(error) from error
        except Stale as error:
            raise Overtaken from error
        except FhirError as error:
            if overtaken(error):
                raise Overtaken(str(error)) from error
            raise self._refused(error) from error

    def _refused(self, error: FhirError) -> Refused:
        answer = self._dispatch.answer_error(error)
        return Refused(error.status, answer.resource or {})


def overtaken(error: FhirError) -> bool:
    """Whether a refusal says only that something was changed in between."""
    if isinstance(error, MultipleMatches):
        return False
    return isinstance(error, PreconditionFailed) or (
        isinstance(error, Conflict) and isinstance(error.__cause__, Stale)
    )


def _resource(answer: FhirResponse) -> Resource:
    if answer.resource is not None:
        return answer.resource
    return decode_object(answer.body or b"{}")
