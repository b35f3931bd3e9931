"""Which message may be mapped next: in order of arrival within each key, whatever happens in others. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator


class Queues:
    """First in, first out for each key. An item with several keys waits until it is the first in all of them."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[str]] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        self._ready: deque[str] = deque()

    def __contains__(self, item: object) -> bool:
        return item in self._keys

    def __len__(self) -> int:
        """How many items are waiting or being done."""
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def add(self, item: str, keys: Collection[str]) -> None:
        """Put an item at the end of the queues of its keys; without any it waits for nobody."""
        own = tuple(dict.fromkeys(keys)) or (f"\0{item}",)
        self._keys[item] = own
        for key in own:
            self._waiting.setdefault(key, deque()).append(item)
        self._try((item,))

    def take(self) -> str | None:
        """The next item that may be done, None when there is none just now."""
        return self._ready.popleft() if self._ready else None

    def done(self, item: str) -> None:
        """An item that was taken is done: who waits behind it may be next."""
        heads = []
        for key in self._keys.pop(item):
            queue = self._waiting[key]
            queue.popleft()
            if queue:
                heads.append(queue[0])
            else:
                del self._waiting[key]
        self._try(dict.fromkeys(heads))

    def _try(self, items: Iterable[str]) -> None:
        for item in items:
            if all(self._waiting[key][0] == item for key in self._keys[item]):
                self._ready.append(item)
