"""The fonts of printed pages: one file of TrueType, and for Chinese, Japanese and Korean the fonts that every PDF reader has.

An invariant to keep: a letter that the font does not have is never printed as an empty box when one of the others has it.
"""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from fhir_r4.errors import Unavailable

# of Adobe's character collections, which readers bring with them: not embedded
HAN, KANA, HANGUL = "STSong-Light", "HeiseiKakuGo-W5", "HYSMyeongJo-Medium"

# Open Sans has the letters of Latin, Greek and Cyrillic, those of Vietnamese too.
_PACKAGE = find_spec("ttf_opensans")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
_BUILT_IN = Path(_PACKAGE.origin).with_name("ttf").joinpath("OpenSans-Regular.ttf")


def fonts(file: str) -> tuple[str, str]:
    """The names of the plain and the bold font, registered; `file` is a TrueType font, '' for the built-in one. Raises Unavailable."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    plain = file or str(_BUILT_IN)
    files = plain, _bold(plain)
    names = []
    for kind, one in zip(("plain", "bold"), files, strict=True):
        name = f"osler-{kind}-{Path(one).stem}"
        if name not in pdfmetrics.getRegisteredFontNames():
            try:
                pdfmetrics.registerFont(TTFont(name, one))
            except (TTFError, OSError) as error:
                raise Unavailable(f"The setting print_font names no TrueType font: {error}") from error
        names.append(name)
    return names[0], names[1]


def _bold(file: str) -> str:
    """The bold font that lies beside a plain one (`X-Bold.ttf`, `XBd.ttf`); the plain one where there is none."""
    path = Path(file)
    stem = path.stem.removesuffix("-Regular")
    for name in (f"{stem}-Bold", f"{stem}Bd", f"{stem}-bold"):
        beside = path.with_name(name + path.suffix)
        if beside.is_file():
            return str(beside)
    return file


def marked(text: str, font: str) -> str:
    """The text as markup of a paragraph in `font`: letters that it does not have in a font that has them."""
    from reportlab.pdfbase import pdfmetrics

    if text.isascii():
        return escape(text)
    face = getattr(pdfmetrics.getFont(font), "face", None)
    known = getattr(face, "charToGlyph", {})
    parts = []
    for other, letters in groupby(text, key=lambda c: "" if ord(c) in known else _other(c)):
        part = escape("".join(letters))
        parts.append(f'<font name="{_registered(other)}">{part}</font>' if other else part)
    return "".join(parts)


def _other(letter: str) -> str:
    """The font of East Asia that has a letter; '' for none."""
    code = ord(letter)
    if 0x3040 <= code <= 0x30FF:
        return KANA
    if 0xAC00 <= code <= 0xD7AF or 0x1100 <= code <= 0x11FF:
        return HANGUL
    if (
        0x3000 <= code <= 0x303F
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0xFF00 <= code <= 0xFFEF
    ):
        return HAN
    return ""


def _registered(name: str) -> str:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont

    if name not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return name
