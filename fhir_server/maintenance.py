"""The commands that work on a store directly: load, export, demo, backup, restore, check, reindex.

Each opens the store, does its work through the same services as the server, and closes the store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import IO, TypeVar
from zoneinfo import ZoneInfo

from fhir_r4.errors import InvalidRequest, NotSupported
from fhir_server.app import compose
from fhir_server.bulk.export import export_files, export_stream
from fhir_server.bulk.files import Item, find_sources, read_items, total_size
from fhir_server.bulk.imports import Loader, Stopped, Tally
from fhir_server.bulk.units import Refusal
from fhir_server.console import complain, counts, load_progress, loaded, say
from fhir_server.context import FhirRequest, Resource, Services
from fhir_server.http.errors import answer_error
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.settings import Settings

T = TypeVar("T")


def _with_store(settings: Settings, work: Callable[[Services], Awaitable[T]]) -> T:
    """What `work` gives, with the store open while it runs."""

    async def run() -> T:
        services = compose(settings)
        await services.store.open()
        try:
            return await work(services)
        finally:
            await services.store.close()

    return asyncio.run(run())


def load(
    settings: Settings,
    paths: Sequence[str],
    stdin: IO[bytes],
    *,
    strict: bool = False,
    report: Path | None = None,
    batch: int = 200,
    quiet: bool = False,
) -> Tally:
    """Load what the files hold and tell what became of it."""
    sources, passed_over = find_sources(paths)
    for name in passed_over[:10]:
        complain(f"passed over, not a file of resources: {name}")
    if len(passed_over) > 10:
        complain(f"passed over {len(passed_over) - 10} files more")

    async def work(services: Services) -> Tally:
        with _reporting(report) as on_refusal, load_progress(total_size(sources), quiet=quiet) as progress:
            loader = Loader(
                services, bundle_door(services), batch=batch, strict=strict, on_refusal=on_refusal
            )
            try:
                return await loader.load(read_items(sources, stdin, progress.read), progress.show)
            except Stopped:
                return loader.tally

    tally = _with_store(settings, work)
    loaded(tally)
    return tally


def bundle_door(services: Services) -> Callable[[Resource], Awaitable[Resource]]:
    """The bundle interaction of the server as a function of the Bundle."""
    dispatch = Dispatch(services, answer_error)

    async def answer(bundle: Resource) -> Resource:
        response = await dispatch(FhirRequest("POST", (), resource=bundle, base=services.settings.base_url))
        return response.resource or {}

    return answer


@contextmanager
def _reporting(file: Path | None) -> Iterator[Callable[[Refusal], None]]:
    """A function that writes each refusal as a line of `file`."""
    if file is None:
        yield lambda _: None
        return
    with file.open("w", encoding="utf-8") as stream:

        def write(refusal: Refusal) -> None:
            line = {
                "source": refusal.source,
                "place": refusal.place,
                "resource": refusal.resource,
                "issue": [issue.as_fhir() for issue in refusal.issues],
            }
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

        yield write


def demo(
    settings: Settings, *, once: bool = False, seed: int = 1, anchor: str | None = None, quiet: bool = False
) -> Tally | None:
    """Load the demo hospital; None when `once` is set and the store has something already."""
    from fhir_server.demo.generate import ANCHOR, generate

    day = ANCHOR if anchor is None else _day(anchor)

    def items() -> Iterable[Item]:
        for number, bundle in enumerate(generate(seed, day), 1):
            yield Item("demo", f"bundle {number}", bundle)

    async def work(services: Services) -> Tally | None:
        if once and any((await services.store.counts()).values()):
            return None
        with load_progress(None, quiet=quiet) as progress:
            return await Loader(services, bundle_door(services)).load(items(), progress.show)

    tally = _with_store(settings, work)
    if tally is None:
        say(f"{settings.store} has resources already; the demo hospital was not loaded.")
    else:
        say(f"The demo hospital of {day.isoformat()} is in {settings.store}.")
        loaded(tally)
    return tally


def _day(text: str) -> date:
    from fhir_server.demo.elements import ZONE

    try:
        return datetime.now(ZONE).date() if text == "today" else date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no date; expected YYYY-MM-DD or today.") from error


def export(
    settings: Settings,
    folder: str,
    types: Sequence[str],
    since: str | None,
    *,
    compress: bool,
    stdout: IO[bytes],
) -> None:
    """Export to `folder`, or to `stdout` when it is `-`."""
    moment = None if since is None else _instant(since, settings.default_timezone)

    async def work(services: Services) -> dict[str, int]:
        if folder == "-":
            await export_stream(services.store, stdout, types, moment)
            return {}
        return await export_files(services.store, Path(folder), types, moment, compress=compress)

    by_type = _with_store(settings, work)
    if folder != "-":
        counts(f"{sum(by_type.values()):,} resources exported to {folder}", by_type)


def _instant(text: str, zone: str) -> int:
    """Microseconds since 1970 UTC of an ISO date or time; without a zone it is of `zone`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{text!r} is no date or time; expected 2026-01-31 or 2026-01-31T09:30:00Z."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _file_of(settings: Settings) -> Path:
    """The file of a SQLite store. Raises NotSupported for others."""
    if not settings.store.startswith("sqlite:///"):
        raise NotSupported(f"This is done with sqlite:/// stores; found {settings.store}.")
    return Path(settings.store.removeprefix("sqlite:///"))
