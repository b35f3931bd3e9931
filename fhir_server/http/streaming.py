"""Answers that go on: each piece is sent when it is there, until the client goes or the server stops.

A connection that streams is marked in its ASGI scope, so that a server that stops closes it at once: there is no end to wait
for (`http.protocol`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fhir_server.context import FhirResponse
from fhir_server.http.requests import Receive, Scope
from fhir_server.http.responses import Send, header_list

EVENT_STREAM = "text/event-stream"
STREAMS = "osler.streams"


async def stream_answer(
    scope: Scope, receive: Receive, send: Send, response: FhirResponse, request_id: str
) -> None:
    """Send the pieces of `response.stream` as they come."""
    assert response.stream is not None
    scope[STREAMS] = True
    headers = header_list(response, b"", "", "")
    headers.append((b"x-request-id", request_id.encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    pieces = asyncio.ensure_future(_send_pieces(response.stream, send))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({pieces, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (pieces, gone):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _send_pieces(stream: AsyncIterator[bytes], send: Send) -> None:
    async for piece in stream:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
