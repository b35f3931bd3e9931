"""What a server has seen to be frequent in an index, so that it is not counted again for each search.

Values that many resources have (a code of the laboratory, a status) are asked for again and again. An invariant to keep: what is
remembered chooses between plans that give the same answer, never an answer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable

# Entries that are kept, and the seconds after which one is counted again.
_MOST, _SECONDS = 10_000, 600.0


class Frequent:
    """The least number of documents of what was counted, by what it was."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def least(self, key: Hashable) -> int:
        """How many there were at the least; 0 when that is not known."""
        number, until = self._seen.get(key, (0, 0.0))
        return number if time.monotonic() < until else 0

    def saw(self, key: Hashable, number: int) -> None:
        self._seen[key] = max(number, self.least(key)), time.monotonic() + _SECONDS
        self._seen.move_to_end(key)
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
