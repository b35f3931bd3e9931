"""What the bridge knows of a FHIR server: it can be asked, and it takes transactions.

https://hl7.org/fhir/R4/http.html#transaction. In process it is the server's own dispatch, alone it is HTTP; both pass the one
door for writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Resource = dict[str, Any]
Query = Sequence[tuple[str, str]]


class Overtaken(Exception):
    """A transaction was refused because something that it was made from has changed (412, or 409 of a version): map anew."""


class Refused(Exception):
    """A transaction was refused for good: `status` and the OperationOutcome that says why."""

    def __init__(self, status: int, outcome: Resource) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status
        self.outcome = outcome


class Unreachable(Exception):
    """The server cannot be asked or written to just now; nothing was written as far as is known."""


class FhirServer(Protocol):
    """A FHIR R4 server."""

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        """The current resources that match, with their ids and versions. Raises Refused, Unreachable."""

    async def read(self, type: str, id: str) -> Resource | None:
        """The current version, None when there is none. Raises Refused, Unreachable."""

    async def deliver(self, bundle: Resource) -> Resource:
        """Carry out a transaction Bundle and give the answer. Raises Overtaken, Refused, Unreachable."""
