"""The div of a narrative: text in JSON, elements in XML, the same bytes after every turn.

Source: https://hl7.org/fhir/R4/narrative.html#xhtml. JSON text that is an XHTML div by itself is written into XML as it
is, and read back as the slice of the document that it is: attribute order, quotes, blanks, comments, CDATA and `<br/>` or
`<br></br>` survive. XML has no `&nbsp;`; such a named character is written as a character reference of eight hexadecimal
digits, which any XML reader understands, and only this one turns back into the name.
"""

from __future__ import annotations

import re
from html.entities import codepoint2name, name2codepoint
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from fhir_r4.xmlio.members import XHTML
from fhir_r4.xmlio.source import new_parser

DIV = f"{XHTML} div"
XML = "http://www.w3.org/XML/1998/namespace"

_NAMED = re.compile(r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&([A-Za-z][A-Za-z0-9]*);", re.DOTALL)
_NUMBERED = re.compile(r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&#x(0[0-9A-F]{7});", re.DOTALL)
_PREDEFINED = frozenset(["amp", "lt", "gt", "quot", "apos"])
_BARE_DIV = re.compile(r"<div(?=[\s/>])")


class NotXhtml(ValueError):
    """A text that is no XHTML div; the text says why."""


def div_to_xml(text: str) -> str:
    """`text` as it can stand in a FHIR XML document. Raises NotXhtml when it is no well-formed div."""
    markup = _NAMED.sub(_numbered, text) if "&" in text else text
    root = _root(markup)
    if root == DIV:
        return markup
    if root == "div":
        return _BARE_DIV.sub(f'<div xmlns="{XHTML}"', markup, count=1)
    raise NotXhtml("its outermost element is not an XHTML div")


def div_from_xml(markup: str) -> str | None:
    """The JSON text of a slice of a document that holds a div; None when the slice leans on namespaces outside of it."""
    try:
        if _root(markup) != DIV:
            return None
    except NotXhtml:
        return None
    return _NUMBERED.sub(_named, markup) if "&#x0" in markup else markup


def _numbered(match: re.Match[str]) -> str:
    name = match[1]
    if name is None or name in _PREDEFINED or name not in name2codepoint:
        return match[0]
    return f"&#x{name2codepoint[name]:08X};"


def _named(match: re.Match[str]) -> str:
    name = codepoint2name.get(int(match[1], 16)) if match[1] else None
    return match[0] if name is None or name in _PREDEFINED else f"&{name};"


def _root(markup: str) -> str:
    """The name of the outermost element. Raises NotXhtml when the text is not one well-formed element."""
    if not (markup.startswith("<") and markup.endswith(">")) or markup.startswith(("<!", "<?")):
        raise NotXhtml("it does not begin and end with a tag")
    names: list[str] = []
    parser = expat.ParserCreate("utf-8", " ")

    def start(name: str, _: object) -> None:
        names.append(name)
        parser.StartElementHandler = None

    parser.StartElementHandler = start
    try:
        parser.Parse(markup.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise NotXhtml(f"it is not well-formed: {error}") from error
    if markup.endswith(("-->", "?>")):
        raise NotXhtml("something stands after its end")
    return names[0]


class _Rewriter:
    """Writes a div anew, without prefixes, from the events of a parser: for documents that declare XHTML elsewhere."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.namespaces = [""]

    def start(self, tag: str, attributes: list[str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        self.parts.append(f"<{name}")
        if namespace != self.namespaces[-1]:
            self.parts.append(f" xmlns={quoteattr(namespace)}")
        self.namespaces.append(namespace)
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            of, _, attribute = key.rpartition(" ")
            self.parts.append(f" {'xml:' if of == XML else ''}{attribute}={quoteattr(value)}")
        self.parts.append(">")

    def end(self, tag: str) -> None:
        self.namespaces.pop()
        self.parts.append(f"</{tag.rpartition(' ')[2]}>")

    def text(self, data: str) -> None:
        self.parts.append(escape(data))


def rewritten_divs(source: bytes) -> list[str]:
    """All divs of a document, in its order, written anew without prefixes."""
    parser = new_parser()
    depth = 0
    rewriters: list[_Rewriter] = []

    def start(tag: str, attributes: list[str]) -> None:
        nonlocal depth
        if depth == 0 and tag != DIV:
            return
        if depth == 0:
            rewriters.append(_Rewriter())
        depth += 1
        rewriters[-1].start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        if depth:
            depth -= 1
            rewriters[-1].end(tag)

    def text(data: str) -> None:
        if depth:
            rewriters[-1].text(data)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.Parse(source, True)
    return ["".join(rewriter.parts) for rewriter in rewriters]
