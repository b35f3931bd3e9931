"""What clients asked to be written and what the server acknowledged: kept outside the server, to be held against it.

Every version that a client sends carries an identifier with a mark of its own, so each stored version can be traced to
the write that made it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

Resource = dict[str, Any]
# Type, id and version.
Version = tuple[str, str, int]

MARKS = "http://osler.test/mark"
KEYS = "http://osler.test/key"


def mark_of(resource: Resource) -> str | None:
    """The mark that `resource` carries."""
    for identifier in resource.get("identifier", ()):
        if identifier.get("system") == MARKS:
            return str(identifier["value"])
    return None


@dataclass(slots=True)
class Write:
    """One request. `sent` are its resources by mark; `acknowledged` what the server said it wrote, None until it answered.

    `key` is the identifier value that a conditional create was about; `refused` says that the answer was 503, which promises
    that nothing was written.
    """

    kind: str
    sent: dict[str, Resource]
    key: str | None = None
    acknowledged: list[Version] | None = None
    refused: bool = False


@dataclass(slots=True)
class Journal:
    """All writes to one store, and the answers that no server should have given."""

    writes: list[Write] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    _marks: int = 0
    _answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    def mark(self) -> str:
        """A new mark."""
        self._marks += 1
        return f"m{self._marks:06d}"

    def begin(self, kind: str, *resources: Resource, key: str | None = None) -> Write:
        """Record a write before it is sent."""
        marks = {mark: resource for resource in resources if (mark := mark_of(resource)) is not None}
        write = Write(kind, marks, key)
        self.writes.append(write)
        return write

    async def acknowledge(self, write: Write, versions: list[Version]) -> None:
        """Record what the server said it wrote."""
        write.acknowledged = versions
        async with self._answered:
            self._answered.notify_all()

    async def has_acknowledged(self, count: int) -> None:
        """Return once `count` writes have been acknowledged."""
        async with self._answered:
            await self._answered.wait_for(lambda: len(self.acknowledged) >= count)

    @property
    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if write.acknowledged is not None]
