"""The one normal form of texts in a string search, for index and question alike.

Source: https://hl7.org/fhir/R4/search.html#string: not sensitive to case, accents, and differences of white space. An
invariant to keep: normalise(normalise(t)) == normalise(t).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# the same names, cities and codes come again and again; longer texts do not
CACHED_LENGTH = 64


def normalise(text: str) -> str:
    """Case folded, without combining marks, compatibility forms resolved, runs of white space as one blank."""
    return _cached(text) if len(text) <= CACHED_LENGTH else _normal_form(text)


def _normal_form(text: str) -> str:
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKD", text.casefold()).casefold()
    # folding may compose or leave marks of its own, so decompose once more before they are dropped
    letters = [c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c)]
    return " ".join("".join(letters).split())


_cached = lru_cache(8192)(_normal_form)


def successor(text: str) -> str | None:
    """The smallest text that is greater than every text beginning with `text`; None when there is none."""
    for end in range(len(text), 0, -1):
        point = ord(text[end - 1])
        if point < 0x10FFFF:
            following = 0xE000 if point == 0xD7FF else point + 1
            return text[: end - 1] + chr(following)
    return None
