"""The background of a server: reads the change feed, ends what has expired, sends what is due, again and again.

Any number of processes may do so on one store. An invariant to keep: a failure is told and tried again; it never ends the
loop, and never a request.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from fhir_server.context import Services
from fhir_server.subscriptions.appointments import AppointmentReactions
from fhir_server.subscriptions.channels import channels_of
from fhir_server.subscriptions.charging import ChargeReactions
from fhir_server.subscriptions.feed import Feed
from fhir_server.subscriptions.sending import Outbox

log = structlog.get_logger("osler.background")


class Worker:
    """What happens in the background, step by step; `start` does a step every so many seconds."""

    def __init__(self, services: Services) -> None:
        reactions = AppointmentReactions(services, services.settings.reminder_time)
        self._every = services.settings.background_seconds
        self._feed = Feed("appointments", services, ("Appointment",), reactions.react)
        charging = ChargeReactions(services)
        self._charges = Feed("charges", services, charging.types, charging.react)
        self._charging = services.settings.charge_events
        self._charge_reactions = charging
        self._reactions = reactions
        self._outbox = Outbox(services, channels_of(services.settings))
        self._task: asyncio.Task[None] | None = None

    async def step(self) -> None:
        """Everything that is to be done now."""
        await self._feed.catch_up()
        if await self._reactions.tidy():
            await self._feed.catch_up()
        await self._outbox.send_due()
        if self._charging:
            await self._charges.catch_up()
            await self._charge_reactions.count_days()

    def start(self) -> None:
        if self._every > 0:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except Exception as error:
                log.warning("background step failed", error=str(error)[:200])
            await asyncio.sleep(self._every)
