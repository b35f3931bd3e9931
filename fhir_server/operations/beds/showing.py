"""Location/$bed-board: the beds of a place as they are now, as they were, or as they change.

The answer of now is text that is kept until something changes. With `Accept: text/event-stream` the board comes as
Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): first the whole board, then each bed when
it changes; the id of an event is the place in the change feed, from where a client goes on after a break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fhir_r4.errors import NotFound
from fhir_r4.jsonio import encode
from fhir_server.context import Actor, FhirResponse, OperationCall, Services
from fhir_server.operations.beds.asking import instant
from fhir_server.operations.beds.board import Board
from fhir_server.operations.beds.following import board_of, made_as_of, sight_of
from fhir_server.operations.given import given
from fhir_server.operations.seeing import require_seen

BED_BOARD = "https://osler.health/fhir/OperationDefinition/Location-bed-board"
EVENT_STREAM = "text/event-stream"
# how long a change may wait until it is seen
LOOK_SECONDS = 0.25
# a line without meaning, so that nobody takes a quiet connection for a dead one
ALIVE_SECONDS = 15.0


async def bed_board(call: OperationCall, services: Services) -> FhirResponse:
    """A Bundle with every bed at or below the place, or of the house."""
    asked = given(call, BED_BOARD)
    await require_seen(call, services, asked)
    actor = call.request.actor
    at = asked.one("at")
    if at is not None:
        board = await made_as_of(services, instant(at))
        _require_place(call, call.id is None or call.id in board.locations)
        return FhirResponse(200, body=await _page(board, actor, services, call.id, instant(at)))
    board = await board_of(services)
    _require_place(call, call.id is None or call.id in board.locations)
    if EVENT_STREAM in call.request.headers.get("accept", ""):
        last = call.request.headers.get("last-event-id", "")
        stream = events(services, call.id, int(last) if last.isdecimal() else None, actor)
        return FhirResponse(
            200, media_type=EVENT_STREAM, stream=stream, headers={"Cache-Control": "no-store"}
        )
    return FhirResponse(200, body=await _page(board, actor, services, call.id, services.clock()))


async def _page(board: Board, actor: Actor, services: Services, root: str | None, now: int) -> bytes:
    may = await sight_of(actor, services, board, root, now)
    return board.page(root, now) if may is None else board.page_for(root, now, may)


def _require_place(call: OperationCall, found: bool) -> None:
    if not found:
        raise NotFound(f"There is no Location/{call.id}.")


async def events(
    services: Services, root: str | None, after: int | None, actor: Actor
) -> AsyncIterator[bytes]:
    """The board and its changes without end, as text of an event stream; `after`: only what has changed since."""
    board = await board_of(services)
    if after is None or after > board.sequence:
        sequence = board.sequence
        yield _event("board", sequence, await _page(board, actor, services, root, services.clock()))
        after = sequence
    quiet = 0.0
    while True:
        told = False
        changed = board.changed_since(after, root)
        may = await sight_of(actor, services, board, root, services.clock()) if changed else None
        for sequence, bed in changed:
            if may is None:
                yield _event("bed", sequence, board.text(bed, services.clock()))
            elif bed in may.locations:
                yield _event("bed", sequence, encode(board.shown(bed, services.clock(), may)))
            after, told = sequence, True
        quiet = 0.0 if told else quiet + LOOK_SECONDS
        if quiet >= ALIVE_SECONDS:
            yield b":\n\n"
            quiet = 0.0
        await asyncio.sleep(LOOK_SECONDS)
        board = await board_of(services)


def _event(name: str, sequence: int, data: bytes) -> bytes:
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), sequence, data)
