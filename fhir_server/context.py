"""What a request carries through the house: the services, who asks, the request and the response.

The forms at the doors: bytes -> FhirRequest -> ... -> FhirResponse -> bytes. All are frozen. What is made for every
request is a msgspec Struct, because a frozen dataclass takes ten times as long to make (docs/adr/0007).
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from fhir_server.search.custom import Registry
from fhir_server.search.extract import Extractor
from fhir_server.search.parameters import Parameters
from fhir_server.search.rewrite import Policy
from fhir_server.settings import Settings
from fhir_server.store.protocol import Store
from profiles.validator import Validator
from terminology.service import Terminology

Resource = dict[str, Any]
T = TypeVar("T")


def now_microseconds() -> int:
    return time.time_ns() // 1000


class TimeOrderedIds:
    """Gives UUIDs of version 7 (RFC 9562) as logical ids: milliseconds, then 74 random bits.

    Ids made together stand together in the store's indexes, so a commit changes fewer pages. Randomness is read for many
    ids at once.
    """

    __slots__ = ("_hex", "_next")

    def __init__(self) -> None:
        self._hex = ""
        self._next = 0

    def __call__(self) -> str:
        at = self._next
        if at >= len(self._hex):
            self._hex = os.urandom(10 * 256).hex()
            at = 0
        self._next = at + 20
        h = self._hex[at : at + 20]
        time_hex = f"{time.time_ns() // 1_000_000:012x}"
        return f"{time_hex[:8]}-{time_hex[8:]}-7{h[:3]}-{'89ab'[int(h[3], 16) & 3]}{h[4:7]}-{h[7:19]}"


# who asks where nobody has to say who they are
ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. Until access control is built there is one: the anonymous user of a loopback server.

    `policy` says which resources the actor may see, None that it is all of them; `administrator` that the actor may look
    behind the scenes; `permissions` what besides writing the actor may do (`resources.permissions`), None that it is all.
    """

    id: str = ANONYMOUS
    policy: Policy | None = None
    administrator: bool = False
    permissions: frozenset[str] | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is somebody: not the anonymous user, who may be anybody."""
        return self.id != ANONYMOUS


class FhirRequest(Struct, frozen=True, gc=False):
    """A request on the FHIR API, free of HTTP machinery.

    `path` are the decoded segments below the base; `query` the decoded pairs in order; `headers` have lower-case names;
    `resource` is the body decoded to JSON form when it was FHIR JSON or XML, else None with the bytes in `body`; `base` is
    the address of the FHIR base as the client sees it, without a slash at the end.
    """

    method: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    resource: Resource | None = None
    base: str = ""
    actor: Actor = Actor()
    request_id: str = ""


class FhirResponse(Struct, frozen=True, gc=False):
    """An answer: a resource as JSON bytes or as a dict (one of the two, or neither), and what HTTP says about it.

    `version` and `updated` (microseconds) become ETag and Last-Modified; `location` is relative to the base;
    `media_type` is set for content that is not FHIR (Binary in raw form); `stream` gives the content piece by piece,
    for as long as the client listens.
    """

    status: int = 200
    body: bytes | None = None
    resource: Resource | None = None
    version: int | None = None
    updated: int | None = None
    location: str | None = None
    media_type: str | None = None
    stream: AsyncIterator[bytes] | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


OperationHandler = Callable[["OperationCall", "Services"], Awaitable[FhirResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A FHIR operation that this server does: where it may be called and what does it.

    `name` is without `$`; `types` are the resource types it is offered on (empty: every type, for type and instance
    level); `definition` is the canonical address of its OperationDefinition; `affects_state` forbids GET.
    """

    name: str
    definition: str
    handler: OperationHandler
    system: bool = False
    type: bool = False
    instance: bool = False
    types: tuple[str, ...] = ()
    affects_state: bool = False


@dataclass(frozen=True, slots=True)
class OperationCall:
    """An operation as it was called: on the system, a type, or an instance, with its parameters as a resource.

    `parameters` is a Parameters resource: the one that was sent, or one made of the query, or of a resource sent alone
    (as parameter `resource`).
    """

    request: FhirRequest
    parameters: Resource
    type: str | None = None
    id: str | None = None


class Jobs(Protocol):
    """What carries out the jobs that are kept as Task resources."""

    def wake(self, services: Services) -> None:
        """See to the jobs that wait, in the background."""

    async def close(self) -> None:
        """Leave off, so that the jobs go on where they were when the next server starts."""


class Views:
    """What a process keeps in memory of what is stored, each made when it is first asked for.

    A view must say at any time what the store says, whoever has written it: it follows the change feed.
    """

    def __init__(self) -> None:
        self._made: dict[Callable[[], Any], Any] = {}

    def of(self, make: Callable[[], T]) -> T:
        """The view that `make` makes: the same one each time."""
        if make not in self._made:
            self._made[make] = make()
        found: T = self._made[make]
        return found


@dataclass(frozen=True, slots=True)
class Services:
    """What interactions and operations stand on; composed in `fhir_server.app` alone.

    `clock` gives microseconds since 1970 UTC, `started` is its value at composition; `new_id` gives a fresh logical id;
    `operations` is the one table of operations by name; `registry` holds the search parameters in force, which change
    while the server runs: ask for `parameters` and `extractor` anew at each request.
    """

    store: Store
    validator: Validator
    terminology: Terminology
    registry: Registry
    settings: Settings
    operations: Mapping[str, tuple[Operation, ...]]
    jobs: Jobs
    started: int
    clock: Callable[[], int] = now_microseconds
    new_id: Callable[[], str] = field(default_factory=TimeOrderedIds)
    views: Views = field(default_factory=Views)

    @property
    def parameters(self) -> Parameters:
        return self.registry.current.parameters

    @property
    def extractor(self) -> Extractor:
        return self.registry.current.extractor
