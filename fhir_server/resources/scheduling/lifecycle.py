"""The states of an Appointment and the ways between them. https://hl7.org/fhir/R4/valueset-appointmentstatus.html

A new Appointment may come in any state, because records of what happened come from elsewhere. An invariant to keep: what
was cancelled, missed or fulfilled does not take anybody's time again, but for a patient who came after all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import DAY, parse_interval

HOLD_EXPIRES = "https://osler.health/fhir/StructureDefinition/hold-expires"
OVERBOOKING_REASON = "https://osler.health/fhir/StructureDefinition/overbooking-reason"
OVERRIDE_REASON = "https://osler.health/fhir/StructureDefinition/override-reason"

# an Appointment in one of these takes the time of those who take part
LIVE = ("pending", "booked", "arrived", "checked-in")
# these need no time yet, or no more (R4, constraint app-3)
TIMELESS = ("proposed", "cancelled", "waitlist")

TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "proposed": ("pending", "booked", "waitlist", "cancelled", "entered-in-error"),
    "waitlist": ("proposed", "pending", "booked", "cancelled", "entered-in-error"),
    "pending": ("booked", "waitlist", "proposed", "cancelled", "entered-in-error"),
    "booked": ("pending", "arrived", "checked-in", "cancelled", "noshow", "entered-in-error"),
    "checked-in": ("arrived", "fulfilled", "entered-in-error"),
    "arrived": ("checked-in", "fulfilled", "entered-in-error"),
    "noshow": ("arrived", "checked-in", "entered-in-error"),
    "fulfilled": ("entered-in-error",),
    "cancelled": ("entered-in-error",),
    "entered-in-error": (),
}


def check_transition(before: Mapping[str, Any], after: Mapping[str, Any], now: int) -> None:
    """Raise BusinessRule when an Appointment may not go from one state to the other at `now`."""
    old, new = before["status"], after["status"]
    if old == new:
        return
    allowed = TRANSITIONS.get(old, ())
    if new not in allowed:
        ways = " or ".join(allowed) or "no other state"
        raise BusinessRule(
            f"An Appointment that is {old} cannot become {new}; it can become {ways}.", "Appointment.status"
        )
    if old == "noshow" and new != "entered-in-error":
        _check_late_arrival(after, now)


def _check_late_arrival(after: Mapping[str, Any], now: int) -> None:
    if extension_value(after, OVERRIDE_REASON) is None:
        raise BusinessRule(
            f"Who was missed and came after all is let in with a reason: extension {OVERRIDE_REASON}.",
            "Appointment.extension",
        )
    if "start" not in after or now >= parse_interval(after["start"])[0] + DAY:
        raise BusinessRule("Who was missed can come on the same day only.", "Appointment.status")


def check_times(appointment: Mapping[str, Any]) -> None:
    """Raise BusinessRule when an Appointment lacks the times that its state needs, or ends before it begins."""
    start, end = appointment.get("start"), appointment.get("end")
    if start is None or end is None:
        if appointment["status"] not in TIMELESS and appointment["status"] != "entered-in-error":
            raise BusinessRule(
                f"An Appointment that is {appointment['status']} needs start and end.", "Appointment.start"
            )
        return
    if parse_interval(start)[0] >= parse_interval(end)[0]:
        raise BusinessRule("An Appointment ends after it begins.", "Appointment.end")


def period_of(appointment: Mapping[str, Any]) -> tuple[int, int] | None:
    """The instants [start, end) of an Appointment or Slot; None when one of them is not stated."""
    if "start" not in appointment or "end" not in appointment:
        return None
    return parse_interval(appointment["start"])[0], parse_interval(appointment["end"])[0]


def extension_value(resource: Mapping[str, Any], url: str) -> Any:
    """The value of an extension of the resource; None without."""
    for extension in resource.get("extension", ()):
        if extension.get("url") == url:
            return next((v for k, v in extension.items() if k.startswith("value")), None)
    return None


def without_extension(resource: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The resource without an extension."""
    kept = [e for e in resource.get("extension", ()) if e.get("url") != url]
    rest = {k: v for k, v in resource.items() if k != "extension"}
    return {**rest, "extension": kept} if kept else rest


def with_extension(resource: Mapping[str, Any], url: str, **value: Any) -> dict[str, Any]:
    """The resource with one extension of this url, and the value."""
    rest = without_extension(resource, url)
    return {**rest, "extension": [*rest.get("extension", ()), {"url": url, **value}]}


def hold_expiry(appointment: Mapping[str, Any]) -> int | None:
    """The instant at which a hold ends by itself; None for what is no hold."""
    if appointment["status"] != "pending":
        return None
    text = extension_value(appointment, HOLD_EXPIRES)
    return None if text is None else parse_interval(text)[0]


def is_live(appointment: Mapping[str, Any], now: int) -> bool:
    """Whether an Appointment takes time at `now`: in a live state, and no hold that has expired."""
    if appointment["status"] not in LIVE:
        return False
    expiry = hold_expiry(appointment)
    return expiry is None or expiry > now
