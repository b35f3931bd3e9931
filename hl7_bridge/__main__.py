"""The bridge alone: `python -m hl7_bridge --listen 127.0.0.1:2575 --deliver http://127.0.0.1:8080/fhir`.

What arrives is kept in a file, acknowledged, mapped and delivered to any FHIR R4 server over HTTP. docs/bridge.md
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from hl7_bridge.bridge import Bridge, Known
from hl7_bridge.config import GENERIC, Address, BadConfig, Config, Connection, load_config
from hl7_bridge.delivery import Unreachable
from hl7_bridge.devices.loading import BadProfile, library
from hl7_bridge.front import Front
from hl7_bridge.http_server import HttpServer
from hl7_bridge.journal_sqlite import SqliteJournal
from hl7_bridge.listener import Unsafe
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS

# a bearer token for the server
TOKEN = "OSLER_HL7_TOKEN"  # noqa: S105 - the name of a variable


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 when it cannot begin."""
    given = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(given))
    except (BadConfig, BadProfile, Unreachable, Unsafe, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hl7_bridge", description=__doc__)
    parser.add_argument("--deliver", required=True, metavar="URL", help="base of the FHIR server")
    parser.add_argument(
        "--listen", metavar="[HOST:]PORT", help="take messages from anybody; 0 is a free port"
    )
    parser.add_argument("--profile", default=GENERIC, help="device profile of --listen")
    parser.add_argument("--config", type=Path, help="YAML file with connections")
    parser.add_argument("--journal", type=Path, default=Path("hl7-journal.db"), help="file of the journal")
    parser.epilog = f"The variable {TOKEN} holds a bearer token for the server."
    return parser


def _config(given: argparse.Namespace) -> Config:
    config = load_config(given.config) if given.config is not None else Config()
    if given.listen is not None:
        host, _, port = given.listen.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            raise BadConfig(f"--listen {given.listen}: a port, or HOST:PORT, was expected.")
        anybody = Connection(
            "hl7", Address(host.strip("[]") or "127.0.0.1", int(port)), profile=given.profile
        )
        config = replace(config, connections=(*config.connections, anybody))
    if config.destinations:
        raise BadConfig(
            "destinations: the bridge alone sends no messages; only the server does (hl7_config)."
        )
    if not config.connections:
        raise BadConfig("There is no connection: give --listen or --config.")
    return config


async def _run(given: argparse.Namespace) -> None:
    config = _config(given)
    if urlsplit(given.deliver).scheme not in ("http", "https") or not urlsplit(given.deliver).hostname:
        raise BadConfig(
            f"--deliver {given.deliver}: the http:// or https:// address of a FHIR server was expected."
        )
    profiles = await asyncio.to_thread(library, Path(config.profiles) if config.profiles else None)
    for one in config.connections:
        if one.profile not in profiles:
            raise BadConfig(f"{one.name}: there is no device profile {one.profile!r}.")
    journal = SqliteJournal(given.journal, config.resend_days)
    await journal.open()
    server = HttpServer(given.deliver, os.environ.get(TOKEN, ""))
    known = Known(MAPPINGS, classify, profiles, ZoneInfo(config.zone or "UTC"))
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4()}"
    bridge = Bridge(server, journal, config, known, lambda: time.time_ns() // 1000, owner)
    front = Front(bridge)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bridge.pipeline.start()
    tidying = asyncio.create_task(bridge.tidy(config.keep_days)) if config.keep_days else None
    try:
        await front.open()
        for address, listener in front.listeners.items():
            sys.stdout.write(f"HL7 v2 at {Address(address.host, listener.port)}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if tidying is not None:
            tidying.cancel()
        await front.close()
        await bridge.pipeline.close()
        await server.close()
        await journal.close()


if __name__ == "__main__":
    raise SystemExit(main())
