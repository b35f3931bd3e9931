"""The figures of the other processes of this server, for who asks one of them. An invariant to keep: they are of this moment.

Each process that serves listens at a Unix socket in a folder that the process which started them has made; one that is gone has
left its socket behind, and counts for nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from fhir_r4.errors import FhirError
from fhir_r4.jsonio import decode_object, encode

log = structlog.get_logger("osler.hl7")

# the variable in which the folder is left to the processes that are started
FOLDER = "OSLER_WORKERS_FOLDER"
# who does not answer in this time counts for nothing
SECONDS = 2.0
Told = dict[str, Any]


class Workers:
    """Tells `mine` to the other processes, and asks for theirs; alone without a folder."""

    def __init__(self, mine: Callable[[], Told], folder: str | None = None) -> None:
        given = os.environ.get(FOLDER, "") if folder is None else folder
        self._folder = Path(given) if given else None
        self._mine = mine
        self._server: asyncio.Server | None = None

    @property
    def _own(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{os.getpid()}-{id(self)}"

    async def open(self) -> None:
        if self._folder is None:
            return
        try:
            self._server = await asyncio.start_unix_server(self._answer, self._own)
        except OSError as error:
            log.warning("the figures of this process are told by itself alone", reason=str(error))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)
            self._server = None

    async def ask(self) -> list[Told]:
        """What the other processes tell."""
        if self._folder is None or not self._folder.is_dir():
            return []
        others = [path for path in self._folder.iterdir() if path != self._own]
        return [told for told in await asyncio.gather(*map(self._ask, others)) if told is not None]

    async def _ask(self, path: Path) -> Told | None:
        try:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    return decode_object(await reader.read())
                finally:
                    writer.close()
        except (ConnectionRefusedError, FileNotFoundError):
            # its process was killed, or ends
            return None
        except (OSError, TimeoutError, FhirError):
            log.warning("a process of this server does not tell its figures")
            return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(encode(self._mine()))
            await writer.drain()
        writer.close()
