"""The trace of an exception: a Provenance that says who has booked or changed an Appointment against its rules, and why.

https://hl7.org/fhir/R4/provenance.html. Pure. An invariant to keep: the same exception leaves one Provenance, however often it
is judged or sent.
"""

from __future__ import annotations

from hashlib import sha256

from fhir_r4.jsonio import encode
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.change import Change
from fhir_server.resources.scheduling.lifecycle import OVERBOOKING_REASON, OVERRIDE_REASON, extension_value

USERS = "https://osler.health/fhir/CodeSystem/user"
ACTIVITY = "https://osler.health/fhir/CodeSystem/scheduling"
KINDS = ((OVERBOOKING_REASON, "overbooked"), (OVERRIDE_REASON, "overridden"))


def traces(change: Change, now: int) -> tuple[Resource, ...]:
    """A Provenance for each reason that is new with this change; none where nobody says who they are."""
    before, after, actor = change.before, change.after, change.actor
    if after is None or actor is None or not actor.is_known:
        return ()
    made = []
    for url, activity in KINDS:
        reason = extension_value(after, url)
        if reason is not None and (before is None or extension_value(before, url) != reason):
            made.append(_trace(change.id, activity, reason, actor.id, now))
    return tuple(made)


def _trace(appointment: str, activity: str, reason: Resource, user: str, now: int) -> Resource:
    told = "\0".join((appointment, activity, user)).encode() + b"\0" + encode(reason)
    return {
        "resourceType": "Provenance",
        "id": "exception-" + sha256(told).hexdigest()[:48],
        "target": [{"reference": f"Appointment/{appointment}"}],
        "recorded": format_instant(now),
        "reason": [reason],
        "activity": {"coding": [{"system": ACTIVITY, "code": activity}]},
        "agent": [{"who": {"identifier": {"system": USERS, "value": user}}}],
    }
