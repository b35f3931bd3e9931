"""Those who connect to us: a listener for one registered address, and a dialer for a device that waits to be connected to.

An invariant to keep: beyond this machine nobody is listened to who is not known, by a certificate (mutual TLS) or by an
address that was explicitly allowed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hl7_bridge.figures import WireFigures
from hl7_bridge.framing import Framing, framing
from hl7_bridge.link import Limits, Link, Receiver
from hl7_bridge.tls import is_mutual

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Unsafe(ValueError):
    """A listener would be open to anybody on the network."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How one registered connection is spoken on.

    `framing`: as in `framing.framing`; `allow`: networks whose machines may connect, none: all, which is only possible on
    this machine or with mutual TLS.
    """

    name: str
    host: str
    port: int
    framing: str = "mllp"
    heartbeat: bytes = b""
    tls: ssl.SSLContext | None = None
    allow: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def machine(self) -> Framing:
        return framing(self.framing, self.limits.message_bytes, self.heartbeat)

    def link(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        receiver: Receiver,
        figures: WireFigures,
        clock: Callable[[], float],
    ) -> Link:
        """The link on a socket, whoever has opened it."""
        return Link(self.name, reader, writer, self.machine(), receiver, self.limits, figures, clock)


class Listener:
    """Listens on an address from `start` to `close`. Everybody who connects is talked to independently of all others."""

    def __init__(self, wire: Wire, receiver: Receiver, clock: Callable[[], float] = time.time) -> None:
        if not (is_loopback(wire.host) or is_mutual(wire.tls) or wire.allow):
            raise Unsafe(
                f"{wire.name} would listen to anybody on {wire.host}: ask for certificates or name networks."
            )
        self.wire = wire
        self.figures = WireFigures()
        self._receiver = receiver
        self._clock = clock
        self._allow: tuple[Network, ...] = tuple(
            ipaddress.ip_network(one, strict=False) for one in wire.allow
        )
        self._server: asyncio.Server | None = None
        self._port: int | None = None
        self._links: dict[Link, asyncio.Task[None]] = {}

    @property
    def port(self) -> int:
        """The port that is listened on, also where any was asked for. Raises RuntimeError before `start`."""
        if self._port is None:
            raise RuntimeError("the listener was not started")
        return self._port

    @property
    def links(self) -> tuple[Link, ...]:
        """Those who are connected."""
        return tuple(self._links)

    async def start(self) -> None:
        """Begin to listen. Raises OSError when the address cannot be had."""
        wire = self.wire
        handshake = {"ssl_handshake_timeout": 10.0} if wire.tls is not None else {}
        self._server = await asyncio.start_server(
            self._connected, wire.host, wire.port, ssl=wire.tls, limit=256 * 1024, backlog=512, **handshake
        )
        self._port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more; what is being received is answered, then all links are closed."""
        if self._server is not None:
            self._server.close()
        for link in self._links:
            link.stop()
        if self._links:
            _, late = await asyncio.wait(self._links.values(), timeout=self.wire.limits.close_seconds or None)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._server is not None:
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = self.wire
        link = wire.link(reader, writer, self._receiver, self.figures, self._clock)
        refusal = self._refusal(link)
        if refusal:
            self.figures.refused += 1
            log.warning("listener %s: %s", wire.name, refusal)
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("links are talked to in tasks")
        self._links[link] = task
        try:
            await link.converse()
        finally:
            del self._links[link]

    def _refusal(self, link: Link) -> str:
        limits = self.wire.limits
        if len(self._links) >= limits.connections:
            return "too many connections"
        if self._allow and not any(
            ipaddress.ip_address(link.address.split("%")[0]) in one for one in self._allow
        ):
            return "an address that is not allowed"
        if sum(one.address == link.address for one in self._links) >= limits.connections_of_an_address:
            return "too many connections of one address"
        return ""


class Dialer:
    """Connects to a device that is a server, and again with back-off when it cannot be reached or has hung up."""

    def __init__(
        self,
        wire: Wire,
        receiver: Receiver,
        clock: Callable[[], float] = time.time,
        first_wait: float = 1.0,
        longest_wait: float = 60.0,
    ) -> None:
        self.wire = wire
        self.figures = WireFigures()
        self._receiver = receiver
        self._clock = clock
        self._waits = (first_wait, longest_wait)
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._stopping = False

    @property
    def links(self) -> tuple[Link, ...]:
        """The device, while it is connected."""
        return () if self._link is None else (self._link,)

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Connect no more; what is being received is answered first."""
        self._stopping = True
        if self._task is None:
            return
        if self._link is None:
            self._task.cancel()
        else:
            self._link.stop()
        _, late = await asyncio.wait([self._task], timeout=self.wire.limits.close_seconds or None)
        for task in late:
            task.cancel()
            await asyncio.wait([task])

    async def _keep_connected(self) -> None:
        wire, wait = self.wire, self._waits[0]
        while not self._stopping:
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection(wire.host, wire.port, ssl=wire.tls)
            except (OSError, TimeoutError) as error:
                self.figures.refused += 1
                log.info("dialer %s: %s", wire.name, type(error).__name__)
            else:
                received = self.figures.received
                await self._converse(reader, writer)
                if self.figures.received > received:
                    wait = self._waits[0]
            if not self._stopping:
                await asyncio.sleep(wait * (0.75 + random.random() / 2))
                wait = min(wait * 2, self._waits[1])

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._link = self.wire.link(reader, writer, self._receiver, self.figures, self._clock)
        try:
            await self._link.converse()
        finally:
            self._link = None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
