"""Run the server: take the port, start one process or several, finish what was accepted when told to stop.

An invariant to keep: while access control is off, nothing beyond this machine can connect.
"""

from __future__ import annotations

import gc
import ipaddress
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from fhir_r4.errors import InvalidRequest, Unavailable
from fhir_server.bridge.workers import FOLDER
from fhir_server.console import say
from fhir_server.http.protocol import GatheringProtocol
from fhir_server.logs import configure_logs
from fhir_server.settings import Settings

GRACE_SECONDS = 30
Announce = Callable[[str], None]


def check_settings(settings: Settings) -> None:
    """Refuse what must not be served. Raises InvalidRequest."""
    if settings.auth == "off" and not is_loopback(settings.host):
        raise InvalidRequest(
            f"Access control is off, so Osler listens on this machine only (127.0.0.1, ::1, localhost); "
            f"{settings.host} can be reached from elsewhere."
        )
    if settings.workers > 1 and settings.store == "memory:":
        raise InvalidRequest(
            "A store in memory belongs to one process: use --workers 1 or a sqlite:/// store."
        )


def is_loopback(host: str) -> bool:
    """Whether every address of `host` is of this machine alone. Raises InvalidRequest when it has none."""
    return all(ipaddress.ip_address(a[4][0].split("%")[0]).is_loopback for a in _addresses(host, 0))


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidRequest(f"The address {host!r} cannot be listened on: {error}.") from error


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host`; `port` 0 takes a free one. Raises Unavailable when the port is taken."""
    family, kind, protocol, _, address = _addresses(host, port)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise Unavailable(f"Port {port} of {host} cannot be listened on: {error.strerror}.") from error
    bound.set_inheritable(True)
    return bound


def origin(bound: socket.socket, host: str) -> str:
    """The address of the server as a browser takes it, with the port that was really taken."""
    port = bound.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(settings: Settings, announce: Announce) -> None:
    """Serve until told to stop; `announce` is called with the origin when requests are answered.

    Raises InvalidRequest or Unavailable when it cannot begin.
    """
    check_settings(settings)
    configure_logs(settings.log_level, settings.log_format)
    bound = listen(settings.host, settings.port)
    address = origin(bound, settings.host)
    with bound:
        if settings.workers > 1:
            _serve_with_workers(settings, bound, lambda: announce(address))
        else:
            _serve_here(settings, bound, lambda: announce(address))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _serve_here(settings: Settings, bound: socket.socket, ready: Callable[[], None]) -> None:
    from fhir_server.app import create_app

    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # uvicorn raises the signal again when it has shut down in order
        signal.signal(number, lambda *_: sys.exit(0))
    app = create_app(settings)

    def told() -> None:
        ready()
        _say_hl7(app.bridge.addresses() if app.bridge is not None else {})

    _Server(_config(app), told).run(sockets=[bound])


def _serve_with_workers(settings: Settings, bound: socket.socket, ready: Callable[[], None]) -> None:
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    gc.enable()
    addresses = _hl7_addresses(settings)
    _export(settings)
    config = _config("fhir_server.serving:worker_application", factory=True, workers=settings.workers)
    with tempfile.TemporaryDirectory(prefix="osler-") as folder:
        os.environ[FOLDER] = folder
        ready()
        _say_hl7(addresses)
        processes = Multiprocess(config, sockets=[bound])
        processes.run()
    if any(one.exitcode == STARTUP_FAILURE for one in processes.processes):
        raise InvalidRequest("The server could not begin; the log says why.")


def _hl7_addresses(settings: Settings) -> dict[str, str]:
    """Where workers will listen for HL7 v2, by the names of connections; a worker that cannot would be started for ever.

    Raises InvalidRequest or Unavailable.
    """
    if settings.hl7 is None and not settings.hl7_config:
        return {}
    from fhir_server.bridge.running import config_from

    found = {}
    for address, sharing in config_from(settings).listened().items():
        listen(address.host, address.port).close()
        found[", ".join(one.name for one in sharing)] = str(address)
    return found


def _say_hl7(addresses: Mapping[str, str]) -> None:
    for names, where in addresses.items():
        say(f"HL7 v2      {where} ({names})")


def worker_application() -> Any:
    """The application of a worker process, with the settings that the parent left in the environment."""
    from fhir_server.app import create_app

    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    return create_app(settings)


def _config(app: Any, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="auto",
        http=GatheringProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **more,
    )


def _export(settings: Settings) -> None:
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        os.environ[f"OSLER_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
