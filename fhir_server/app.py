"""Composition: the only file, with the command line, that names concrete classes. Nothing happens at import time."""

from __future__ import annotations

import gc
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir_r4.errors import InvalidRequest
from fhir_server.bulk.conformance import publish_conformance
from fhir_server.bulk.jobs import JobRunner
from fhir_server.bulk.reindexing import index_again, request_missing
from fhir_server.context import Services, now_microseconds
from fhir_server.http.dispatcher import ActorOf, FhirDoor
from fhir_server.http.errors import answer_error
from fhir_server.http.metrics import Metrics
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.interactions.indexing import REINDEX, begin
from fhir_server.logs import RequestLog
from fhir_server.operations.catalogue import operation_table
from fhir_server.search.custom import Registry
from fhir_server.settings import Settings
from fhir_server.store.addresses import MONGODB, without_secrets
from fhir_server.store.protocol import Extract, Store
from fhir_server.subscriptions.worker import Worker
from profiles.structure import StructuralValidator
from terminology.local import LocalTerminology

if TYPE_CHECKING:
    from fhir_server.bridge.running import ServerBridge

PREFIX = "/fhir"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def open_store(address: str, extract: Extract | None = None) -> Store:
    """The store at `address`: `sqlite:///relative/file`, `sqlite:////absolute/file`, `mongodb://...` or `memory:`.

    `extract` gives the index entries of a resource by the parameters in force. Raises InvalidRequest for any other address.
    """
    if address == "memory:":
        from fhir_server.store.memory import MemoryStore

        return MemoryStore()
    if address.startswith("sqlite:///"):
        from fhir_server.store.sqlite.store import SqliteStore

        return SqliteStore(Path(address.removeprefix("sqlite:///")), extract=extract)
    if address.startswith(MONGODB):
        return _mongo_store(address, extract)
    raise InvalidRequest(
        f"The store {without_secrets(address)!r} is not known; expected sqlite:///FILE, mongodb://HOSTS/DATABASE or memory:."
    )


def _mongo_store(address: str, extract: Extract | None) -> Store:
    try:
        from fhir_server.store.mongo.store import MongoStore
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            "A mongodb:// store needs the package pymongo: pip install 'osler[mongo]'."
        ) from error
    return MongoStore(address, extract=extract)


def compose(
    settings: Settings, store: Store | None = None, clock: Callable[[], int] = now_microseconds
) -> Services:
    """The services of a server with these settings. The store is not opened yet."""
    registry = Registry(settings.default_timezone, settings.local_bases)
    if store is None:
        store = open_store(settings.store, lambda resource: registry.current.extractor.extract(resource))
    return Services(
        store=store,
        validator=StructuralValidator(),
        terminology=LocalTerminology(),
        registry=registry,
        settings=settings,
        operations=operation_table(),
        jobs=JobRunner({REINDEX: index_again}),
        started=clock(),
        clock=clock,
    )


class Application:
    """The ASGI application: the FHIR door under /fhir, everything else by FastAPI, built when it is first asked for."""

    def __init__(self, settings: Settings, services: Services, actor_of: ActorOf | None = None) -> None:
        self.settings = settings
        self.services = services
        self.metrics = Metrics()
        self.dispatch = Dispatch(services, answer_error)
        tell = RequestLog(settings.log_format).tell if settings.log_level in ("debug", "info") else None
        self.door = FhirDoor(self.dispatch, settings, self.metrics, tell, PREFIX, actor_of)
        self.worker = Worker(services)
        self.bridge = _bridge(self.dispatch, settings)
        self._web: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(PREFIX) and scope["path"][5:6] in ("", "/"):
            await self.door(scope, receive, send)
        else:
            await self.web(scope, receive, send)

    @property
    def web(self) -> Any:
        if self._web is None:
            from fhir_server.http.web import create_web

            self._web = create_web(self.services, self.metrics)
        return self._web

    async def open(self) -> None:
        """Make ready to answer: the store, what the server itself keeps in it, and the jobs that were not finished."""
        await begin(self.services)
        await publish_conformance(self.services)
        await request_missing(self.services)
        self.services.jobs.wake(self.services)
        self.worker.start()
        if self.bridge is not None:
            try:
                await self.bridge.open()
            except BaseException:
                await self.close()
                raise
            self.metrics.follow(self.bridge.collector, self.bridge.count)

    async def close(self) -> None:
        if self.bridge is not None:
            await self.bridge.close()
        await self.worker.close()
        await self.services.jobs.close()
        await self.services.store.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        tune_interpreter()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})


def _bridge(dispatch: Dispatch, settings: Settings) -> ServerBridge | None:
    if settings.hl7 is None and not settings.hl7_config:
        return None
    from fhir_server.bridge.running import ServerBridge

    return ServerBridge(dispatch)


def tune_interpreter() -> None:
    """Settings of the interpreter for a server: what is loaded now lives as long as the process.

    The collector leaves it alone from here on, and looks for cycles less often: a bundle makes ten thousand dicts and no
    cycle, and looking through them took a sixth of an ingest. It may have been off until now (`cli.serve`).
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    gc.enable()


def create_app(
    settings: Settings | None = None,
    store: Store | None = None,
    actor_of: ActorOf | None = None,
    clock: Callable[[], int] = now_microseconds,
) -> Application:
    """The application for `settings` (by default from the OSLER_* variables).

    `actor_of` says who makes a request; `clock` gives microseconds since 1970 UTC, a `store` that is given has its own.
    """
    settings = Settings() if settings is None else settings
    logging.captureWarnings(True)
    return Application(settings, compose(settings, store, clock), actor_of)
