"""The ids of proposed Appointments: each says what it proposes, so that none has to be kept until it is taken.

An id is `p.` and up to 62 letters of base64: a keyed digest, the start and length in seconds, and for each Schedule taken
part the sequence of the version that was looked at, with offset and length where they differ. The same proposal has the
same id. An invariant to keep: read_proposal(sign(p, key), key) == p. Pure. Rules and claims are judged anew when a
proposal is taken, so a forged id would gain nothing; the digest keeps ids of others from being taken for proposals.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from fhir_r4.temporal import SECOND

PREFIX = "p."
_DIGEST = 10
_MOST_BYTES = 46


@dataclass(frozen=True, slots=True)
class Part:
    """What one Schedule gives: from `offset` after the start, for `duration` (microseconds).

    `schedule` is the sequence of a version of the Schedule.
    """

    schedule: int
    offset: int
    duration: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A time (microseconds, whole seconds) for the Schedules of `parts`, the leading one first.

    `service` and `slot` are sequences of versions of a HealthcareService and a Slot; 0 for none.
    """

    start: int
    duration: int
    parts: tuple[Part, ...]
    service: int = 0
    slot: int = 0


def sign(proposal: Proposal, key: bytes) -> str | None:
    """The id of a proposal, 64 characters at the most; None when it has too many parts for an id."""
    numbers = [proposal.start // SECOND, proposal.duration // SECOND, proposal.service, proposal.slot]
    for part in proposal.parts:
        whole = part.offset == 0 and part.duration == proposal.duration
        numbers.append(part.schedule * 2 + (0 if whole else 1))
        if not whole:
            numbers += [part.offset // SECOND, part.duration // SECOND]
    content = b"".join(_written(number) for number in numbers)
    signed = _digest(content, key) + content
    if len(signed) > _MOST_BYTES:
        return None
    return PREFIX + base64.b64encode(signed, b"-.").rstrip(b"=").decode()


def read_proposal(id: str, key: bytes) -> Proposal | None:
    """The proposal that an id was made for with the same key; None for any other id."""
    if not id.startswith(PREFIX):
        return None
    text = id[len(PREFIX) :]
    try:
        signed = base64.b64decode(text + "=" * (-len(text) % 4), b"-.", validate=True)
    except ValueError:
        return None
    content = signed[_DIGEST:]
    if not content or not hmac.compare_digest(signed[:_DIGEST], _digest(content, key)):
        return None
    return _read(content)


def _read(content: bytes) -> Proposal:
    numbers = _numbers(content)
    start, duration, service, slot = (next(numbers) for _ in range(4))
    parts = []
    for number in numbers:
        if number % 2:
            parts.append(Part(number // 2, next(numbers) * SECOND, next(numbers) * SECOND))
        else:
            parts.append(Part(number // 2, 0, duration * SECOND))
    return Proposal(start * SECOND, duration * SECOND, tuple(parts), service, slot)


def _digest(content: bytes, key: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)[:_DIGEST]


def _written(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _numbers(content: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in content:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
