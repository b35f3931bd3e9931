"""The one place that says who may do what needs more than writing. The permissions are the verbs of `PERMISSIONS`.

While access control is off the server listens on loopback alone and everybody there may do everything.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.errors import Forbidden
from fhir_server.context import Actor

PERMISSIONS: Mapping[str, str] = {
    "overbook": "book beyond the capacity of a Schedule, with a reason or for who walks in",
    "override": "set a ward rule, a deadline or a missed appointment aside, with a reason",
    "evict": "take a bed from those who have reserved it, with a reason",
    "take-hold": "change what another user holds for a while",
}


def may(actor: Actor | None, what: str) -> bool:
    """Whether the actor may do `what`, one of PERMISSIONS; None is the server itself."""
    return actor is None or actor.administrator or actor.permissions is None or what in actor.permissions


def require(actor: Actor | None, what: str) -> None:
    """Raise Forbidden (403) unless the actor may."""
    if not may(actor, what):
        raise Forbidden(f"This needs the permission {what}: to {PERMISSIONS[what]}.")
