"""`osler hl7 status | replay`: how the bridge stands, and mapping messages again.

Both work on a store directly while the server runs, and when it does not; status also asks a running server.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fhir_server.console import complain, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from fhir_server.bridge.store_journal import StoreJournal
    from fhir_server.context import Services
    from fhir_server.settings import Settings
    from hl7_bridge.journal_sqlite import SqliteJournal

Store = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or mongodb://... (default sqlite:///osler.db)."),
]
MOST = 100_000
Standing = dict[str, Any]
T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the commands to `osler hl7`."""
    app.command()(status)
    app.command()(replay)


def status(
    store: Store = None,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="OSLER_SERVER",
            help="Ask a running server, http://HOST:PORT; OSLER_TOKEN is sent as bearer token.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="The file of a journal of its own (hl7_journal, or of a bridge alone)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show each connection: messages by state, the last message, how fast it was answered, and what waits for people."""
    found = _standing(store, server, journal)
    if as_json:
        say(json.dumps(found, indent=2))
        return
    for name, one in found["destinations"].items():
        told = ", ".join(
            f"{one.get(state, 0)} {state}" for state in ("waiting", "held", "dead", "acknowledged")
        )
        last = one["last_acknowledged"]
        say(f"to {name}: {told}" + (f", the last at {last}" if last else ""))
    if not any(one["entries"] for one in found["connections"].values()):
        say("No message was received yet.")
    if found["connections"]:
        _show_connections(found["connections"])
    for reason, count in found["waiting_for_people"].items():
        everybody = [(name, one["waiting_for_people"]) for name, one in found["connections"].items()]
        everybody += [
            (f"to {name}", one["waiting_for_people"]) for name, one in found["destinations"].items()
        ]
        where = ", ".join(f"{name} {waiting[reason]}" for name, waiting in everybody if reason in waiting)
        say(f"{count} {'task' if count == 1 else 'tasks'}: {reason}" + (f" ({where})" if where else ""))


def _show_connections(connections: dict[str, Any]) -> None:
    from hl7_bridge.journal import STATES

    head = ("connection", "entries", *STATES, "last message", "silent for", "answer p99")
    rows = [head]
    for name, one in connections.items():
        counts = ["?" if one["entries"] is None else str(one["states"].get(state, 0)) for state in STATES]
        entries = "?" if one["entries"] is None else str(one["entries"])
        silent = "" if one["silent_seconds"] is None else f"{one['silent_seconds']:.0f} s"
        p99 = "" if one["answer_p99_seconds"] is None else f"{one['answer_p99_seconds'] * 1000:.0f} ms"
        rows.append((name, entries, *counts, one["last_message"] or "", silent, p99))
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _standing(store: str | None, server: str | None, journal: Path | None) -> Standing:
    """How the bridge stands, from where it was asked for: what is named, before what a setting says."""
    from fhir_server.bridge.standing import of_server, of_store

    if store is not None and journal is not None:
        complain("Give one of --store, --server and --journal.")
        raise typer.Exit(2)
    if journal is not None:
        return _ended(_of_file(journal))
    if server and store is None:
        return _ended(of_server(server, os.environ.get("OSLER_TOKEN", "")))

    async def act(services: Services, _: StoreJournal) -> Standing:
        names, file = _names(services.settings), services.settings.hl7_journal
        if not os.path.isfile(file):  # noqa: ASYNC240 - nobody waits
            return await of_store(services, names)
        async with _opened(Path(file)) as kept:
            return await of_store(services, names, kept)

    return _with_journal(store, act)


async def _of_file(file: Path) -> Standing:
    from fhir_server.bridge.standing import of_journal

    async with _opened(file) as kept:
        return await of_journal(kept)


@asynccontextmanager
async def _opened(file: Path) -> AsyncIterator[SqliteJournal]:
    """A journal of its own. Raises Unreachable."""
    from hl7_bridge.delivery import Unreachable
    from hl7_bridge.journal_sqlite import SqliteJournal

    if not os.path.isfile(file):  # noqa: ASYNC240 - nobody waits
        raise Unreachable(f"{file}: there is no such file")
    kept = SqliteJournal(file)
    await kept.open()
    try:
        yield kept
    finally:
        await kept.close()


def _names(settings: Settings) -> list[str]:
    """The names of the connections that the settings name."""
    from fhir_server.bridge.running import config_from

    return [one.name for one in config_from(settings).connections]


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


def _with_journal(store: str | None, act: Callable[[Services, StoreJournal], Awaitable[T]]) -> T:
    """What `act` gives on the journal of a store."""
    from fhir_server.app import compose
    from fhir_server.bridge.store_journal import StoreJournal
    from fhir_server.interactions.indexing import begin
    from fhir_server.maintenance import require_store
    from fhir_server.settings import Settings

    async def run() -> T:
        settings = Settings() if store is None else Settings(store=store)
        require_store(settings)
        services = compose(settings)
        await begin(services)
        try:
            return await act(services, StoreJournal(services))
        finally:
            await services.store.close()

    return _ended(run())


def _ended(work: Coroutine[Any, Any, T]) -> T:
    """What it gives; the command ends with code 2 when it cannot be had."""
    from fhir_r4.errors import FhirError
    from hl7_bridge.delivery import Refused, Unreachable

    try:
        return asyncio.run(work)
    except Refused as error:
        complain(f"the server answered {error.status}")
        raise typer.Exit(2) from error
    except (FhirError, Unreachable) as error:
        complain(str(error))
        raise typer.Exit(2) from error
