"""Commands about device profiles: `osler hl7 onboard | profiles`. Exit codes as of all commands of `osler hl7`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fhir_server.console import complain, say


def register(app: typer.Typer) -> None:
    """Add the commands to the group `osler hl7`."""
    app.command()(onboard)
    app.command()(profiles)


def onboard(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SAMPLES", help="Files with messages of the device; - is standard input."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the profile shall be called.")] = "new-device",
    begun: Annotated[
        Path | None,
        typer.Option(
            "--continue", metavar="FILE", help="A draft that was worked on: its samples are filled in anew."
        ),
    ] = None,
) -> None:
    """Draft a device profile from messages: YAML, to be read, corrected and tried."""
    from hl7_bridge.devices.loading import BadProfile
    from hl7_bridge.devices.onboarding import continue_profile, draft_profile
    from hl7_bridge.message import NotHl7

    if not files and begun is None:
        complain("Give files with messages, or --continue FILE.")
        raise typer.Exit(2)
    raws = [raw for _, _, raw in messages_of(files or [])]
    try:
        if begun is None:
            say(draft_profile(name, raws))
        else:
            say(continue_profile(begun.read_text(encoding="utf-8"), raws, str(begun)))
    except OSError as error:
        complain(f"{begun}: {error.strerror}")
        raise typer.Exit(2) from error
    except (NotHl7, BadProfile, ValueError) as error:
        complain(str(error))
        raise typer.Exit(2) from error


def messages_of(files: list[Path]) -> list[tuple[str, int, bytes]]:
    """(file, number, bytes) of each message; ends with code 2 when a file cannot be read or has none."""
    from hl7_bridge.batch import messages_in

    found: list[tuple[str, int, bytes]] = []
    for file in files:
        try:
            raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            complain(f"{file}: {error.strerror}")
            raise typer.Exit(2) from error
        messages = messages_in(raw)
        if not messages:
            complain(f"{file}: there is no message in it")
            raise typer.Exit(2)
        found += [(str(file), number, one) for number, one in enumerate(messages, 1)]
    return found


def profiles(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Profiles of your own; none: those that come with the bridge.")
    ] = None,
) -> None:
    """Try device profiles on their own samples. Exit code 1 when one does not pass."""
    from hl7_bridge.devices.loading import BadProfile, activate, library

    if not files:
        for profile in library().values():
            say(f"{profile.name} {profile.digest}: {profile.title}, {len(profile.samples)} samples")
        return
    wrong = False
    for file in files:
        try:
            profile = activate(file.read_text(encoding="utf-8"), str(file))
            say(f"{profile.name} {profile.digest}: {len(profile.samples)} samples pass")
        except OSError as error:
            complain(f"{file}: {error.strerror}")
            raise typer.Exit(2) from error
        except (BadProfile, UnicodeDecodeError) as error:
            wrong = True
            say(str(error))
    raise typer.Exit(1 if wrong else 0)
