"""Character sets of messages: what MSH-18 says, what devices mean by it, and what is tried instead.

Source: HL7 table 0211. An invariant to keep: nothing is replaced; bytes that no character set explains become surrogates,
which give the same bytes again.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

_CONTROL = re.compile("[\x80-\x9f]")
_LINE_END = re.compile(rb"[\r\n\x1c]")
CHARSETS = {
    "": "utf-8",
    "ASCII": "utf-8",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "8859/1": "iso-8859-1",
    "8859/2": "iso-8859-2",
    "8859/3": "iso-8859-3",
    "8859/4": "iso-8859-4",
    "8859/5": "iso-8859-5",
    "8859/6": "iso-8859-6",
    "8859/7": "iso-8859-7",
    "8859/8": "iso-8859-8",
    "8859/9": "iso-8859-9",
    "8859/15": "iso-8859-15",
    "ISO IR87": "iso2022_jp",
    "ISO IR14": "iso2022_jp",
    "ISO IR159": "iso2022_jp",
    "JAS2020": "iso2022_jp",
    "JIS X 0202": "iso2022_jp",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "GB2312": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": "cp950",
    "BIG-5": "cp950",
    "BIG5": "cp950",
}


class Decoded(Struct, frozen=True, gc=False):
    text: str
    charset: str
    warnings: tuple[str, ...] = ()


def decode(raw: bytes, charsets: tuple[str, ...] = ()) -> Decoded:
    """The text of a message by MSH-18, else by the first of `charsets` that fits."""
    codecs, unknown = _codecs(_told(raw), charsets)
    warnings = [*unknown]
    for tried in codecs:
        try:
            return _read(raw, tried, warnings)
        except UnicodeDecodeError:
            warnings.append(f"the bytes are not {tried}")
    return Decoded(raw.decode("utf-8", "surrogateescape"), "utf-8", (*warnings, "some bytes are no text"))


@lru_cache(256)
def _codecs(told: tuple[str, ...], charsets: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is tried, in order, and a warning of each character set that is not known."""
    known = [codec for one in told if (codec := CHARSETS.get(one)) is not None]
    unknown = [f"the character set {one[:20]!r} is not known" for one in told if one not in CHARSETS]
    return tuple(dict.fromkeys([*known, *charsets, "utf-8"])), tuple(unknown)


def encode(text: str) -> bytes:
    """The bytes of a message in the character set that its MSH-18 says; UTF-8 where that has not all of its letters."""
    for one in _told(text.encode("utf-8", "surrogateescape")):
        codec = CHARSETS.get(one)
        if codec is None:
            continue
        try:
            return text.encode(codec)
        except UnicodeEncodeError:
            continue
    return text.encode("utf-8", "surrogateescape")


def _read(raw: bytes, codec: str, warnings: list[str]) -> Decoded:
    text = raw.decode(codec)
    if codec == "iso-8859-1" and _CONTROL.search(text):
        # no text has these control characters; Windows has letters and quotation marks in their places
        try:
            return Decoded(
                raw.decode("cp1252"), "cp1252", (*warnings, "the bytes are cp1252, not iso-8859-1")
            )
        except UnicodeDecodeError:
            pass
    return Decoded(text, codec, tuple(warnings))


def _told(raw: bytes) -> tuple[str, ...]:
    """The repetitions of MSH-18; '' when it is not there."""
    start = raw.find(b"MSH")
    if start < 0 or len(raw) < start + 5:
        return ("",)
    header = raw[start : start + 4096].split(b"\r", 1)[0]
    if b"\n" in header or b"\x1c" in header:
        header = _LINE_END.split(header, maxsplit=1)[0]
    fields = header.split(header[3:4] or b"|", 18)
    if len(fields) < 18:
        return ("",)
    repetitions = fields[17].split(header[5:6] or b"~")
    return tuple(one.decode("ascii", "replace").strip().upper() for one in repetitions if one.strip()) or (
        "",
    )
