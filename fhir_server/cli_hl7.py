"""The command line of the HL7 v2 bridge: `osler hl7 validate | explain | send | simulate`.

Exit codes as of all commands: 0 done, 1 done but something was refused or found wrong, 2 not done.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from fhir_server import cli_hl7_status
from fhir_server.cli_hl7_devices import messages_of
from fhir_server.cli_hl7_devices import register as register_devices
from fhir_server.console import complain, say

app = typer.Typer(name="hl7", help="HL7 v2: messages, devices, the bridge.", no_args_is_help=True)
cli_hl7_status.register(app)
register_devices(app)

Address = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the other side listens.")]
Framing = Annotated[str, typer.Option(help="mllp, length or none.")]


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Files with messages; - is standard input.")],
) -> None:
    """Check messages by the strict rules of their versions. Exit code 1 when one is not valid."""
    from hl7_bridge.explaining import TablesMissing
    from hl7_bridge.explaining import validate as problems_of

    wrong = False
    for name, number, raw in messages_of(files):
        try:
            problems = problems_of(raw)
        except TablesMissing as error:
            complain(str(error))
            raise typer.Exit(2) from error
        wrong = wrong or bool(problems)
        say(f"{name} message {number}: {'valid' if not problems else f'{len(problems)} problems'}")
        for problem in problems:
            say(f"  {problem}")
    raise typer.Exit(1 if wrong else 0)


@app.command()
def explain(
    files: Annotated[list[Path], typer.Argument(help="Files with messages; - is standard input.")],
) -> None:
    """Show each value of messages with its name and data type in the standard."""
    from hl7_bridge.explaining import Row, TablesMissing
    from hl7_bridge.explaining import explain as rows_of
    from hl7_bridge.message import NotHl7, parse

    for name, number, raw in messages_of(files):
        try:
            message = parse(raw)
            rows = list(rows_of(message))
        except (NotHl7, TablesMissing) as error:
            complain(f"{name} message {number}: {error}")
            raise typer.Exit(2) from error
        said = "^".join(filter(None, (message.type, message.trigger)))
        say(f"{name} message {number}: {said} {message.version}, {message.charset}")
        for warning in message.warnings:
            say(f"  odd: {warning}")
        rows.insert(0, Row("path", "name", "type", "table", "value"))
        widths = [
            max(len(getattr(row, column)) for row in rows) for column in ("path", "name", "type", "table")
        ]
        for row in rows:
            cells = zip((row.path, row.name, row.type, row.table), widths, strict=True)
            say("  " + "  ".join(f"{cell:<{width}}" for cell, width in cells) + f"  {row.text}")


@app.command()
def send(
    file: Annotated[Path, typer.Argument(help="A file with one or more messages; - is standard input.")],
    address: Address,
    framing: Framing = "mllp",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each answer.")] = 30.0,
    tls: Annotated[bool, typer.Option("--tls", help="Connect with TLS.")] = False,
    authority: Annotated[str, typer.Option(help="Who signed the other side's certificate (PEM file).")] = "",
    certificate: Annotated[str, typer.Option(help="Our certificate and key (PEM file).")] = "",
) -> None:
    """Send messages one after the other and show the answers. Exit code 1 when one was not accepted."""
    from hl7_bridge.message import NotHl7
    from hl7_bridge.sender import Sender, Target
    from hl7_bridge.tls import client_tls

    host, port = _address(address)
    try:
        context = client_tls(certificate, "", authority) if tls or authority or certificate else None
    except OSError as error:
        complain(str(error))
        raise typer.Exit(2) from error
    target = Target(host, port, context, framing, answer_seconds=timeout)

    async def run() -> int:
        sender, worst = Sender(target), 0
        for _, number, raw in messages_of([file]):
            try:
                sent = await sender.send(raw)
            except NotHl7 as error:
                complain(f"message {number}: {error}")
                worst = max(worst, 1)
                continue
            code = {"accepted": 0, "unreachable": 2}.get(sent.result, 1)
            worst = max(worst, code)
            say(f"message {number}: {sent.result}" + (f" ({sent.text})" if sent.text else ""))
            if code == 2:
                break
        await sender.close()
        return worst

    raise typer.Exit(asyncio.run(run()))


@app.command()
def simulate(
    profile: Annotated[str, typer.Argument(help="A kind of device; 'list' shows them all.")],
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Where the bridge listens.")
    ] = "127.0.0.1:2575",
    count: Annotated[int, typer.Option(min=1, help="How many messages it sends.")] = 10,
    scale: Annotated[float, typer.Option(min=0.0, help="How long its waits last; 0.01: a hundredth.")] = 1.0,
    cut: Annotated[int, typer.Option(min=0, help="Then begin one more and hang up after so many bytes.")] = 0,
) -> None:
    """Be a device, with its habits and faults, and send made-up results. Exit code 1 when some were lost or refused."""
    from hl7_bridge.simulator import BEHAVIOURS, Simulator

    if profile == "list":
        for name, behaviour in BEHAVIOURS.items():
            say(f"{name:<16} {behaviour.says}")
        return
    if profile not in BEHAVIOURS:
        complain(f"there is no device {profile!r}; 'osler hl7 simulate list' shows them")
        raise typer.Exit(2)
    host, port = _address(address)
    try:
        report = asyncio.run(Simulator(BEHAVIOURS[profile], host, port, scale).run(count, cut))
    except OSError as error:
        complain(f"{address}: {error.strerror or error}")
        raise typer.Exit(2) from error
    say(f"answered {len(report.answered)}, refused {len(report.refused)}, given up {len(report.dropped)}")
    say(f"sent again {report.sent_again}, answers to nothing {report.strays}, orders taken {report.orders}")
    raise typer.Exit(1 if report.refused or report.dropped else 0)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        complain(f"{text!r} is no HOST:PORT")
        raise typer.Exit(2)
    return host.strip("[]"), int(port)
