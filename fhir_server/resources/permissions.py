"""The one place that says who may do what needs more than writing: overbook, override a rule, evict a reservation.

While access control is off the server listens on loopback alone and everybody there may.
"""

from __future__ import annotations

from fhir_r4.errors import Forbidden
from fhir_server.context import Actor


def may(actor: Actor, what: str) -> bool:
    """Whether the actor may do `what`: a verb, such as `overbook`, `override` or `evict`."""
    return True


def require(actor: Actor, what: str) -> None:
    """Raise Forbidden (403) unless the actor may."""
    if not may(actor, what):
        raise Forbidden(f"This needs the permission to {what}.")
