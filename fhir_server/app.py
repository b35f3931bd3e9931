"""Composition: the only file, with the command line, that names concrete classes. Nothing happens at import time."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fhir_r4.errors import InvalidRequest
from fhir_server.bulk.conformance import publish_conformance
from fhir_server.context import Services, now_microseconds
from fhir_server.http.dispatcher import FhirDoor
from fhir_server.http.errors import answer_error
from fhir_server.http.metrics import Metrics
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.logs import RequestLog
from fhir_server.operations.catalogue import operation_table
from fhir_server.search.extract import Extractor
from fhir_server.search.parameters import Parameters
from fhir_server.settings import Settings
from fhir_server.store.protocol import Store
from profiles.structure import StructuralValidator
from terminology.local import LocalTerminology

PREFIX = "/fhir"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def open_store(address: str) -> Store:
    """The store at `address`: `sqlite:///relative/file`, `sqlite:////absolute/file` or `memory:`.

    Raises InvalidRequest for any other address.
    """
    if address == "memory:":
        from fhir_server.store.memory import MemoryStore

        return MemoryStore()
    if address.startswith("sqlite:///"):
        from fhir_server.store.sqlite.store import SqliteStore

        return SqliteStore(Path(address.removeprefix("sqlite:///")))
    raise InvalidRequest(f"The store {address!r} is not known; expected sqlite:///FILE or memory:.")


def compose(settings: Settings, store: Store | None = None) -> Services:
    """The services of a server with these settings. The store is not opened yet."""
    parameters = Parameters()
    return Services(
        store=open_store(settings.store) if store is None else store,
        validator=StructuralValidator(),
        terminology=LocalTerminology(),
        parameters=parameters,
        extractor=Extractor(parameters, zone=settings.default_timezone, local_bases=local_bases(settings)),
        settings=settings,
        operations=operation_table(),
        started=now_microseconds(),
    )


def local_bases(settings: Settings) -> tuple[str, ...]:
    """The addresses under which references mean this server's own resources."""
    return (settings.base_url,) if settings.base_url else ()


class Application:
    """The ASGI application: the FHIR door under /fhir, everything else by FastAPI, built when it is first asked for."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.services = services
        self.metrics = Metrics()
        self.dispatch = Dispatch(services, answer_error)
        tell = RequestLog(settings.log_format).tell if settings.log_level in ("debug", "info") else None
        self.door = FhirDoor(self.dispatch, settings, self.metrics, tell, PREFIX)
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

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.services.store.open()
            await publish_conformance(self.services)
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        sys.setswitchinterval(0.00002)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.services.store.close()
        await send({"type": "lifespan.shutdown.complete"})


def tune_interpreter() -> None:
    """Settings of the interpreter for a server: what is loaded now lives as long as the process.

    The collector leaves it alone from here on, and looks for cycles less often: a bundle makes ten thousand dicts and no
    cycle. The writer thread gets the interpreter's lock within half a millisecond when the event loop is busy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 20, 50)
    sys.setswitchinterval(0.0005)


def create_app(settings: Settings | None = None, store: Store | None = None) -> Application:
    """The application for `settings` (by default from the OSLER_* variables)."""
    settings = Settings() if settings is None else settings
    logging.captureWarnings(True)
    return Application(settings, compose(settings, store))
