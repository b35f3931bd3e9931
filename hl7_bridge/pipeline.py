"""The pipeline: what was received is mapped, in order within each partition, in parallel across them.

One process at a time does it; when it dies the next one goes on with everything that is still in the state received. An invariant to
keep: nothing but a change of its state takes a message off the pipeline, so a failure of anything delays and never loses.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import structlog

from hl7_bridge.delivery import FhirServer, Overtaken, Refused, Resource, Unreachable
from hl7_bridge.handling import Handled, Handler, Keep, Read, Rules, Understood, end
from hl7_bridge.journal import Journal, JournalEntry, broken_off
from hl7_bridge.mapping.draft import Problem
from hl7_bridge.precedence import GivingWay, Precedence
from hl7_bridge.queues import Queues
from hl7_bridge.reasons import REASON_SYSTEM
from hl7_bridge.work import GOING_ON, resolution_of

log = structlog.get_logger("osler.hl7")

# A message that is overtaken so often at once waits a moment; one that is overtaken so often at all is put aside.
AT_ONCE, MOST_OVERTAKEN = 5, 40
# A mapping that fails so often is put aside.
MOST_FAILURES = 3
# What a person is told of a message that was broken off, by how it was (`framing.Broken`, `timed-out`).
BROKEN = {
    "cut-off": "The connection ended within the message.",
    "restarted": "Another message began within the message.",
    "not-started": "The message has no beginning.",
    "too-long": "The message is longer than the connection allows.",
    "timed-out": "The rest of the message did not come in time.",
}
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once, and how often is looked; seconds.

    `aside` is how much is begun at once while messages are being answered: that comes first.
    """

    parallel: int = 32
    aside: int = 1
    window: int = 1000
    look: float = 0.25
    lease: float = 10.0
    sweep: float = 60.0


@dataclass(slots=True)
class _Item:
    entry: JournalEntry
    read: Read
    # whether the server may have had it already
    doubtful: bool


# is told what became of a message
Told = Callable[[JournalEntry, Handled], None]


class Pipeline:
    """Maps what is in the journal. `owner` is this process's own name; `told` is called after each message.

    `keep` is called for each message of a batch.
    """

    def __init__(
        self,
        server: FhirServer,
        journal: Journal,
        rules: Rules,
        clock: Callable[[], int],
        owner: str,
        keep: Keep,
        pace: Pace = Pace(),
        told: Told = lambda entry, handled: None,
    ) -> None:
        self._server = server
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self._owner = owner
        self._pace = pace
        self._told = told
        self.precedence = Precedence()
        self._handler = Handler(GivingWay(server, self.precedence), journal, rules, clock, keep)
        self._queues = Queues()
        self._items: dict[str, _Item] = {}
        self._working: set[asyncio.Task[None]] = set()
        # what was finished since the last look: the look may still have seen it waiting
        self._finished: dict[str, tuple[str, int]] = {}
        # whether something waits that was not taken; while it is looked for, nothing overtakes it
        self._more = True
        self._looking = self._missed = False
        self._wake = asyncio.Event()
        self._watchers: dict[str, list[asyncio.Future[Handled]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.owns = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop. What is being done is done to its end, if that does not take long; the rest stays in the journal."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @property
    def depth(self) -> int:
        """How many messages this process has taken and not finished."""
        return len(self._queues)

    def submit(self, entry: JournalEntry, understood: Understood | None = None) -> None:
        """A message was received by this process: begin with it at once if nothing waits before it."""
        if not self.owns or self._more or self._looking or len(self._queues) >= self._pace.window:
            self._more = self._missed = True
            self._wake.set()
            return
        self._take(entry, doubtful=False, understood=understood)

    async def handled(self, id: str, seconds: float) -> Handled | None:
        """What became of a message, None when it takes longer; ask before `submit`."""
        future: asyncio.Future[Handled] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(id, []).append(future)
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return None
        finally:
            self._watchers[id].remove(future)
            if not self._watchers[id]:
                del self._watchers[id]

    # taking turns

    async def _run(self) -> None:
        try:
            while True:
                try:
                    if await self._journal.own(self._owner, self._pace.lease):
                        await self._turn()
                except Unreachable as error:
                    log.warning("the bridge waits for the store", reason=str(error)[:200])
                except Exception as error:
                    log.error("the pipeline failed and begins anew", exception=type(error).__qualname__)
                finally:
                    await self._let_go()
                await asyncio.sleep(self._pace.lease / 4)
        finally:
            self.owns = False

    async def _turn(self) -> None:
        """What the owner does for as long as it is."""
        self.owns = self._more = True
        renewed = swept = time.monotonic()
        await self._sweep()
        news, doubtful = -1, self._journal.apart
        while True:
            now = time.monotonic()
            if now - renewed > self._pace.lease / 4:
                if not await self._journal.own(self._owner, self._pace.lease):
                    return
                renewed = now
            if now - swept > self._pace.sweep:
                await self._sweep()
                swept = now
            found = await self._journal.news()
            if found != news:
                news = found
                self._more = True
                await self._release()
            if self._more and len(self._queues) <= self._pace.window // 2:
                await self._look(doubtful)
                doubtful = False
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pace.look)

    async def _let_go(self) -> None:
        self.owns = False
        working = list(self._working)
        if working:
            _, left = await asyncio.wait(working, timeout=5)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        self._queues = Queues()
        self._items.clear()
        self._finished.clear()

    async def _look(self, doubtful: bool) -> None:
        """Take what waits in the journal, as much as there is room for."""
        taken = len(self._queues)
        limit = taken + self._pace.window
        self._finished.clear()
        self._looking, self._missed = True, False
        try:
            waiting = await self._journal.waiting(limit, self._queues)
        finally:
            self._looking = False
        for entry in waiting:
            if self._finished.get(entry.id) != (entry.status.version, entry.status.attempt):
                self._take(entry, doubtful)
        # a little less than was asked for: some may have been mapped while they were read
        self._more = self._missed or taken + len(waiting) >= limit // 2

    def _take(self, entry: JournalEntry, doubtful: bool, understood: Understood | None = None) -> None:
        if entry.id in self._queues:
            return
        how = broken_off(entry.status)
        read = self._rules.read(entry.receipt, understood) if how is None else _broken(how)
        self._items[entry.id] = _Item(entry, read, doubtful)
        self._queues.add(entry.id, [key for key in read.classified.partition.split("\n") if key])
        self._begin()

    def _begin(self) -> None:
        most = self._pace.aside if self.precedence.answering else self._pace.parallel
        while self.owns and len(self._working) < most:
            id = self._queues.take()
            if id is None:
                return
            task = asyncio.create_task(self._do(id))
            self._working.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._begin()
        if self._more and len(self._queues) <= self._pace.window // 2:
            self._wake.set()

    async def _do(self, id: str) -> None:
        item = self._items[id]
        handled = await self._through(item)
        self._finished[id] = (item.entry.status.version, item.entry.status.attempt)
        del self._items[id]
        self._queues.done(id)
        if handled is not None:
            self._told(item.entry, handled)
            for future in self._watchers.get(id, ()):
                if not future.done():
                    future.set_result(handled)

    # one message

    async def _through(self, item: _Item) -> Handled | None:
        """Bring a message to another state, however long it takes; None when somebody else has done so."""
        overtaken = failures = 0
        pause = FIRST_PAUSE
        problem: Problem | None = None
        while True:
            try:
                if item.doubtful and await self._handler.delivered(item.entry):
                    return None
                item.doubtful = False
                if problem is not None:
                    return await self._handler.give_up(item.entry, item.read, problem)
                return await self._handler.handle(item.entry, item.read)
            except Overtaken:
                overtaken += 1
                if overtaken % AT_ONCE == 0 and not await self._refresh(item):
                    return None
                if overtaken >= MOST_OVERTAKEN:
                    problem = Problem("refused", "What the message changes kept being changed.", holds=True)
                if overtaken < AT_ONCE:
                    await asyncio.sleep(0)
                    if not await self._refresh(item):
                        return None
                    continue
            except Unreachable as error:
                item.doubtful = True
                log.warning("a message waits for the server", receipt=item.entry.id, reason=str(error)[:200])
            except Refused as refused:
                failures += 1
                problem = self._worse(item, problem) or Problem("refused", _why(refused), holds=True)
                if failures <= MOST_FAILURES:
                    continue
            except Exception as error:
                failures += 1
                name = type(error).__qualname__
                log.error("mapping failed", receipt=item.entry.id, exception=name, failures=failures)
                problem = self._worse(item, problem)
                if failures >= MOST_FAILURES and problem is None:
                    problem = Problem("dead-letter", f"The message could not be mapped ({name}).", holds=True)
                if failures <= MOST_FAILURES + 2:
                    continue
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(LONGEST_PAUSE, pause * 2)

    def _worse(self, item: _Item, problem: Problem | None) -> Problem | None:
        """When not even the dead letter is taken: one that says nothing of the message."""
        if problem is None:
            return None
        log.error("the dead letter was not taken", receipt=item.entry.id, reason=problem.reason)
        item.read = Read()
        return Problem("dead-letter", "The message could not be mapped.", holds=True)

    async def _refresh(self, item: _Item) -> bool:
        """Look where the entry stands now; False when it is not to be mapped any more."""
        try:
            entry = await self._journal.read(item.entry.id)
        except Unreachable:
            return True
        if entry is None or entry.status.state != "received":
            return False
        item.entry = entry
        return True

    # what people have done

    async def _release(self) -> None:
        """Carry out the resolutions of Tasks; each is completed when nothing waits for it any more."""
        try:
            tasks = await self._server.find("Task", [("code", f"{REASON_SYSTEM}|"), ("status", "accepted")])
            for task in tasks:
                if not task.get("focus", {}).get("reference", "").startswith("Binary/"):
                    # it is about a message to be sent
                    continue
                done = await self._carry_out(task, frozenset())
                await end(self._server, task, "completed", self._clock())
                # what came to wait for it just before it was completed
                await self._carry_out(task, done)
                self._more = True
        except Refused as error:
            log.warning("resolved Tasks wait", reason=str(error)[:200])

    async def _carry_out(self, task: Resource, done: Collection[str]) -> frozenset[str]:
        """Do with what waits for a Task as was decided; the ids of those messages."""
        waiting = [id for id in await self._journal.waiting_for(task["id"]) if id not in done]
        how, decision = resolution_of(task)
        if how == "discard":
            await self._journal.discard(waiting, task["id"])
        else:
            await self._journal.replay(waiting, task["id"], decision)
        return frozenset(waiting)

    async def _sweep(self) -> None:
        """Replay what waits for nothing that is still open: a server may have died before it did so."""
        waiting: dict[str, list[str]] = {}
        for entry in await self._journal.stuck():
            for id in entry.status.waits_for:
                waiting.setdefault(id, []).append(entry.id)
        for id, entries in waiting.items():
            task = await self._server.read("Task", id)
            if task is not None and task.get("status") not in GOING_ON:
                await self._journal.replay(entries, id)


def _why(refused: Refused) -> str:
    issues = refused.outcome.get("issue", ())
    told = "; ".join(str(i.get("diagnostics", "")) for i in issues[:3])
    return f"The record refused what the message says ({refused.status}): {told}"[:1000]


def _broken(how: str) -> Read:
    """What is read of a message that was broken off."""
    text = BROKEN.get(how, "The message did not come whole.")
    return Read(problem=Problem("incomplete", text, value=how, holds=True))
