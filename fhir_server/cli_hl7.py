"""The command line of the HL7 v2 bridge: `osler hl7 validate | explain | send | simulate`.

Exit codes as of all commands: 0 done, 1 done but something was refused or found wrong, 2 not done.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fhir_server import cli_hl7_status
from fhir_server.cli_hl7_devices import messages_of
from fhir_server.cli_hl7_devices import register as register_devices
from fhir_server.console import complain, say

if TYPE_CHECKING:
    from hl7_bridge.sender import Target

app = typer.Typer(name="hl7", help="HL7 v2: messages, devices, the bridge.", no_args_is_help=True)
cli_hl7_status.register(app)
register_devices(app)

Address = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the other side listens.")]
Framing = Annotated[str, typer.Option(help="mllp, length, none or astm.")]
# so long is waited for an answer that was not asked for: it may say that the message was not taken
NO_ANSWER_SECONDS = 1.0
FRAMINGS = ("mllp", "length", "none", "astm")


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
    from hl7_bridge.sender import Target
    from hl7_bridge.tls import client_tls

    if framing not in FRAMINGS:
        complain(f"--framing is one of {', '.join(FRAMINGS)}.")
        raise typer.Exit(2)
    host, port = _address(address)
    try:
        context = client_tls(certificate, "", authority) if tls or authority or certificate else None
    except OSError as error:
        complain(str(error))
        raise typer.Exit(2) from error
    raws = [raw for _, _, raw in messages_of([file])]
    if framing == "astm":
        if context is not None:
            complain("Messages of ASTM are sent without TLS.")
            raise typer.Exit(2)
        raise typer.Exit(asyncio.run(_send_astm(raws, host, port, timeout)))
    raise typer.Exit(asyncio.run(_send(raws, Target(host, port, context, framing, answer_seconds=timeout))))


async def _send(raws: list[bytes], target: Target) -> int:
    from hl7_bridge.message import NotHl7
    from hl7_bridge.sender import Sender

    sender, worst = Sender(target), 0
    # what asks for no answer gets none
    unanswered = Sender(replace(target, answer_seconds=min(NO_ANSWER_SECONDS, target.answer_seconds)))
    for number, raw in enumerate(raws, 1):
        try:
            silent = _wants_no_answer(raw)
            sent = await (unanswered if silent else sender).send(raw)
        except NotHl7 as error:
            complain(f"message {number}: {error}")
            worst = max(worst, 1)
            continue
        if silent and sent.result == "no-answer" and not sent.strays:
            say(f"message {number}: sent; it asks for no answer")
            continue
        code = {"accepted": 0, "unreachable": 2}.get(sent.result, 1)
        worst = max(worst, code)
        say(f"message {number}: {sent.result}" + (f" ({sent.text})" if sent.text else ""))
        if code == 2:
            break
    await sender.close()
    await unanswered.close()
    return worst


def _wants_no_answer(raw: bytes) -> bool:
    """Whether a message says that it is to be answered never (MSH-15 and MSH-16). Raises NotHl7."""
    from hl7_bridge.message import parse

    message = parse(raw)
    return (message.get("MSH-15"), message.get("MSH-16")) == ("NE", "NE")


async def _send_astm(raws: list[bytes], host: str, port: int, timeout: float) -> int:
    """Send messages of ASTM as a device does; each is accepted when its last frame was."""
    from hl7_bridge.message import is_astm
    from hl7_bridge.simulator import Behaviour, Simulator

    if not all(is_astm(raw) for raw in raws):
        complain("--framing astm sends records of ASTM; these are messages of HL7 v2.")
        return 2
    behaviour = Behaviour(lambda n: raws[n - 1], "", framing="astm", answer_seconds=timeout)
    try:
        report = await Simulator(behaviour, host, port).run(len(raws))
    except OSError as error:
        complain(f"{host}:{port}: {error.strerror or error}")
        return 2
    for number in range(1, len(raws) + 1):
        result = "accepted" if number in report.answered else "refused"
        say(f"message {number}: {'no-answer' if number in report.dropped else result}")
    return 1 if report.refused or report.dropped else 0


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
    if not host or not port.isdigit() or int(port) > 65535:
        complain(f"{text!r} is no HOST:PORT")
        raise typer.Exit(2)
    return host.strip("[]"), int(port)
