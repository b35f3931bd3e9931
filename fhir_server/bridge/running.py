"""The bridge inside the server: it begins and ends with it, and uses its store and its dispatch. docs/bridge.md"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from fhir_r4.errors import InvalidRequest, Unavailable
from fhir_server.bridge.awaited import Awaited
from fhir_server.bridge.counting import Counting
from fhir_server.bridge.in_process import InProcess
from fhir_server.bridge.metrics import BridgeCollector
from fhir_server.bridge.outbox import Outbox
from fhir_server.bridge.sent import figures_of
from fhir_server.bridge.store_journal import StoreJournal
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.settings import Settings
from hl7_bridge.bridge import Bridge, Known
from hl7_bridge.config import Address, BadConfig, Config, Connection, load_config
from hl7_bridge.delivery import Unreachable
from hl7_bridge.devices.loading import BadProfile, library
from hl7_bridge.front import Front
from hl7_bridge.journal import MICROSECONDS_OF_DAY, Journal
from hl7_bridge.journal_sqlite import SqliteJournal
from hl7_bridge.listener import Unsafe
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS

log = structlog.get_logger("osler.hl7")

# the connection of the setting `hl7`, when no file names others
ANYBODY = "hl7"
TIDY_SECONDS = 600.0


def config_from(settings: Settings) -> Config:
    """The connections of the setting `hl7_config`, and one for anybody at the port of `hl7`. Raises InvalidRequest."""
    try:
        config = load_config(Path(settings.hl7_config)) if settings.hl7_config else Config()
    except BadConfig as error:
        raise InvalidRequest(str(error)) from error
    if settings.hl7 is None:
        return config
    anybody = Connection(ANYBODY, Address(settings.host, settings.hl7))
    if config.connection(ANYBODY) is not None or any(
        one.address == anybody.address for one in config.connections
    ):
        raise InvalidRequest(
            f"{anybody.address} is the port of the setting hl7, and of a connection in the file."
        )
    return Config(
        (*config.connections, anybody),
        config.destinations,
        config.profiles,
        config.zone,
        config.resend_days,
        config.keep_days,
    )


class ServerBridge:
    """The bridge of a server process. `open` and `close` go with those of the server."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._settings = dispatch.services.settings
        self.config = config_from(self._settings)
        self._bridge: Bridge | None = None
        self._front: Front | None = None
        self._counting: Counting | None = None
        self._outbox: Outbox | None = None
        self._awaited: Awaited | None = None
        self._tidying: asyncio.Task[None] | None = None
        self.collector: BridgeCollector | None = None

    async def open(self) -> None:
        """Listen and map. Raises InvalidRequest for what cannot be listened to or used."""
        services, settings, config = self._dispatch.services, self._settings, self.config
        folder = Path(config.profiles) if config.profiles else None
        try:
            # the profiles try their samples, which takes a moment
            profiles = await asyncio.to_thread(library, folder)
        except BadProfile as error:
            raise InvalidRequest(str(error)) from error
        self._check(set(profiles))
        zone = ZoneInfo(config.zone or settings.default_timezone)
        known = Known(MAPPINGS, classify, profiles, zone)
        journal = await self._journal()
        server = InProcess(self._dispatch)
        owner = f"{socket.gethostname()}-{os.getpid()}-{services.new_id()}"
        self._bridge = Bridge(server, journal, config, known, services.clock, owner)
        self.collector = BridgeCollector(self._bridge.tallies)
        self._front = Front(self._bridge, shared=settings.workers > 1)
        await self.count()
        self._bridge.pipeline.start()
        self._awaited = Awaited(services, owner)
        await self._awaited.start()
        if config.destinations:
            self._outbox = Outbox(services, config.destinations, owner)
            await self._outbox.start()
        if config.keep_days:
            self._tidying = asyncio.create_task(self._tidy(config.keep_days))
        try:
            await self._front.open()
        except (OSError, Unsafe) as error:
            await self.close()
            raise InvalidRequest(f"HL7 v2: {error}") from error

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        if self._front is not None:
            await self._front.close()
        if self._outbox is not None:
            await self._outbox.close()
        if self._awaited is not None:
            await self._awaited.close()
        if self._bridge is not None:
            await self._bridge.pipeline.close()
            if isinstance(self._bridge.journal, SqliteJournal):
                await self._bridge.journal.close()

    async def count(self) -> None:
        """Bring the figures of the states up to date; without them while the store does not answer."""
        assert self._bridge is not None
        assert self.collector is not None
        try:
            counting = self._counting or self._bridge.journal
            self.collector.counts = await counting.counts()
            if self.config.destinations:
                names = [one.name for one in self.config.destinations]
                self.collector.sent = await figures_of(self._dispatch.services, names)
        except (Unavailable, Unreachable):
            self.collector.counts = self.collector.sent = None
        if self._front is not None:
            self.collector.wires = self._front.figures()

    def addresses(self) -> dict[str, str]:
        """Where is listened, by the names of the connections."""
        found: dict[str, str] = {}
        for address, listener in (self._front.listeners if self._front is not None else {}).items():
            names = ", ".join(c.name for c in self.config.listened()[address])
            found[names] = str(Address(address.host, listener.port))
        return found

    async def _tidy(self, days: int) -> None:
        """Let go of the messages that are done and older than so many days; one process does it."""
        assert self._bridge is not None
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            before = self._dispatch.services.clock() - days * MICROSECONDS_OF_DAY
            try:
                forgotten = 1
                while self._bridge.pipeline.owns and forgotten:
                    forgotten = await self._bridge.journal.forget(before)
            except (Unavailable, Unreachable) as error:
                log.warning("old messages are kept for now", reason=str(error)[:200])

    async def _journal(self) -> Journal:
        if self._settings.hl7_journal:
            kept = SqliteJournal(Path(self._settings.hl7_journal), self.config.resend_days)
            await kept.open()
            return kept
        journal = StoreJournal(self._dispatch.services, self.config.resend_days)
        self._counting = Counting(self._dispatch.services, journal)
        return journal

    def _check(self, profiles: set[str]) -> None:
        for one in self.config.connections:
            if one.profile not in profiles:
                known = ", ".join(sorted(profiles))
                raise InvalidRequest(
                    f"{one.name}: there is no device profile {one.profile!r}; known are {known}."
                )
            if self._settings.workers > 1 and one.role == "listen" and not one.address.port:
                raise InvalidRequest(f"{one.name}: several workers need a port that is named.")
