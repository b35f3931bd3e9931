"""Location/$bed-board: the beds of a place as they are now, as they were, or as they change.

The answer of now is text that is kept until something changes. With `Accept: text/event-stream` the board comes as
Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): first the whole board, then each bed when
it changes; the id of an event is the place in the change feed, from where a client goes on after a break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fhir_r4.errors import NotFound
from fhir_server.context import FhirResponse, OperationCall, Services
from fhir_server.operations.beds.asking import instant
from fhir_server.operations.beds.following import board_of, made_as_of
from fhir_server.operations.given import given

BED_BOARD = "https://osler.health/fhir/OperationDefinition/Location-bed-board"
EVENT_STREAM = "text/event-stream"
# how long a change may wait until it is seen
LOOK_SECONDS = 0.25
# a line without meaning, so that nobody takes a quiet connection for a dead one
ALIVE_SECONDS = 15.0


async def bed_board(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle with every bed at or below the place, or of the house."""
    asked = given(call, BED_BOARD)
    at = asked.one("at")
    if at is not None:
        board = await made_as_of(services, instant(at))
        _require_place(call, call.id is None or call.id in board.locations)
        return FhirResponse(200, body=board.page(call.id, instant(at)))
    board = await board_of(services)
    _require_place(call, call.id is None or call.id in board.locations)
    if EVENT_STREAM in call.request.headers.get("accept", ""):
        last = call.request.headers.get("last-event-id", "")
        stream = events(services, call.id, int(last) if last.isdecimal() else None)
        return FhirResponse(
            200, media_type=EVENT_STREAM, stream=stream, headers={"Cache-Control": "no-store"}
        )
    return FhirResponse(200, body=board.page(call.id, services.clock()))


def _require_place(call: OperationCall, found: bool) -> None:
    if not found:
        raise NotFound(f"There is no Location/{call.id}.")


async def events(services: Services, root: str | None, after: int | None) -> AsyncIterator[bytes]:
    """The board and its changes without end, as text of an event stream; `after`: only what has changed since."""
    board = await board_of(services)
    if after is None or after > board.sequence:
        yield _event("board", board.sequence, board.page(root, services.clock()))
        after = board.sequence
    quiet = 0.0
    while True:
        told = False
        for sequence, bed in board.changed_since(after, root):
            yield _event("bed", sequence, board.text(bed, services.clock()))
            after, told = sequence, True
        quiet = 0.0 if told else quiet + LOOK_SECONDS
        if quiet >= ALIVE_SECONDS:
            yield b":\n\n"
            quiet = 0.0
        await asyncio.sleep(LOOK_SECONDS)
        board = await board_of(services)


def _event(name: str, sequence: int, data: bytes) -> bytes:
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), sequence, data)
