"""Keep the bed board up with the store by its change feed, whoever writes: this process, another, an import.

An invariant to keep: a board that was asked for has taken in everything that was committed before.
"""

from __future__ import annotations

import asyncio

from fhir_r4.jsonio import decode_object
from fhir_server.context import Actor, Services
from fhir_server.interactions.visibility import visible_ids
from fhir_server.operations.beds.board import Board, Sight
from fhir_server.operations.beds.looking_back import versions_at
from fhir_server.resources.beds.housekeeping import OPEN, TASK_SYSTEM
from fhir_server.resources.beds.stays import LIVE
from fhir_server.search.tree import Everything, Expression, Present, SearchQuery, TokenIs, all_of, any_of

FOLLOWED = ("Location", "Encounter", "Task", "Patient")
# further behind than this, the board is made anew of what is there
MOST_BEHIND = 20_000
PAGE = 1000


class FollowedBoard:
    """The board of this process, and how far it has come in the change feed."""

    def __init__(self) -> None:
        self._board: Board | None = None
        self._cursor = 0
        self._lock = asyncio.Lock()

    async def current(self, services: Services) -> Board:
        """The board as of everything that is committed."""
        last = await services.store.last_sequence()
        board = self._board
        if board is None or last != self._cursor or self._lock.locked():
            async with self._lock:
                board = await self._caught_up(services, last)
        board.pass_time(services.clock())
        return board

    async def _caught_up(self, services: Services, last: int) -> Board:
        board = self._board
        if board is None or last - self._cursor > MOST_BEHIND:
            self._cursor = last
            self._board = None
            board = await made_anew(services)
            self._board = board
        async for stored in services.store.changes(self._cursor):
            if stored.type in FOLLOWED:
                resource = None if stored.deleted else decode_object(stored.body)
                board.apply(stored.type, stored.id, resource, stored.sequence)
            self._cursor = stored.sequence
        await know_people(board, services)
        return board


async def board_of(services: Services) -> Board:
    """The board of this process as of everything that is committed."""
    return await services.views.of(FollowedBoard).current(services)


async def made_anew(services: Services) -> Board:
    """A board of what the store has."""
    board = Board(services.settings.local_bases)
    live = any_of(TokenIs("status", None, status) for status in sorted(LIVE))
    unfinished = any_of(TokenIs("status", None, status) for status in OPEN)
    await _take_in(board, services, "Location", Everything())
    await _take_in(board, services, "Encounter", all_of([live, Present("location")]))
    await _take_in(board, services, "Task", all_of([TokenIs("code", TASK_SYSTEM, None), unfinished]))
    await know_people(board, services)
    return board


async def _take_in(board: Board, services: Services, type: str, where: Expression) -> None:
    cursor = None
    while True:
        page = await services.store.search(SearchQuery((type,), where, count=PAGE, cursor=cursor))
        for stored in page.matches:
            board.apply(type, stored.id, decode_object(stored.body), stored.sequence)
        cursor = page.next
        if cursor is None:
            return


async def know_people(board: Board, services: Services) -> None:
    """Read the patients of stays that are new on the board."""
    unknown = board.unknown_people()
    if unknown:
        found = await services.store.read_many([("Patient", id) for id in unknown])
        for id in unknown:
            stored = found.get(("Patient", id))
            resource = None if stored is None else decode_object(stored.body)
            board.apply("Patient", id, resource, board.sequence)


async def made_as_of(services: Services, instant: int) -> Board:
    """The board as it was at an instant, of the versions that were current then; names of patients as they are now."""
    board = Board(services.settings.local_bases)
    for type in ("Location", "Encounter", "Task"):
        async for stored in versions_at(services, type, (instant, instant + 1)):
            if not stored.deleted:
                board.apply(type, stored.id, decode_object(stored.body), stored.sequence)
    await know_people(board, services)
    return board


async def sight_of(
    actor: Actor, services: Services, board: Board, root: str | None, now: int
) -> Sight | None:
    """What of the board of a place the actor may see; None: all of it."""
    if actor.policy is None:
        return None
    beds = board.beds(root)
    named = beds if root is None else (root, *beds)
    stays: dict[str, str | None] = {}
    for bed in beds:
        lying = board.lying(bed)
        there = [stay for stay, _ in board.reserved(bed, now)] + ([] if lying is None else [lying])
        stays.update({stay.id: stay.patient for stay in there})
    patients = [patient for patient in stays.values() if patient is not None]
    return Sight(
        await visible_ids(actor, services, "Location", named),
        await visible_ids(actor, services, "Encounter", stays),
        await visible_ids(actor, services, "Patient", patients),
        await visible_ids(actor, services, "Task", [task for bed in beds for task in board.tasks(bed)]),
    )
