"""The command line: `osler serve | load | export | backup | restore | check | reindex | migrate | cluster | hl7 | ledger | demo | version`.

Every option is also a setting `OSLER_*`; options win. Exit codes: 0 done, 1 done but something was refused or found
wrong, 2 not done. An invariant to keep: nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fhir_server.cli_hl7 import app as hl7

if TYPE_CHECKING:
    from fhir_server.settings import Settings

app = typer.Typer(
    name="osler",
    help="A FHIR R4 server that runs a hospital.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

cluster = typer.Typer(name="cluster", help="A MongoDB cluster with shards.", no_args_is_help=True)
app.add_typer(cluster)
app.add_typer(hl7)
ledger = typer.Typer(name="ledger", help="The books of the hospital.", no_args_is_help=True)
app.add_typer(ledger)

Store = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE, mongodb://HOSTS/DATABASE or memory: (default sqlite:///osler.db)."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="Only this resource type; may be given again.")
]


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell a refusal in plain words and end with code 2."""
    from pydantic import ValidationError

    from fhir_r4.errors import FhirError
    from fhir_server.console import complain

    try:
        yield
    except FhirError as error:
        complain("; ".join(issue.diagnostics for issue in error.issues))
        raise typer.Exit(2) from error
    except ValidationError as error:
        for problem in error.errors():
            complain(f"setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}")
        raise typer.Exit(2) from error


def _settings(**options: Any) -> Settings:
    from fhir_server.settings import Settings

    return Settings(**{name: value for name, value in options.items() if value is not None})


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one (default 8080).")] = None,
    store: Store = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes (default 1).")] = None,
    auth: Annotated[str | None, typer.Option(help="Access control; only 'off' so far.")] = None,
    hl7: Annotated[
        int | None, typer.Option(help="Port for HL7 v2 messages (MLLP); 0 takes a free one.")
    ] = None,
    hl7_config: Annotated[str | None, typer.Option(help="YAML file with HL7 v2 connections.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or text.")] = None,
) -> None:
    """Serve the FHIR API at /fhir."""
    # What a server loads stays: to look through it for garbage is a tenth of the start. It is on again when all is loaded.
    gc.disable()
    with _refusals():
        settings = _settings(
            host=host,
            port=port,
            store=store,
            workers=workers,
            auth=auth,
            hl7=hl7,
            hl7_config=hl7_config,
            log_level=log_level,
            log_format=log_format,
        )
        from fhir_server import serving
        from fhir_server.console import welcome
        from fhir_server.store.addresses import without_secrets

        serving.serve(settings, lambda origin: welcome(origin, without_secrets(settings.store)))


@app.command()
def load(
    paths: Annotated[
        list[str], typer.Argument(help="Files and folders (JSON, NDJSON, XML, .gz, .bz2, .zip); - is stdin.")
    ],
    store: Store = None,
    strict: Annotated[bool, typer.Option(help="Stop at the first refusal.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write every refusal to this NDJSON file.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=5000, help="Resources written in one transaction.")] = 200,
    quiet: Quiet = False,
) -> None:
    """Load resources; what is there already and equal is left alone. Exit code 1 when something was refused."""
    with _refusals():
        from fhir_server import maintenance

        settings = _settings(store=store)
        tally = maintenance.load(
            settings, paths, sys.stdin.buffer, strict=strict, report=report, batch=batch, quiet=quiet
        )
    raise typer.Exit(1 if tally.refused else 0)


@app.command()
def export(
    folder: Annotated[
        str, typer.Argument(help="Where the files go; - writes one stream to standard output.")
    ],
    store: Store = None,
    types: Types = None,
    since: Annotated[
        str | None, typer.Option(help="Only what changed at or after this instant or date.")
    ] = None,
    gz: Annotated[bool, typer.Option("--gz", help="Compress the files.")] = False,
) -> None:
    """Export all current resources as NDJSON, a file for each type."""
    with _refusals():
        from fhir_server import maintenance

        maintenance.export(
            _settings(store=store), folder, types or [], since, compress=gz, stdout=sys.stdout.buffer
        )


@app.command()
def backup(file: Path, store: Store = None) -> None:
    """Copy the store to FILE while it is in use, and verify the copy."""
    with _refusals():
        from fhir_server import maintenance

        maintenance.backup(_settings(store=store), file)


@app.command()
def restore(
    file: Path,
    store: Store = None,
    force: Annotated[
        bool, typer.Option(help="Replace a store that exists; the old file is kept beside it.")
    ] = False,
) -> None:
    """Put the backup FILE in the place of the store (the server must not run)."""
    with _refusals():
        from fhir_server import maintenance

        maintenance.restore(_settings(store=store), file, force=force)


@app.command()
def check(store: Store = None, quiet: Quiet = False) -> None:
    """Prove that index, claims and history agree with the stored resources. Exit code 1 when they do not."""
    with _refusals():
        from fhir_server import maintenance

        found = maintenance.check(_settings(store=store), quiet=quiet)
    raise typer.Exit(1 if found else 0)


@app.command()
def reindex(store: Store = None, quiet: Quiet = False) -> None:
    """Make the search index anew from the stored resources; the server may work meanwhile."""
    with _refusals():
        from fhir_server import maintenance

        maintenance.reindex(_settings(store=store), quiet=quiet)


@app.command()
def migrate(
    source: Annotated[str, typer.Option("--from", help="The store to copy: sqlite:///FILE or mongodb://...")],
    target: Annotated[str, typer.Option("--to", help="A new store, or one left off half-way.")],
    quiet: Quiet = False,
) -> None:
    """Copy all versions of a store into another, and prove that both hold the same."""
    with _refusals():
        from fhir_server import maintenance

        maintenance.migrate(_settings(store=source), target, quiet=quiet)


@cluster.command()
def plan(store: Store = None, types: Types = None) -> None:
    """Print the commands for mongosh that spread the collections over the shards; nothing is done."""
    with _refusals():
        from fhir_server.console import say
        from fhir_server.store.mongo.sharding import script

        say("\n".join(script(_settings(store=store).store, types or [])))


@ledger.command()
def verify(store: Store = None, quiet: Quiet = False) -> None:
    """Prove that the ledger balances and says what the documents say. Exit code 1 when it does not."""
    with _refusals():
        from fhir_server import maintenance

        found = maintenance.verify_ledger(_settings(store=store), quiet=quiet)
    raise typer.Exit(1 if found else 0)


@app.command()
def demo(
    store: Store = None,
    once: Annotated[bool, typer.Option("--once", help="Only into a store that has no resource yet.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed makes another hospital.")] = 1,
    anchor: Annotated[str | None, typer.Option(help="The day the hospital stands at, or 'today'.")] = None,
    quiet: Quiet = False,
) -> None:
    """Load the demo hospital: 60 beds, 25 practitioners, 200 patients and their records."""
    with _refusals():
        from fhir_server import maintenance

        tally = maintenance.demo(_settings(store=store), once=once, seed=seed, anchor=anchor, quiet=quiet)
    raise typer.Exit(1 if tally is not None and tally.refused else 0)


@app.command()
def version() -> None:
    """Print the versions of Osler, FHIR, Python and the rules of time zones."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    from fhir_server.console import say
    from fhir_server.resources.scheduling.zones import rules_version

    try:
        own = version_of("osler")
    except PackageNotFoundError:
        own = "unknown"
    say(f"osler {own} (FHIR 4.0.1, Python {sys.version.split()[0]}, time zones {rules_version()})")


if __name__ == "__main__":
    app()
