"""String functions: http://hl7.org/fhirpath/N1/#string-manipulation. Empty in, empty out."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable, Mapping

from fhir_r4.fhirpath.focus import Function, Invocation
from fhir_r4.fhirpath.located import Collection, System, made, singleton
from fhir_r4.fhirpath.syntax import FhirPathError

_JSON_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_JSON_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b"}


def _text(items: Collection, name: str) -> str | None:
    item = singleton(items, f"{name}()")
    if item is None or item.value is None:
        return None
    if not isinstance(item.value, str):
        raise FhirPathError(f"{name}() takes a string, not {item.type}")
    return item.value


def _number(call: Invocation, position: int) -> int | None:
    item = singleton(call.argument(position), f"{call.name}()")
    if item is None:
        return None
    if not isinstance(item.value, int) or isinstance(item.value, bool):
        raise FhirPathError(f"{call.name}() takes a whole number")
    return item.value


def _on_text(run: Callable[[str], System | None]) -> Function:
    """A function of the string alone."""

    def function(call: Invocation) -> System | None:
        text = _text(call.items, call.name)
        return None if text is None else run(text)

    return function


def _with_text(run: Callable[[str, str], System | None]) -> Function:
    """A function of the string and one string argument."""

    def function(call: Invocation) -> System | None:
        text, argument = _text(call.items, call.name), _text(call.argument(0), call.name)
        return None if text is None or argument is None else run(text, argument)

    return function


def _substring(call: Invocation) -> str | None:
    text, start = _text(call.items, call.name), _number(call, 0)
    length = _number(call, 1) if len(call.args) > 1 else None
    if text is None or start is None or not 0 <= start < len(text):
        return None
    return text[start:] if length is None else text[start : start + max(0, length)]


def _compiled(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise FhirPathError(f"{pattern!r} is no regular expression: {error}") from error


def _matches(text: str, pattern: str) -> bool:
    return _compiled(pattern, re.DOTALL).search(text) is not None


def _replaced(call: Invocation, run: Callable[[str, str, str], str]) -> str | None:
    text, pattern, substitution = (
        _text(call.items, call.name),
        _text(call.argument(0), call.name),
        _text(call.argument(1), call.name),
    )
    if text is None or pattern is None or substitution is None:
        return None
    return run(text, pattern, substitution)


def _replace_matches(text: str, pattern: str, substitution: str) -> str:
    if pattern == "":
        return text
    template = re.sub(r"\\(?![\d$])", r"\\\\", substitution)
    template = re.sub(r"\$\{(\w+)\}|\$(\d+)", lambda m: f"\\g<{m[1] or m[2]}>", template).replace("\\$", "$")
    try:
        return _compiled(pattern).sub(template, text)
    except (re.error, IndexError) as error:
        raise FhirPathError(f"{substitution!r} cannot be substituted: {error}") from error


def _chars(call: Invocation) -> Collection:
    return [made(char) for char in _text(call.items, call.name) or ""]


def _split(call: Invocation) -> Collection:
    text, separator = _text(call.items, call.name), _text(call.argument(0), call.name)
    if text is None or separator is None:
        return []
    return [made(part) for part in (text.split(separator) if separator else text)]


def _join(call: Invocation) -> str | None:
    separator = _text(call.argument(0), call.name) if call.args else ""
    texts = [_text([item], call.name) for item in call.items]
    return (separator or "").join(text for text in texts if text is not None) if texts else None


def _encoded(text: str, how: str) -> str | None:
    data = text.encode()
    if how == "hex":
        return data.hex()
    if how == "base64":
        return base64.b64encode(data).decode()
    return base64.urlsafe_b64encode(data).decode() if how == "urlbase64" else None


def _decoded(text: str, how: str) -> str | None:
    try:
        if how == "hex":
            return bytes.fromhex(text).decode()
        if how in ("base64", "urlbase64"):
            return base64.b64decode(text, altchars=b"-_" if how == "urlbase64" else None).decode()
    except (ValueError, binascii.Error):
        return None
    return None


def _escaped(text: str, how: str) -> str | None:
    if how == "html":
        return html.escape(text)
    return json.dumps(text, ensure_ascii=False)[1:-1] if how == "json" else None


def _unescaped(text: str, how: str) -> str | None:
    if how == "html":
        return html.unescape(text)
    if how != "json":
        return None
    return _JSON_ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _JSON_ESCAPED.get(m[2], m[2]), text)


FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    "indexOf": (_with_text(str.find), 1, 1),
    "lastIndexOf": (_with_text(str.rfind), 1, 1),
    "substring": (_substring, 1, 2),
    "startsWith": (_with_text(str.startswith), 1, 1),
    "endsWith": (_with_text(str.endswith), 1, 1),
    "contains": (_with_text(lambda text, part: part in text), 1, 1),
    "upper": (_on_text(str.upper), 0, 0),
    "lower": (_on_text(str.lower), 0, 0),
    "trim": (_on_text(str.strip), 0, 0),
    "length": (_on_text(len), 0, 0),
    "replace": (lambda call: _replaced(call, str.replace), 2, 2),
    "matches": (_with_text(_matches), 1, 1),
    "matchesFull": (
        _with_text(lambda text, pattern: _compiled(pattern, re.DOTALL).fullmatch(text) is not None),
        1,
        1,
    ),
    "replaceMatches": (lambda call: _replaced(call, _replace_matches), 2, 2),
    "toChars": (_chars, 0, 0),
    "split": (_split, 1, 1),
    "join": (_join, 0, 1),
    "encode": (_with_text(_encoded), 1, 1),
    "decode": (_with_text(_decoded), 1, 1),
    "escape": (_with_text(_escaped), 1, 1),
    "unescape": (_with_text(_unescaped), 1, 1),
}
