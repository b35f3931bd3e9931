"""The commands that work on a store directly: load, export, demo, backup, restore, check, reindex, migrate, ledger verify.

Each opens the store, does its work through the same services as the server, and closes the store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import IO, TypeVar, cast
from zoneinfo import ZoneInfo

from fhir_r4.errors import InvalidRequest, NotSupported, Unavailable
from fhir_server.app import compose, open_store
from fhir_server.bulk.export import export_files, export_stream
from fhir_server.bulk.files import Item, find_sources, read_items, total_size
from fhir_server.bulk.imports import Loader, Stopped, Tally
from fhir_server.bulk.jobs import do_at_once
from fhir_server.bulk.reindexing import index_again, reindex_job
from fhir_server.bulk.units import Refusal
from fhir_server.console import MOST_SHOWN, complain, counted, counts, load_progress, loaded, say, working
from fhir_server.context import FhirRequest, Resource, Services
from fhir_server.http.errors import answer_error
from fhir_server.interactions.dispatch import Dispatch
from fhir_server.interactions.indexing import begin
from fhir_server.resources.job import Job
from fhir_server.settings import Settings
from fhir_server.store.addresses import MONGODB, without_secrets
from fhir_server.store.protocol import Extract
from fhir_server.store.report import Report
from profiles.ig import conformance_resources

T = TypeVar("T")


def _with_store(settings: Settings, work: Callable[[Services], Awaitable[T]]) -> T:
    """What `work` gives, with the store open while it runs."""

    async def run() -> T:
        services = compose(settings)
        await begin(services)
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
        if once and await has_records(services):
            return None
        with load_progress(None, quiet=quiet) as progress:
            return await Loader(services, bundle_door(services)).load(items(), progress.show)

    tally = _with_store(settings, work)
    if tally is None:
        say(f"{without_secrets(settings.store)} has resources already; the demo hospital was not loaded.")
    else:
        say(f"The demo hospital of {day.isoformat()} is in {without_secrets(settings.store)}.")
        loaded(tally)
    return tally


async def has_records(services: Services) -> bool:
    """Whether the store has anything but what the server itself publishes at start."""
    own = {"OperationDefinition"} | {resource["resourceType"] for resource in conformance_resources()}
    return any(n for name, n in (await services.store.counts()).items() if name not in own)


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
        at = services.clock()
        return await export_files(services.store, Path(folder), types, moment, compress=compress, at=at)

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


def backup(settings: Settings, target: Path) -> None:
    """Copy the store to the new file `target`, verified. Raises Unavailable."""
    from fhir_server.store.sqlite.backup import backup as copy_file

    copy = copy_file(_file_of(settings), target)
    say(f"{copy.path}: {copy.resources:,} resources, {copy.size:,} bytes, verified")
    say(f"sha256 {copy.sha256}")


def restore(settings: Settings, copy: Path, *, force: bool = False) -> None:
    """Put `copy` in the place of the store; with `force` a store that is there is set aside. Raises Unavailable."""
    from fhir_server.store.sqlite.backup import restore as restore_file
    from fhir_server.store.sqlite.backup import verify

    file = _file_of(settings)
    if not copy.exists():
        raise Unavailable(f"There is no backup {copy}.")
    if file.exists():
        if not force:
            raise Unavailable(f"There is a store at {file} already; --force sets it aside.")
        verify(copy)
        say(f"The store that was there is {_set_aside(file)} now.")
    file.parent.mkdir(parents=True, exist_ok=True)
    restored = restore_file(copy, file)
    say(f"{file}: {restored.resources:,} resources, verified")


def _set_aside(file: Path) -> Path:
    """Rename a store that nobody uses, all of it in one file. Raises Unavailable when a process has it open."""
    import sqlite3

    connection = sqlite3.connect(file, timeout=1)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{file} is in use: stop the server first ({error}).") from error
    except sqlite3.DatabaseError:
        mode = "delete"  # damaged: a reason to restore
    finally:
        connection.close()
    if mode != "delete":
        raise Unavailable(f"{file} is in use: stop the server first.")
    names = (file.with_name(f"{file.name}.replaced-{n}") for n in count(1))
    aside = next(name for name in names if not name.exists())
    return file.rename(aside)


def check(settings: Settings, *, quiet: bool = False) -> int:
    """Compare index, claims, history and what follows from resources with the resources, and tell; the number of problems found."""
    from fhir_server.interactions.consistency import inconsistencies

    with working("checking", quiet=quiet) as progress:
        if settings.store.startswith(MONGODB):
            report = _check_database(settings, progress)
        else:
            report = _check_file(settings, progress)
        if report.clean:
            for told in _with_store(settings, inconsistencies):
                report.add(told)
    for problem in report.problems[:MOST_SHOWN]:
        say(f"wrong: {problem}")
    if report.count > MOST_SHOWN:
        say(f"... and {report.count - MOST_SHOWN:,} problems more")
    if any("claim" in problem for problem in report.problems):
        say("`osler reindex` makes claims anew: those of a store that older rules have written, too.")
    say(
        f"{report.versions:,} versions, {report.resources:,} resources, {report.entries:,} index entries, "
        f"{report.claims:,} claims: {'all agree' if report.clean else f'{report.count:,} problems'}"
    )
    return report.count


def verify_ledger(settings: Settings, *, quiet: bool = False) -> int:
    """Compare the ledger with the documents, and tell; the number of problems found."""
    from fhir_server.operations.billing.books import verify

    with working("verifying", quiet=quiet):
        books = _with_store(settings, verify)
    for (account, currency), amount in sorted(books.balances.items(), key=lambda row: (row[0][1], row[0][0])):
        say(f"{account:<12} {currency} {amount:>20,}")
    for problem in books.problems[:MOST_SHOWN]:
        say(f"wrong: {problem}")
    if len(books.problems) > MOST_SHOWN:
        say(f"... and {len(books.problems) - MOST_SHOWN:,} problems more")
    say(
        f"{books.entries:,} entries, {books.documents:,} documents: "
        f"{'the books balance' if not books.problems else f'{len(books.problems):,} problems'}"
    )
    return len(books.problems)


def _check_file(settings: Settings, progress: Callable[[int], None]) -> Report:
    from fhir_server.resources.claims import claims_of
    from fhir_server.resources.manners import MANNERS
    from fhir_server.store.sqlite.check import check as check_file

    file = _file_of(settings)
    if not file.exists():
        raise Unavailable(f"There is no store at {file}.")
    extract = _extractor(settings, file)
    return check_file(file, extract, lambda r: claims_of(r, settings), progress, MANNERS)


def _check_database(settings: Settings, progress: Callable[[int], None]) -> Report:
    from fhir_server.resources.claims import claims_of
    from fhir_server.resources.manners import MANNERS
    from fhir_server.store.mongo.store import MongoStore

    async def work(services: Services) -> Report:
        assert isinstance(services.store, MongoStore)
        return await services.store.check(
            services.extractor.extract, lambda r: claims_of(r, settings), progress, MANNERS
        )

    return _with_store(settings, work)


def _extractor(settings: Settings, file: Path) -> Extract:
    """Makes the entries by the search parameters that the store keeps; by those of R4 where it cannot be opened."""
    from fhir_server.store.sqlite.connections import connect, translated
    from fhir_server.store.sqlite.schema import planned

    async def own(services: Services) -> Extract:
        return services.extractor.extract

    with suppress(Unavailable):
        with translated(), closing(connect(file, busy_timeout=5.0)) as connection:
            current = not planned(connection)
        if current:
            return _with_store(settings, own)
    return compose(settings).extractor.extract


def reindex(settings: Settings, *, quiet: bool = False) -> None:
    """Make the index, and the claims on time and beds, anew; the server may work meanwhile."""
    from fhir_server.interactions.consistency import reclaim

    if not settings.store.startswith(MONGODB):
        file = _file_of(settings)
        if not file.exists():
            raise Unavailable(f"There is no store at {file}.")

    async def work(services: Services) -> Job:
        with working("indexing", quiet=quiet) as progress:
            return await do_at_once(
                services, reindex_job(services), index_again, lambda job: progress(job.done)
            )

    job = _with_store(settings, work)
    changed = _with_store(settings, reclaim)
    say(f"{job.done:,} resources indexed, {job.changed:,} index entries changed")
    if changed:
        say(f"the claims of {changed:,} resources changed")


def require_store(settings: Settings) -> None:
    """Refuse a file that is not there: nothing is made of a name that was mistyped. Raises Unavailable."""
    if settings.store.startswith("sqlite:///") and not _file_of(settings).exists():
        raise Unavailable(f"There is no store at {_file_of(settings)}.")


def migrate(settings: Settings, target: str, *, quiet: bool = False) -> None:
    """Copy the store of the settings into the one at `target`. Raises InvalidRequest, Unavailable."""
    from fhir_server.bulk.migration import Proof, Target
    from fhir_server.bulk.migration import migrate as copy_all
    from fhir_server.interactions.consistency import reclaim
    from fhir_server.resources.claims import claims_of

    for address in (settings.store, target):
        if address == "memory:":
            raise InvalidRequest("A store in memory ends with its process; migrate from and to others.")
    if settings.store == target:
        raise InvalidRequest("The stores to migrate from and to are the same.")
    require_store(settings)

    async def work(services: Services) -> Proof:
        recipient = cast(Target, open_store(target))
        await recipient.open()
        try:
            last = await services.store.last_sequence()
            with counted("migrating", last, quiet=quiet) as progress:
                return await copy_all(
                    services.store,
                    recipient,
                    services.extractor.extract,
                    lambda resource: claims_of(resource, settings),
                    progress,
                )
        finally:
            await recipient.close()

    proof = _with_store(settings, work)
    # the other store has the claims of each resource by itself; those that follow from others too are made of what is there
    _with_store(settings.model_copy(update={"store": target}), reclaim)
    counts(
        f"{proof.versions:,} versions in {without_secrets(settings.store)} and in {without_secrets(target)}, all the same",
        proof.resources,
    )
    say(f"sha256 {proof.sha256}")


def _file_of(settings: Settings) -> Path:
    """The file of a SQLite store. Raises NotSupported for others."""
    if not settings.store.startswith("sqlite:///"):
        raise NotSupported(f"This is done with sqlite:/// stores; found {without_secrets(settings.store)}.")
    return Path(settings.store.removeprefix("sqlite:///"))
