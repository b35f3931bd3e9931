"""The words of a resource, and the questions that `_text` and `_content` ask of them.

Source: https://hl7.org/fhir/R4/search.html#text. A word is a run of letters and digits of the normal form of a text
(`text.normalise`), so case and accents make no difference; there are no stems and no wildcards. A question has words,
"phrases in quotes", `AND` (also by mere juxtaposition), `OR`, `NOT` and parentheses; AND binds closer than OR. An invariant
to keep: texts of words hold letters, digits and single blanks alone, so any tokenizer that splits at blanks sees the same.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Literal

from fhir_server.search.text import normalise
from fhir_server.search.tree import Expression, FullText, all_of, any_of, negation

Field = Literal["text", "content"]

_WORD = re.compile(r"[^\W_]+")
_TAG = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)
# the type is in the address, the store's own members and encoded content are no texts, and the narrative is read apart
_NOT_TEXT = frozenset({"resourceType", "versionId", "lastUpdated", "data", "div"})


def words(text: str) -> list[str]:
    """The words of a text in their order."""
    return _WORD.findall(normalise(text))


def full_texts(resource: dict[str, Any]) -> tuple[str, str]:
    """The words of the narrative (`_text`), and of the narrative and every string of the resource (`_content`).

    Words are divided by single blanks. Base64 content and the names of members are left out.
    """
    told = " ".join(words(_plain((resource.get("text") or {}).get("div") or "")))
    content = " ".join(word for text in _strings(resource) for word in words(text))
    return told, f"{told} {content}".strip()


def _plain(xhtml: str) -> str:
    return html.unescape(_TAG.sub(" ", xhtml))


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, member in value.items():
                if name not in _NOT_TEXT:
                    yield from _strings(member)
        case list():
            for item in value:
                yield from _strings(item)


# How a question is put.

Query = tuple[tuple[tuple[str, ...], ...], ...]
_PIECE = re.compile(r'\s*(?:(?P<mark>[()])|"(?P<quoted>[^"]*)"|(?P<bare>[^\s()"]+))')
_MOST_PIECES = 100
_MOST_CONJUNCTIONS = 200


def parse_full_text(field: Field, text: str) -> Expression:
    """The question that `text` asks of the narrative (`text`) or of everything (`content`).

    Raises ValueError, with what was expected, when it asks nothing that can be answered.
    """
    pieces = _pieces(text)
    reader = _Reader(field, pieces)
    found = reader.alternatives()
    if reader.ahead() is not None:
        raise ValueError("expected no `)` without its `(`")
    return found


def _pieces(text: str) -> list[str | list[str]]:
    """Marks and operators as texts, what is looked for as lists of words."""
    pieces: list[str | list[str]] = []
    position = 0
    while text[position:].strip():
        found = _PIECE.match(text, position)
        if found is None:
            raise ValueError('expected the `"` that ends a phrase')
        position = found.end()
        bare = found["bare"]
        if found["mark"]:
            pieces.append(found["mark"])
        elif bare is not None and bare.upper() in ("AND", "OR", "NOT"):
            pieces.append(bare.upper())
        else:
            pieces.append(_phrase(found["quoted"] if bare is None else bare))
    if not pieces:
        raise ValueError("expected words to look for")
    if len(pieces) > _MOST_PIECES:
        raise ValueError(f"expected {_MOST_PIECES} words at the most")
    return pieces


def _phrase(text: str) -> list[str]:
    if "*" in text:
        raise ValueError("expected whole words: there are no wildcards")
    found = words(text)
    if not found:
        raise ValueError(f"expected a word, found {text[:20]!r}")
    return found


class _Reader:
    """Reads pieces from left to right."""

    def __init__(self, field: Field, pieces: list[str | list[str]]) -> None:
        self._field = field
        self._pieces = pieces
        self._at = 0

    def ahead(self) -> str | list[str] | None:
        return self._pieces[self._at] if self._at < len(self._pieces) else None

    def alternatives(self) -> Expression:
        found = self._conjunction()
        while self.ahead() == "OR":
            self._at += 1
            found = _either(found, self._conjunction())
        return found

    def _conjunction(self) -> Expression:
        found = self._term()
        while self.ahead() not in (None, "OR", ")"):
            if self.ahead() == "AND":
                self._at += 1
            found = _both(found, self._term())
        return found

    def _term(self) -> Expression:
        piece = self.ahead()
        self._at += 1
        match piece:
            case "NOT":
                return negation(self._term())
            case "(":
                found = self.alternatives()
                if self.ahead() != ")":
                    raise ValueError("expected a `)`")
                self._at += 1
                return found
            case list():
                return FullText(self._field, ((tuple(piece),),))
            case None:
                raise ValueError("expected a word at the end")
            case _:
                raise ValueError(f"expected a word before {piece!r}")


def _either(one: Expression, other: Expression) -> Expression:
    if isinstance(one, FullText) and isinstance(other, FullText):
        return FullText(one.field, _unique([*one.query, *other.query]))
    return any_of((one, other))


def _both(one: Expression, other: Expression) -> Expression:
    if isinstance(one, FullText) and isinstance(other, FullText):
        pairs = [a + b for a in one.query for b in other.query]
        if len(pairs) <= _MOST_CONJUNCTIONS:
            return FullText(one.field, _unique(pairs))
    return all_of((one, other))


def _unique(query: list[tuple[tuple[str, ...], ...]]) -> Query:
    return tuple(dict.fromkeys(tuple(dict.fromkeys(phrases)) for phrases in query))
