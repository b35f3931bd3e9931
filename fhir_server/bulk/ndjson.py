"""Newline-delimited JSON, one resource a line, read and written as a stream.

Source: https://hl7.org/fhir/R4/nd-json.html. An invariant to keep: neither direction ever holds more than one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from fhir_r4.errors import FhirError
from fhir_r4.jsonio import decode_object

Resource = dict[str, Any]


def read_lines(stream: Iterable[bytes]) -> Iterator[tuple[int, Resource | FhirError]]:
    """Each line's number (from 1) with its object, or with the reason why it is none. Blank lines are passed over."""
    for number, line in enumerate(stream, 1):
        if line.isspace():
            continue
        try:
            yield number, decode_object(line)
        except FhirError as error:
            yield number, error


def write_lines(stream: IO[bytes], bodies: Iterable[bytes]) -> int:
    """Write compact JSON texts (which hold no line break) one a line; the number written."""
    count = 0
    for body in bodies:
        stream.write(body)
        stream.write(b"\n")
        count += 1
    return count
