"""What the bridge does, in figures, for each connection. An invariant to keep: every message that was received is in exactly one state.

So `received = duplicates + the entries that were made`, and the entries are those of all states together, those that wait included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hl7_bridge.journal import State

# so many of the last answers are looked at
KEPT = 1000


@dataclass(slots=True)
class Tally:
    """The figures of a connection since the process began. Instants are microseconds, 0: never; durations are seconds."""

    received: int = 0
    duplicates: int = 0
    incomplete: int = 0
    refused: int = 0
    last: int = 0
    answers: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    @property
    def answer_p99(self) -> float:
        """In how many seconds 99 of 100 of the last answers were given; 0 without any."""
        ordered = sorted(self.answers)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] if ordered else 0.0


@dataclass(slots=True)
class Tallies:
    """The figures of one process. `depth` is how many messages it has in work."""

    connections: dict[str, Tally] = field(default_factory=dict)
    handled: dict[tuple[str, State], int] = field(default_factory=dict)
    reasons: dict[tuple[str, str], int] = field(default_factory=dict)
    depth: int = 0

    def of(self, connection: str) -> Tally:
        found = self.connections.get(connection)
        if found is None:
            found = self.connections[connection] = Tally()
        return found

    def arrived(self, connection: str, now: int, *, duplicate: bool, complete: bool = True) -> None:
        """A message was received and is kept, or was kept already."""
        of = self.of(connection)
        of.received += 1
        of.duplicates += duplicate
        of.incomplete += not complete and not duplicate
        of.last = now

    def refused(self, connection: str) -> None:
        """A message could not be kept, and the sender was told so."""
        self.of(connection).refused += 1

    def answered(self, connection: str, seconds: float) -> None:
        self.of(connection).answers.append(seconds)

    def became(self, connection: str, state: State, reasons: tuple[str, ...]) -> None:
        """A message has left the state received."""
        self.handled[connection, state] = self.handled.get((connection, state), 0) + 1
        for reason in reasons:
            self.reasons[connection, reason] = self.reasons.get((connection, reason), 0) + 1

    def add(self, other: Tallies) -> None:
        """Count in what another process has counted."""
        for name, theirs in other.connections.items():
            of = self.of(name)
            of.received += theirs.received
            of.duplicates += theirs.duplicates
            of.incomplete += theirs.incomplete
            of.refused += theirs.refused
            of.last = max(of.last, theirs.last)
            of.answers = deque([*of.answers, *theirs.answers])
        for key, count in other.handled.items():
            self.handled[key] = self.handled.get(key, 0) + count
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        self.depth += other.depth

    def told(self) -> dict[str, Any]:
        """The figures as JSON, for another process."""
        return {
            "connections": {
                name: [of.received, of.duplicates, of.incomplete, of.refused, of.last, list(of.answers)]
                for name, of in self.connections.items()
            },
            "handled": [[*key, count] for key, count in self.handled.items()],
            "reasons": [[*key, count] for key, count in self.reasons.items()],
            "depth": self.depth,
        }


def heard(told: dict[str, Any]) -> Tallies:
    """The figures that another process has told."""
    return Tallies(
        {name: _tally(*of) for name, of in told["connections"].items()},
        {(name, state): count for name, state, count in told["handled"]},
        {(name, reason): count for name, reason, count in told["reasons"]},
        told["depth"],
    )


def _tally(
    received: int, duplicates: int, incomplete: int, refused: int, last: int, answers: list[float]
) -> Tally:
    return Tally(received, duplicates, incomplete, refused, last, deque(answers))


def together(several: Iterable[Tallies]) -> Tallies:
    """The figures of several processes in one."""
    whole = Tallies()
    for one in several:
        whole.add(one)
    return whole
