"""Whose a hold is: the user who has made it, until it ends. Others may not book, prolong, move or end it.

The holder stands in an extension of the Appointment that is the server's own. What the server does for those who take part
(an answer to an Appointment, an offer to one who waits) is nobody's interference. An invariant to keep: a hold without a
holder is as open to everybody as other Appointments are.
"""

from __future__ import annotations

from decimal import Decimal

from fhir_r4.errors import Forbidden
from fhir_server.context import Actor, Resource
from fhir_server.resources.change import Change
from fhir_server.resources.permissions import require
from fhir_server.resources.scheduling.lifecycle import (
    OVERBOOKING_REASON,
    OVERRIDE_REASON,
    extension_value,
    hold_expiry,
    is_live,
    with_extension,
    without_extension,
)
from fhir_server.resources.scheduling.taking import is_overbooking, is_walk_in
from fhir_server.store.records import Claim

HELD_BY = "https://osler.health/fhir/StructureDefinition/held-by"


def check_holder(change: Change, now: int) -> None:
    """Raise Forbidden when the change is one of a hold that another user has."""
    actor, before = change.actor, change.before
    if actor is None or before is None or not is_live(before, now):
        return
    holder = holder_of(before)
    if holder is None or holder == actor.id or actor.administrator:
        return
    if actor.permissions is None or "take-hold" not in actor.permissions:
        raise Forbidden(
            f"Appointment/{change.id} is held by another user: this needs the permission take-hold."
        )


def check_exceptions(change: Change, now: int) -> None:
    """Raise Forbidden when the change makes an exception that the actor may not make."""
    before, after = change.before, change.after
    if change.actor is None or after is None:
        return
    news = {} if before is None else before
    if is_live(after, now) and is_overbooking(after):
        walks_in = is_walk_in(after) and not is_walk_in(news)
        if walks_in or not _same(news, after, OVERBOOKING_REASON):
            require(change.actor, "overbook")
    if extension_value(after, OVERRIDE_REASON) is not None and not _same(news, after, OVERRIDE_REASON):
        require(change.actor, "override")


def _same(one: Resource, other: Resource, url: str) -> bool:
    return bool(extension_value(one, url) == extension_value(other, url))


def holder_of(appointment: Resource) -> str | None:
    """Who has made a hold; None for what is no hold, or anybody's."""
    return None if hold_expiry(appointment) is None else extension_value(appointment, HELD_BY)


def with_holder(change: Change, after: Resource, now: int) -> Resource:
    """The Appointment with its holder, when it is a hold: who has it already, else who makes it."""
    before = change.before
    wanted: str | None = None
    if hold_expiry(after) is not None:
        if before is not None and hold_expiry(before) is not None and is_live(before, now):
            wanted = holder_of(before)
        else:
            wanted = _known(change.actor)
    if extension_value(after, HELD_BY) == wanted:
        return after
    if wanted is None:
        return without_extension(after, HELD_BY)
    return with_extension(after, HELD_BY, valueString=wanted)


def _known(actor: Actor | None) -> str | None:
    return actor.id if actor is not None and actor.is_known else None


def holder_claims(appointment: Resource, most: int) -> tuple[Claim, ...]:
    """That a user holds so many times at once at the most."""
    holder = holder_of(appointment)
    if holder is None:
        return ()
    return (Claim(f"holds:{holder}", Decimal(1), Decimal(most), expires=hold_expiry(appointment)),)
