"""Through which states a stay goes, and its history of states. https://hl7.org/fhir/R4/valueset-encounter-status.html

Inpatient stays: planned, arrived, in-progress and onleave in turn, finished; cancelled before the end. What is finished or
cancelled goes on, and what has begun is planned again, only with an extension that says why (`stays.REVERSAL`), which
$cancel-discharge and cancelling messages of HL7 v2 write. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.beds.stays import is_inpatient, reversals, start_of

ERROR = "entered-in-error"
NEXT: Mapping[str, frozenset[str]] = {
    "planned": frozenset({"arrived", "triaged", "in-progress", "cancelled", ERROR}),
    "arrived": frozenset({"triaged", "in-progress", "cancelled", ERROR}),
    "triaged": frozenset({"in-progress", "cancelled", ERROR}),
    "in-progress": frozenset({"onleave", "finished", "cancelled", ERROR}),
    "onleave": frozenset({"in-progress", "finished", ERROR}),
    "finished": frozenset({ERROR}),
    "cancelled": frozenset({ERROR}),
    ERROR: frozenset(),
}
REVERSED = frozenset({("finished", "in-progress"), ("cancelled", "planned"), ("in-progress", "planned")})


def check_lifecycle(before: Resource | None, after: Resource) -> None:
    """Refuse a state that cannot follow. Raises BusinessRule."""
    if before is None or not (is_inpatient(before) or is_inpatient(after)):
        return
    since, to = str(before.get("status")), str(after.get("status"))
    if since == to or since not in NEXT or to in NEXT[since]:
        return
    if (since, to) in REVERSED and reversals(after) > reversals(before):
        return
    ways = ", ".join(sorted(NEXT[since])) or "nothing"
    more = "; $cancel-discharge takes a discharge back" if since == "finished" else ""
    raise BusinessRule(
        f"Encounter/{after['id']} is {since}; from there it becomes {ways}, not {to}{more}.",
        "Encounter.status",
    )


def with_status_history(before: Resource | None, after: Resource, now: int) -> Resource:
    """The stay with the state that it leaves added to its history, unless the writer has told the history already."""
    if before is None or before.get("status") == after.get("status"):
        return after
    told = before.get("statusHistory", [])
    if after.get("statusHistory", []) != told:
        return after
    since = told[-1].get("period", {}).get("end") if told else before.get("period", {}).get("start")
    began = start_of(since)
    period: Resource = {"start": since} if began is not None and began <= now else {}
    period["end"] = format_instant(now)
    return {**after, "statusHistory": [*told, {"status": before["status"], "period": period}]}
