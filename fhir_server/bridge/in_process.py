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
from fhir_server.bridge.asking import Asking
from fhir_server.context import Actor, FhirRequest, FhirResponse, Resource
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.interactions.transaction import transaction
from fhir_server.store.protocol import Stale
from hl7_bridge.delivery import Overtaken, Query, Refused, Unreachable

ACTOR = Actor("hl7-bridge")
# where relative references are relative to, when no setting says it
BASE = "http://localhost/fhir"
# who delivers knows what it has sent
MINIMAL = {"prefer": "return=minimal"}

T = TypeVar("T")


class InProcess:
    """A `FhirServer`."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._base = dispatch.services.settings.base_url or BASE
        request = FhirRequest(method="GET", path=(), base=self._base, actor=ACTOR)
        self._asking = Asking(dispatch.services, request)

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        most = min(limit, self._dispatch.services.settings.max_page)
        return await self._answered(lambda: self._asking.find(type, tuple(query), most))

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
