"""Commands about device profiles: `osler hl7 onboard | profiles`. Exit codes as of all commands of `osler hl7`."""

from __future__ import annotations

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
        list[Path], typer.Argument(metavar="SAMPLES", help="Files with messages of the device.")
    ],
    name: Annotated[str, typer.Option(help="What the profile shall be called.")] = "new-device",
) -> None:
    """Draft a device profile from messages: YAML, to be read, corrected and tried."""
    from hl7_bridge.batch import messages_in
    from hl7_bridge.devices.onboarding import draft_profile
    from hl7_bridge.message import NotHl7

    raws: list[bytes] = []
    for file in files:
        try:
            raws += messages_in(file.read_bytes())
        except OSError as error:
            complain(f"{file}: {error.strerror}")
            raise typer.Exit(2) from error
    try:
        say(draft_profile(name, raws))
    except (NotHl7, ValueError) as error:
        complain(str(error))
        raise typer.Exit(2) from error


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
