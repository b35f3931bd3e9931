"""What the commands show: where to look, how far a load is, what was refused. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from fhir_server.bulk.imports import Tally
    from fhir_server.bulk.units import Refusal

MOST_SHOWN = 20


def say(text: str) -> None:
    """A line for the user, on standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line about what went wrong, on standard error."""
    sys.stderr.write(f"osler: {text}\n")
    sys.stderr.flush()


def welcome(origin: str, store: str) -> None:
    """What to open and what to try."""
    lines = (
        f"FHIR base   {origin}/fhir",
        f"Documents   {origin}/docs",
        f"Store       {store}",
        f"Try         curl '{origin}/fhir/Patient?_count=3'",
    )
    if not sys.stdout.isatty():
        say("Osler is ready.\n" + "\n".join(lines))
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    width = max(map(len, lines)) + 4
    Console(width=max(width, 40)).print(Panel(Text("\n".join(lines)), title="Osler is ready"), soft_wrap=True)


def _errors() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


class Progress(Protocol):
    def read(self, bytes_read: int) -> None: ...

    def show(self, tally: Tally) -> None: ...


class _Silent:
    def read(self, bytes_read: int) -> None:
        return

    def show(self, tally: Tally) -> None:
        return


class _Bar:
    """A bar that is drawn ten times a second, however often it is told."""

    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._bytes = 0
        self._next = 0.0

    def read(self, bytes_read: int) -> None:
        self._bytes += bytes_read

    def show(self, tally: Tally) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.1
            self._bar.update(
                self._task, completed=self._bytes, count=tally.seen, refused=tally.refused, rate=tally.rate
            )


@contextmanager
def load_progress(total_bytes: int | None, *, quiet: bool) -> Iterator[Progress]:
    """A bar over the bytes of the files, with the number of resources and the rate; nothing when not on a terminal."""
    console = _errors()
    if quiet or not console.is_terminal:
        yield _Silent()
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichBar

    columns = (
        TextColumn("loading"),
        BarColumn(),
        TextColumn("{task.fields[count]:,} resources"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("{task.fields[refused]:,} refused"),
        TimeElapsedColumn(),
    )
    with RichBar(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, bar.add_task("load", total=total_bytes, count=0, rate=0.0, refused=0))


@contextmanager
def working(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A function that shows the number reached; nothing when not on a terminal."""
    console = _errors()
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda reached: status.update(f"{what} {reached:,}")


@contextmanager
def counted(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar up to `total`, for a function that is told the number reached; nothing when not on a terminal."""
    console = _errors()
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichBar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda reached: bar.update(task, completed=reached)


def loaded(tally: Tally) -> None:
    """The summary of a load, with the first refusals and their reasons."""
    say(
        f"{tally.created:,} created, {tally.updated:,} updated, {tally.unchanged:,} unchanged, "
        f"{tally.refused:,} refused in {tally.seconds:.1f} s ({tally.rate:,.0f} resources/s)"
    )
    for refusal in tally.refusals[:MOST_SHOWN]:
        refused(refusal)
    if len(tally.refusals) > MOST_SHOWN:
        say(f"... and more; --report FILE writes all {tally.refused:,} of them.")


def refused(refusal: Refusal) -> None:
    where = ", ".join(p for p in (refusal.source, refusal.place, refusal.resource) if p)
    say(f"refused: {where}")
    for issue in refusal.issues[:5]:
        at = f" ({', '.join(issue.expression)})" if issue.expression else ""
        say(f"    {issue.diagnostics}{at}")
    if len(refusal.issues) > 5:
        say(f"    and {len(refusal.issues) - 5} problems more")


def counts(title: str, by_type: Mapping[str, int]) -> None:
    """A table of numbers by resource type."""
    say(title)
    for name, number in sorted(by_type.items()):
        say(f"{number:>10,}  {name}")
