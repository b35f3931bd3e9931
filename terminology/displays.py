"""Which display of a code to show, and which displays of it are right, in the languages that were asked for.

Source: https://hl7.org/fhir/R4/languages.html and the parameter displayLanguage of the terminology operations. A language
that was asked for is met by itself and by its dialects (`de` by `de-CH`), best match first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from terminology.concepts import CodeSystem, Concept


@dataclass(frozen=True, slots=True)
class Display:
    """A text for a code; `preferred` when it may stand as the display, `designation` is the element it comes from."""

    text: str
    language: str | None
    preferred: bool
    designation: Mapping[str, Any] | None = None


def parse_languages(text: str | None) -> tuple[str, ...]:
    """`de,it;q=0.5` as languages, most wanted first; those with weight 0 and `*` are left out."""
    weighted: list[tuple[float, int, str]] = []
    for index, item in enumerate((text or "").split(",")):
        name, _, weight = item.strip().partition(";")
        try:
            wanted = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            wanted = 1.0
        if name.strip() not in ("", "*") and wanted > 0:
            weighted.append((-wanted, index, name.strip()))
    return tuple(name for _, _, name in sorted(weighted))


def no_other_language(text: str | None) -> bool:
    """Whether a request for languages refuses every other one: `*;q=0`."""
    return any("".join(item.split()) in ("*;q=0", "*;q=0.0") for item in (text or "").split(","))


def speaks(language: str | None, wanted: str) -> bool:
    """Whether `language` is `wanted` or a dialect of it."""
    if language is None:
        return False
    language, wanted = language.lower(), wanted.lower()
    return language == wanted or language.startswith(wanted + "-")


def displays_of(
    system: CodeSystem | None, concept: Concept | None, row: Mapping[str, Any]
) -> Iterator[Display]:
    """Every text that may stand for a code; what the value set says (`row`) first."""
    language = None if system is None else system.language
    if row.get("display") is not None:
        yield Display(row["display"], language, True)
    for designation in row.get("designation", ()):
        yield _of(designation)
    if concept is not None:
        if concept.display is not None:
            yield Display(concept.display, language, True)
        for designation in concept.designations:
            yield _of(designation)


def _of(designation: Mapping[str, Any]) -> Display:
    return Display(designation["value"], designation.get("language"), is_display(designation), designation)


def is_display(designation: Mapping[str, Any]) -> bool:
    use = designation.get("use")
    return use is None or use.get("code") in ("display", "preferredForLanguage")


def in_language(displays: Sequence[Display], languages: Sequence[str]) -> Display | None:
    """The display to show in the first of `languages` that has one; None when none has."""
    for language in languages:
        spoken = [d for d in displays if speaks(d.language, language)]
        if spoken:
            return min(spoken, key=lambda d: (str(d.language).lower() != language.lower(), not d.preferred))
    return None
