"""Which rows of the v2-to-FHIR implementation guide are mapped, by what, and which are not, and why.

https://hl7.org/fhir/uv/v2mappings/. A function says what it maps with `@maps("PID-5")`; a segment module tells in its `SKIPS`
what is not mapped. An invariant to keep: the table is read from the code, so it cannot tell anything else.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import TypeVar

import hl7_bridge.mapping

F = TypeVar("F", bound=Callable[..., object])
_ATTRIBUTE = "maps_rows"


def maps(*rows: str) -> Callable[[F], F]:
    """Say which rows a function maps: fields (`PID-5`), or components of data types (`XPN.1`)."""

    def mark(function: F) -> F:
        setattr(function, _ATTRIBUTE, rows)
        return function

    return mark


def mapped() -> Mapping[str, tuple[str, ...]]:
    """The names of the functions that map a row, by row."""
    found: dict[str, tuple[str, ...]] = {}
    for module in _modules():
        for name, function in vars(module).items():
            if getattr(function, "__module__", None) == module.__name__:
                for row in getattr(function, _ATTRIBUTE, ()):
                    short = module.__name__.removeprefix("hl7_bridge.mapping.")
                    found[row] = (*found.get(row, ()), f"{short}.{name}")
    return found


def skipped() -> Mapping[str, str]:
    """Why a row is not mapped, by row: the `SKIPS` of all modules."""
    found: dict[str, str] = {}
    for module in _modules():
        skips: Mapping[str, str] = getattr(module, "SKIPS", {})
        for rows, reason in skips.items():
            for row in expanded(rows):
                found[row] = reason
    return found


def expanded(rows: str) -> Iterator[str]:
    """The rows of a list with ranges: `PID-1, PID-36..38`."""
    for part in rows.replace(" ", "").split(","):
        first, _, last = part.partition("..")
        stem, mark, number = first.rpartition("-")
        for n in range(int(number), int(last or number) + 1):
            yield f"{stem}{mark}{n}"


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(hl7_bridge.mapping.__path__, "hl7_bridge.mapping."):
        yield import_module(found.name)
