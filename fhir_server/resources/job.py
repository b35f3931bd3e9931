"""A background job as a Task resource: what is to be done, how far it is, and where to go on.

https://hl7.org/fhir/R4/task.html. An invariant to keep: everything that a job needs to go on after a restart is in its
Task. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fhir_r4.temporal import format_instant, parse_interval
from fhir_server.search.tree import Expression, TokenIs, all_of, any_of

JOB_SYSTEM = "https://osler.health/fhir/CodeSystem/job"

Status = Literal["requested", "in-progress", "completed", "failed", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("requested", "in-progress")


@dataclass(frozen=True, slots=True)
class Job:
    """`types` are the resource types that it is about (none: all), `focus` the address of the resource that it serves.

    `done` of `total` resources are dealt with, `changed` index entries were changed; `cursor` is where to go on, and
    `basis` a digest of what the work so far was based on. Instants are microseconds since 1970 UTC.
    """

    id: str
    kind: str
    status: Status
    created: int
    modified: int
    types: tuple[str, ...] = ()
    focus: str | None = None
    cursor: int = 0
    done: int = 0
    total: int = 0
    changed: int = 0
    basis: str = ""
    reason: str | None = None

    def as_task(self) -> dict[str, Any]:
        task: dict[str, Any] = {
            "resourceType": "Task",
            "id": self.id,
            "status": self.status,
            "intent": "order",
            "code": _concept(self.kind),
        }
        if self.reason is not None:
            task["statusReason"] = {"text": self.reason}
        if self.focus is not None:
            task["focus"] = {"reference": self.focus}
        task["authoredOn"] = format_instant(self.created)
        task["lastModified"] = format_instant(self.modified)
        if self.types:
            task["input"] = [{"type": _concept("type"), "valueCode": type} for type in self.types]
        task["output"] = [
            {"type": _concept("done"), "valueUnsignedInt": self.done},
            {"type": _concept("total"), "valueUnsignedInt": self.total},
            {"type": _concept("changed"), "valueUnsignedInt": self.changed},
            {"type": _concept("cursor"), "valueString": str(self.cursor)},
        ]
        if self.basis:
            task["output"].append({"type": _concept("basis"), "valueString": self.basis})
        return task


def _concept(code: str) -> dict[str, Any]:
    return {"coding": [{"system": JOB_SYSTEM, "code": code}]}


def _code(concept: Mapping[str, Any]) -> str | None:
    return next((c.get("code") for c in concept.get("coding", ()) if c.get("system") == JOB_SYSTEM), None)


def job_of(task: Mapping[str, Any]) -> Job | None:
    """The job that a stored Task is; None for a Task that is none, or that somebody has spoilt."""
    kind = _code(task.get("code", {}))
    if kind is None:
        return None
    outputs = {_code(o["type"]): o for o in task.get("output", ())}
    inputs = [i for i in task.get("input", ()) if _code(i["type"]) == "type"]
    try:
        return Job(
            id=task["id"],
            kind=kind,
            status=task["status"],
            created=parse_interval(task["authoredOn"])[0],
            modified=parse_interval(task["lastModified"])[0],
            types=tuple(i["valueCode"] for i in inputs),
            focus=task.get("focus", {}).get("reference"),
            cursor=int(outputs["cursor"]["valueString"]),
            done=int(outputs["done"]["valueUnsignedInt"]),
            total=int(outputs["total"]["valueUnsignedInt"]),
            changed=int(outputs["changed"]["valueUnsignedInt"]),
            basis=outputs["basis"]["valueString"] if "basis" in outputs else "",
            reason=task.get("statusReason", {}).get("text"),
        )
    except (KeyError, ValueError):
        return None


def unfinished(kind: str | None = None) -> Expression:
    """What holds for the Tasks of jobs (of one kind, or all) that wait or are being done."""
    return all_of(
        [
            TokenIs("code", JOB_SYSTEM, kind),
            any_of(TokenIs("status", None, status) for status in UNFINISHED),
        ]
    )


def touched(job: Job, now: int, **changes: Any) -> Job:
    """The job with changes, modified `now`."""
    return replace(job, modified=now // 1000 * 1000, **changes)
