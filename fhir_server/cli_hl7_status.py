"""`osler hl7 status | replay`: how the bridge stands, and mapping messages again, on a store directly.

Both work while the server runs, and when it does not.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fhir_server.console import complain, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fhir_server.bridge.store_journal import StoreJournal
    from fhir_server.context import Services

Store = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or mongodb://... (default sqlite:///osler.db)."),
]
MOST = 100_000


def register(app: typer.Typer) -> None:
    """Add the commands to `osler hl7`."""
    app.command()(status)
    app.command()(replay)


def status(
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show each connection: messages by state, the last message, and what waits for people by its reason."""
    from hl7_bridge.journal import STATES

    found = _with_journal(store, _status)
    if as_json:
        say(json.dumps(found, indent=2))
        return
    for name, one in found["destinations"].items():
        told = ", ".join(f"{one[state]} {state}" for state in ("waiting", "held", "dead", "acknowledged"))
        last = one["last_acknowledged"]
        say(f"to {name}: {told}" + (f", the last at {last}" if last else ""))
    if not found["connections"]:
        say("No message was received yet.")
        return
    head = ("connection", "entries", *STATES, "last message", "silent for")
    rows = [head]
    for name, one in found["connections"].items():
        counts = [str(one["states"].get(state, 0)) for state in STATES]
        silent = "" if one["silent_seconds"] is None else f"{one['silent_seconds']:.0f} s"
        rows.append((name, str(one["entries"]), *counts, one["last_message"] or "", silent))
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for reason, count in found["waiting_for_people"].items():
        say(f"{count} tasks: {reason}")


def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of messages (Binary).")] = None,
    store: Store = None,
    state: Annotated[
        str | None, typer.Option(help="All messages in this state, such as dead-letter or held.")
    ] = None,
) -> None:
    """Map messages again, in the order in which they came. Exit code 1 when there are none."""
    from hl7_bridge.journal import STATES

    if (state is None) == (not ids):
        complain("Give ids of messages, or --state.")
        raise typer.Exit(2)
    if state is not None and (state not in STATES or state == "received"):
        complain(f"--state is one of {', '.join(s for s in STATES if s != 'received')}.")
        raise typer.Exit(2)

    async def act(services: Services, journal: StoreJournal) -> int:
        from fhir_server.search.tree import TokenIs
        from hl7_bridge.journal import STATE

        chosen = list(ids or ())
        if state is not None:
            where = TokenIs("_tag", STATE, state)
            chosen = list(await services.store.matching_ids("Binary", where, MOST))
        return await journal.replay(chosen)

    done = _with_journal(store, act)
    say(f"{done} messages are mapped again as soon as a server runs.")
    raise typer.Exit(0 if done else 1)


async def _status(services: Services, journal: StoreJournal) -> dict[str, Any]:
    from fhir_r4.temporal import format_instant
    from fhir_server.bridge.sent import figures_of
    from fhir_server.search.tree import SearchQuery, TokenIs, all_of, any_of
    from hl7_bridge.reasons import REASON_SYSTEM, REASONS
    from hl7_bridge.work import OPEN

    connections: dict[str, Any] = {}
    for (name, state), count in (await journal.counts()).items():
        one = connections.setdefault(name, {"entries": 0, "states": {}})
        one["entries"] += count
        one["states"][state] = count
    for name, one in connections.items():
        last = await journal.last(name)
        one["last_message"] = None if last is None else format_instant(last)
        one["silent_seconds"] = None if last is None else time.time() - last / 1e6
    waiting = {}
    for reason in REASONS:
        is_open = any_of(TokenIs("status", None, status) for status in sorted(OPEN))
        where = all_of([TokenIs("code", REASON_SYSTEM, reason), is_open])
        total = (await services.store.search(SearchQuery(("Task",), where, count=0, total="accurate"))).total
        if total:
            waiting[reason] = total
    destinations = {
        name: {**sent.states, "last_acknowledged": None if sent.last is None else format_instant(sent.last)}
        for name, sent in (await figures_of(services)).items()
    }
    return {"connections": connections, "destinations": destinations, "waiting_for_people": waiting}


def _with_journal(store: str | None, act: Callable[[Services, StoreJournal], Awaitable[Any]]) -> Any:
    """What `act` gives on the journal of a store."""
    from fhir_r4.errors import FhirError
    from fhir_server.app import compose
    from fhir_server.bridge.store_journal import StoreJournal
    from fhir_server.interactions.indexing import begin
    from fhir_server.settings import Settings
    from hl7_bridge.delivery import Unreachable

    async def run() -> Any:
        settings = Settings() if store is None else Settings(store=store)
        services = compose(settings)
        await begin(services)
        try:
            return await act(services, StoreJournal(services))
        finally:
            await services.store.close()

    try:
        return asyncio.run(run())
    except (FhirError, Unreachable) as error:
        complain(str(error))
        raise typer.Exit(2) from error
