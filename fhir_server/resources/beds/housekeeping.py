"""Tasks of housekeeping: a bed that somebody has left is cleaned before the next comes.

https://hl7.org/fhir/R4/task.html. An invariant to keep: a bed that turns H or K has one open Task, and the Task that is
completed turns the bed: K to H, H to U.
"""

from __future__ import annotations

from typing import Any

from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.places import is_bed, left_by, status_of, with_status
from fhir_server.resources.change import NOTHING, Change, Consequence, Known
from fhir_server.search.tree import RefersTo, TokenIs, all_of, any_of

TASK_SYSTEM = "https://osler.health/fhir/CodeSystem/bed-task"
HOUSEKEEPING, DECONTAMINATION, REBED = "housekeeping", "decontamination", "rebed"
# the Task that a state of a bed asks for
ASKED = {"H": HOUSEKEEPING, "K": DECONTAMINATION}
# from which state to which the Task brings the bed
BRINGS = {HOUSEKEEPING: ("H", "U"), DECONTAMINATION: ("K", "H")}
NAMES = {
    HOUSEKEEPING: "Clean the bed",
    DECONTAMINATION: "Decontaminate the bed",
    REBED: "Find another bed",
}
OPEN = ("draft", "requested", "received", "accepted", "ready", "in-progress", "on-hold")


def kind_of(task: Resource | None) -> str | None:
    """Which of these Tasks it is, or None."""
    if task is None:
        return None
    codings = task.get("code", {}).get("coding", ())
    return next((c.get("code") for c in codings if c.get("system") == TASK_SYSTEM), None)


def is_open(task: Resource) -> bool:
    return task.get("status") in OPEN


def bed_task(id: str, kind: str, focus: str, now: int, **more: Any) -> Resource:
    """A new Task of `kind` about the resource at the address `focus`."""
    coding = {"system": TASK_SYSTEM, "code": kind, "display": NAMES[kind]}
    return {
        "resourceType": "Task",
        "id": id,
        "status": "requested",
        "intent": "order",
        "priority": "urgent" if kind != HOUSEKEEPING else "routine",
        "code": {"coding": [coding]},
        "focus": {"reference": focus},
        **more,
        "authoredOn": format_instant(now),
        "lastModified": format_instant(now),
    }


async def open_tasks(known: Known, bed: str) -> list[Resource]:
    """The Tasks of housekeeping at a bed that are not done yet."""
    where = all_of(
        [
            RefersTo("focus", "Location", bed),
            TokenIs("code", TASK_SYSTEM, None),
            any_of(TokenIs("status", None, status) for status in OPEN),
        ]
    )
    return await known.find("Task", where)


async def judge_task(change: Change, known: Known, services: Services) -> Consequence:
    """A Task that is completed brings the bed to its next state."""
    task = change.after
    kind = kind_of(task)
    if task is None or change.derived or kind not in BRINGS or task.get("status") != "completed":
        return NOTHING
    if change.before is None or not is_open(change.before):
        return NOTHING
    id = local_id(task.get("focus"), "Location", services.settings.local_bases)
    bed = None if id is None else await known.current("Location", id)
    since, to = BRINGS[kind]
    if bed is None or not is_bed(bed) or status_of(bed) != since:
        return NOTHING
    return Consequence(writes=(with_status(bed, to, left=left_by(bed) if to in ASKED else None),))


async def follow_status(
    change: Change, known: Known, services: Services, since: str | None, to: str | None
) -> tuple[Resource, ...]:
    """The Tasks that are to be written when a bed changes its state."""
    if since == to:
        return ()
    writes: list[Resource] = []
    if since in ASKED:
        done = "completed" if BRINGS[ASKED[since]][1] == to else "cancelled"
        for task in await open_tasks(known, change.id):
            if kind_of(task) in BRINGS:
                writes.append({**task, "status": done, "lastModified": format_instant(known.now)})
    if to in ASKED:
        place = {"reference": f"Location/{change.id}"}
        stay = None if change.after is None else left_by(change.after)
        more = {} if stay is None else {"encounter": {"reference": stay}}
        task = bed_task(services.new_id(), ASKED[to], place["reference"], known.now, **more, location=place)
        writes.append(task)
    return tuple(writes)
