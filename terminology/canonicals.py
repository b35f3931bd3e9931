"""Canonical addresses `url|version`, https://hl7.org/fhir/R4/references.html#canonical."""

from __future__ import annotations

from typing import NamedTuple


class Canonical(NamedTuple):
    url: str
    version: str | None = None

    def __str__(self) -> str:
        return self.url if self.version is None else f"{self.url}|{self.version}"


def parse_canonical(text: str) -> Canonical:
    """`url|version` taken apart; a fragment (`#id`) stays in the url."""
    url, bar, version = text.partition("|")
    return Canonical(url, version if bar and version else None)
