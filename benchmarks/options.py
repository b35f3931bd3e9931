"""What the person who measures may choose."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.servers import Server, serving


@dataclass(frozen=True, slots=True)
class Options:
    """`scale` shortens or lengthens rounds and amounts of data; `soak` loads 500,000 resources and watches memory,
    and lets devices send for ten minutes.

    `resources` is the size of the database for searches (0: a small one, over HTTP), kept in the folder `database`; `only` a
    part of the names of the searches to measure. `log_level` of the server: at `info` it writes a line for each request, which the limits do not do.
    """

    scale: float = 1.0
    soak: bool = False
    workers: int = 1
    log_level: str = "warning"
    resources: int = 0
    database: Path | None = None
    only: str = ""

    def serving(self, folder: str) -> AbstractContextManager[Server]:
        """`osler serve` on a file in `folder`."""
        variables = {"OSLER_LOG_LEVEL": self.log_level}
        return serving(f"sqlite:///{folder}/osler.db", workers=self.workers, variables=variables)

    def amount(self, number: int) -> int:
        return max(1, round(number * self.scale))
