"""What a mapping is given and how it is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.message import Message

Kind = Literal["result", "quality-control", "calibration", "order", "query", "patient", "administrative"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message as it is in the journal.

    `id` is that of its Binary, `connection` the name of the connection it came by, `received` the instant in microseconds
    since 1970 UTC.
    """

    id: str
    connection: str
    received: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """What a mapping must know besides the message.

    `zone` is that of times that are written without one; `again` says that the message has been mapped before.
    """

    profile: Profile
    receipt: Receipt
    zone: tzinfo
    again: bool = False


@dataclass(frozen=True, slots=True)
class Classified:
    """What a message is, and the key within which the order of messages is kept ('' when there is none)."""

    kind: Kind
    partition: str


Map = Callable[[Message, Draft, Context], Awaitable[None]]
