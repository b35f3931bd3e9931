"""What the bridge does, in figures, for each connection. An invariant to keep: every message that was received is in exactly one state.

So `received = duplicates + the entries that were made`, and the entries are those of all states together, those that wait included.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

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
    sessions: int = 0
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
