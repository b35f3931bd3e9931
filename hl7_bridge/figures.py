"""What is counted of a connection's bytes and messages. An invariant to keep: nothing here says anything about a patient."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

# seconds; each a quarter more than the one before: 0.1 ms to about a minute
_BOUNDS = tuple(0.0001 * 1.25**n for n in range(61))


class Histogram:
    """How long something took, in classes that are a quarter wide; it stays small however much is counted."""

    __slots__ = ("_counts", "count", "longest", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def quantile(self, share: float) -> float:
        """The seconds within which that share of all was done, up to a quarter too much; 0 when nothing was counted."""
        wanted, seen = share * self.count, 0
        for bound, count in zip((*_BOUNDS, self.longest), self._counts, strict=True):
            seen += count
            if seen >= wanted and seen:
                return min(bound, self.longest)
        return self.longest


@dataclass(slots=True)
class WireFigures:
    """One registered connection, over all sockets that it had.

    `bytes` = those of messages, of incomplete ones, `noise_bytes` (heartbeats included) and what is held at the moment.
    `failed` are messages that could not be taken, so their senders got no answer and were disconnected; `last_message` is in
    seconds since 1970, 0 when there was none.
    """

    open: int = 0
    opened: int = 0
    refused: int = 0
    received: int = 0
    incomplete: int = 0
    failed: int = 0
    answered: int = 0
    bytes: int = 0
    noise_bytes: int = 0
    heartbeat_bytes: int = 0
    held_bytes: int = 0
    last_message: float = 0.0
    answer_seconds: Histogram = field(default_factory=Histogram)
