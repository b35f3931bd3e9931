"""The bridge inside the server: it begins and ends with it, and uses its store and its dispatch. docs/bridge.md"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from fhir_r4.errors import InvalidRequest, Unavailable
from fhir_server.bridge.awaited import Awaited
from fhir_server.bridge.counting import Counting
from fhir_server.bridge.in_process import InProcess
from fhir_server.bridge.metrics import BridgeCollector, of_wire
from fhir_server.bridge.outbox import Outbox
from fhir_server.bridge.sent import figures_of
from fhir_server.bridge.store_journal import StoreJournal
from fhir_server.bridge.workers import Told, Workers
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.settings import Settings
from hl7_bridge.bridge import Bridge, Known
from hl7_bridge.config import Address, BadConfig, Config, Connection, load_config
from hl7_bridge.delivery import Unreachable
from hl7_bridge.devices.loading import BadProfile, library
from hl7_bridge.front import Front
from hl7_bridge.journal import Journal
from hl7_bridge.journal_sqlite import SqliteJournal
from hl7_bridge.listener import Unsafe
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.tallies import heard, together

log = structlog.get_logger("osler.hl7")

# the connection of the setting `hl7`, when no file names others
ANYBODY = "hl7"


def config_from(settings: Settings) -> Config:
    """The connections of the setting `hl7_config`, and one for anybody at the port of `hl7`. Raises InvalidRequest."""
    try:
        config = load_config(Path(settings.hl7_config)) if settings.hl7_config else Config()
    except BadConfig as error:
        raise InvalidRequest(str(error)) from error
    if settings.hl7 is not None:
        config = _with_anybody(config, settings, settings.hl7)
    for one in config.connections if settings.workers > 1 else ():
        if one.role == "listen" and not one.address.port:
            raise InvalidRequest(f"{one.name}: several workers need a port that is named.")
    return config


def _with_anybody(config: Config, settings: Settings, port: int) -> Config:
    anybody = Connection(ANYBODY, Address(settings.host, port))
    if config.connection(ANYBODY) is not None or any(
        one.address == anybody.address for one in config.connections
    ):
        raise InvalidRequest(
            f"{anybody.address} is the port of the setting hl7, and of a connection in the file."
        )
    return replace(config, connections=(*config.connections, anybody))


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
        self._workers = Workers(self._told)
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
        await self._remember()
        await self._workers.open()
        self._bridge.pipeline.start()
        self._awaited = Awaited(services, owner)
        await self._awaited.start()
        if config.destinations:
            self._outbox = Outbox(services, config.destinations, owner)
            await self._outbox.start()
        if config.keep_days:
            self._tidying = asyncio.create_task(
                self._bridge.tidy(config.keep_days, others=[StoreJournal(services)] if journal.apart else ())
            )
        try:
            await self._front.open()
        except (OSError, Unsafe) as error:
            await self.close()
            raise InvalidRequest(f"HL7 v2: {error}") from error

    async def close(self) -> None:
        await self._workers.close()
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
            self.collector.counts = await (self._counting or self._bridge.journal).counts()
        except (Unavailable, Unreachable):
            self.collector.counts = None
        try:
            if self.config.destinations:
                names = [one.name for one in self.config.destinations]
                self.collector.sent = await figures_of(self._dispatch.services, names)
        except (Unavailable, Unreachable):
            # a journal of its own goes on telling what waits
            self.collector.sent = None
        self.collector.last = {} if self._counting is None else self._counting.last
        others = await self._workers.ask()
        self.collector.tallies = together([self._bridge.tallies, *(heard(one["tallies"]) for one in others)])
        self.collector.wires = _sum([self._wires(), *(one["wires"] for one in others)])

    async def _remember(self) -> None:
        """Take up since when the connections are silent: this process has not heard them yet."""
        assert self._bridge is not None
        assert self.collector is not None
        started = self._dispatch.services.started
        self.collector.silent_since = {one.name: started for one in self.config.connections}
        if isinstance(self._bridge.journal, SqliteJournal):
            for name in {name for name, _ in self.collector.counts or ()}:
                self._bridge.tallies.of(name).last = await self._bridge.journal.last(name) or 0

    def _told(self) -> Told:
        """The figures of this process alone, for the others of this server."""
        assert self._bridge is not None
        return {"tallies": self._bridge.tallies.told(), "wires": self._wires()}

    def _wires(self) -> dict[str, dict[str, int]]:
        if self._front is None:
            return {}
        return {name: of_wire(figures) for name, figures in self._front.figures().items()}

    def addresses(self) -> dict[str, str]:
        """Where is listened, by the names of the connections."""
        found: dict[str, str] = {}
        for address, listener in (self._front.listeners if self._front is not None else {}).items():
            names = ", ".join(c.name for c in self.config.listened()[address])
            found[names] = str(Address(address.host, listener.port))
        return found

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


def _sum(several: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """The figures of sockets of several processes in one."""
    found: dict[str, dict[str, int]] = {}
    for one in several:
        for name, figures in one.items():
            of = found.setdefault(name, dict.fromkeys(figures, 0))
            for key, number in figures.items():
                of[key] += number
    return found
