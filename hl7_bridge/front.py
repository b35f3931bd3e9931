"""The doors of the bridge: it listens where senders connect to us, and connects to devices that wait for that.

An invariant to keep: an address that another process of this machine listens on is tried again, so that a bridge that dies is
followed by another; a device is connected to by the one process that maps.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from hl7_bridge.bridge import Bridge
from hl7_bridge.config import Address, Connection
from hl7_bridge.figures import WireFigures
from hl7_bridge.link import Link
from hl7_bridge.listener import Dialer, Listener, Wire
from hl7_bridge.tls import client_tls, server_tls

log = structlog.get_logger("osler.hl7")

TRY_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Door:
    """Takes what comes by an address that some connections share: what a listener calls a receiver."""

    bridge: Bridge
    sharing: tuple[Connection, ...]

    async def receive(self, link: Link, raw: bytes) -> Sequence[bytes]:
        return await self.bridge.arrived(self.sharing, raw, link.address)

    async def incomplete(self, link: Link, raw: bytes, reason: str) -> Sequence[bytes]:
        return await self.bridge.broken(self.sharing, raw, reason, link.address)


class Front:
    """All doors of a bridge. `shared` says that other processes of this machine may listen where we would."""

    def __init__(self, bridge: Bridge, *, shared: bool = False) -> None:
        self._bridge = bridge
        self._shared = shared
        self.listeners: dict[Address, Listener] = {}
        self.dialers: dict[str, Dialer] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def figures(self) -> dict[str, WireFigures]:
        """What came by each address, by the names of the connections that share it."""
        listened = self._bridge.config.listened()
        found = {", ".join(c.name for c in listened[a]): one.figures for a, one in self.listeners.items()}
        return found | {name: dialer.figures for name, dialer in self.dialers.items()}

    async def open(self) -> None:
        """Listen, and connect where we are to. Raises OSError for an address that cannot be had, unless it is shared."""
        config = self._bridge.config
        for address, sharing in config.listened().items():
            listener = Listener(self._wire(sharing), Door(self._bridge, sharing))
            try:
                await listener.start()
            except OSError as error:
                if not self._shared or error.errno != errno.EADDRINUSE:
                    await self.close()
                    raise
                self._tasks.append(asyncio.create_task(self._wait_for(address, listener)))
            else:
                self.listeners[address] = listener
        if any(one.role == "connect" for one in config.connections):
            self._tasks.append(asyncio.create_task(self._connect()))

    async def close(self) -> None:
        """Take nothing more; what is being received is answered first."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        doors: list[Listener | Dialer] = [*self.listeners.values(), *self.dialers.values()]
        await asyncio.gather(*(door.close() for door in doors))
        self.listeners, self.dialers = {}, {}

    def sessions(self, address: Address) -> int:
        """How many senders are connected at an address."""
        listener = self.listeners.get(address)
        return 0 if listener is None else len(listener.links)

    async def _wait_for(self, address: Address, listener: Listener) -> None:
        while True:
            await asyncio.sleep(TRY_AGAIN)
            with suppress(OSError):
                await listener.start()
                self.listeners[address] = listener
                log.info("listening", address=str(address))
                return

    async def _connect(self) -> None:
        """Be connected to the devices while this process is the one that maps."""
        while True:
            owns = self._bridge.pipeline.owns
            for one in self._bridge.config.connections:
                if one.role != "connect":
                    continue
                dialer = self.dialers.get(one.name)
                if owns and dialer is None:
                    self.dialers[one.name] = Dialer(self._wire((one,)), Door(self._bridge, (one,)))
                    await self.dialers[one.name].start()
                elif not owns and dialer is not None:
                    await self.dialers.pop(one.name).close()
            await asyncio.sleep(TRY_AGAIN)

    def _wire(self, sharing: tuple[Connection, ...]) -> Wire:
        """How an address is spoken on: as the profile of the first connection says."""
        first = sharing[0]
        transport = self._bridge.profile_named(first.profile).transport
        tls = None
        if first.tls is not None:
            make = server_tls if first.role == "listen" else client_tls
            tls = make(first.tls.certificate, first.tls.key, first.tls.authority)
        networks = [one.sender.addresses for one in sharing]
        allow = tuple(dict.fromkeys(n for several in networks for n in several)) if all(networks) else ()
        return Wire(
            first.name,
            first.address.host,
            first.address.port,
            transport.framing,
            transport.heartbeat,
            tls,
            allow,
        )
