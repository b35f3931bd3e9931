"""How a search was answered: its commands as MongoDB carries them out.

https://www.mongodb.com/docs/manual/reference/explain-results/. Commands are told with a mark in the place of every value. Each
command that ran is run once more under `explain`, so what is told is measured on the state of that later moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fhir_server.store.mongo.connections import Connection, Document
from fhir_server.store.records import Explanation, Page, Step

UNIT = "keys and documents that MongoDB examined"


@dataclass(slots=True)
class Record:
    """The commands of a search in their order, with what each gave and how long it took in microseconds."""

    commands: list[tuple[Document, int, int]] = field(default_factory=list)

    def add(self, command: Document, rows: int, microseconds: int) -> None:
        self.commands.append((command, rows, microseconds))


async def explanation_of(
    connection: Connection, record: Record, page: Page, microseconds: int
) -> Explanation:
    """What the commands of a search did."""
    steps = [await _step(connection, *one) for one in record.commands]
    return Explanation(
        steps=tuple(steps),
        work=sum(step.work for step in steps),
        unit=UNIT,
        microseconds=microseconds,
        matches=len(page.matches),
        total=page.total,
    )


async def _step(connection: Connection, command: Document, rows: int, microseconds: int) -> Step:
    told = await connection.database.command(
        {"explain": {**command, "cursor": {}} if "aggregate" in command else command},
        verbosity="executionStats",
    )
    plans = list(_plans(told))
    plan = [line for plan, _ in plans for line in _told(plan, 0)]
    work = sum(int(stats["totalKeysExamined"]) + int(stats["totalDocsExamined"]) for _, stats in plans)
    return Step(_text(command), tuple(plan), rows, work, microseconds)


def _plans(told: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every plan within an explanation, of a shard or of a pipeline inside of another, with what it took."""
    if isinstance(told, Mapping):
        stats = told.get("executionStats")
        if (
            isinstance(stats, Mapping)
            and "executionStages" in stats
            and "shards" not in stats["executionStages"]
        ):
            yield stats["executionStages"], stats
            told = {
                name: value for name, value in told.items() if name not in ("executionStats", "queryPlanner")
            }
        for value in told.values():
            yield from _plans(value)
    elif isinstance(told, list):
        for value in told:
            yield from _plans(value)


def _told(stage: Mapping[str, Any], depth: int) -> Iterator[str]:
    """The stages of a plan, each set in by its depth."""
    words = [stage["stage"]]
    if "indexName" in stage:
        words.append(stage["indexName"])
        if stage.get("direction") == "backward":
            words.append("backward")
    for name in ("keysExamined", "docsExamined", "nReturned"):
        if name in stage:
            words.append(f"{name}={stage[name]}")
    yield "  " * depth + " ".join(words)
    inner = [stage["inputStage"]] if "inputStage" in stage else stage.get("inputStages", [])
    for one in inner:
        yield from _told(one, depth + 1)


def _text(command: Document) -> str:
    return msgspec.json.encode(_marked(command), enc_hook=str).decode()


_PLAIN = frozenset(
    {"find", "aggregate", "hint", "limit", "$limit", "coll", "sort", "$sort", "projection", "$project"}
)


def _marked(value: Any, name: str = "") -> Any:
    """The command with a mark in the place of what was searched for."""
    if name in _PLAIN:
        return value
    match value:
        case Mapping():
            return {key: _marked(member, key) for key, member in value.items() if key != "batchSize"}
        case list():
            marked = [_marked(item) for item in value]
            return ["?"] if len(marked) > 1 and all(one == "?" for one in marked) else marked
        case _:
            return "?"
