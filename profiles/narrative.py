"""What a narrative may hold: https://hl7.org/fhir/R4/narrative.html (txt-1, txt-2).

The root is a `div` in the XHTML namespace; below it the formatting elements of chapters 7 to 11 (except 4) and 15 of
HTML 4.0, `a`, `img` and internal style. An invariant to keep: nothing is accepted that runs, loads or posts (script,
event handler, form, an entity beyond XML's own, an address that is a script).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from lxml import etree

NAMESPACE = "http://www.w3.org/1999/xhtml"
_PREFIX = f"{{{NAMESPACE}}}"
_XML = "{http://www.w3.org/XML/1998/namespace}"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTS = _names(
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i img"
    " li ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var"
)
ANYWHERE = _names(f"title style class id lang dir {_XML}lang {_XML}space")
_ALIGNED = _names("align valign char charoff")
_CELL = _ALIGNED | _names("abbr axis headers scope rowspan colspan nowrap width height")
_COLUMN = _ALIGNED | _names("span width")
ATTRIBUTES: dict[str, frozenset[str]] = {
    "a": _names("href name accesskey tabindex charset type hreflang rel rev"),
    "img": _names("src alt longdesc height width"),
    "table": _names("summary width border frame rules cellspacing cellpadding"),
    "td": _CELL,
    "th": _CELL,
    "tr": _ALIGNED,
    "tbody": _ALIGNED,
    "thead": _ALIGNED,
    "tfoot": _ALIGNED,
    "col": _COLUMN,
    "colgroup": _COLUMN,
    "blockquote": _names("cite"),
    "q": _names("cite"),
    "ol": _names("type"),
}

_ALLOWED = {_PREFIX + name: ANYWHERE | ATTRIBUTES.get(name, frozenset()) for name in ELEMENTS}
_ADDRESSES = _names("href src cite longdesc")
# What a browser drops from an address before it looks at the scheme.
_DROPPED = re.compile(r"[\x00-\x20]+")
_SCRIPT_SCHEMES = ("javascript:", "vbscript:", "data:text")
_SHORT = 8192


def _parse(text: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    return etree.fromstring(text, parser)


def _faults(root: etree._Element) -> Iterator[str]:
    if root.tag != _PREFIX + "div":
        yield f"the outermost element must be a div in the namespace {NAMESPACE}"
        return
    if root.getroottree().docinfo.internalDTD is not None:
        yield "a document type declaration is not allowed"
    for element in root.iter():
        if isinstance(element, etree._Comment):
            continue
        allowed = _ALLOWED.get(str(element.tag))
        if allowed is None:
            yield f"{_name(element)} is not allowed"
            continue
        for name, value in ((str(n), str(v)) for n, v in element.items()):
            if name not in allowed:
                yield f"the attribute {name} is not allowed on {_name(element)}"
            elif name in _ADDRESSES and _DROPPED.sub("", value).lower().startswith(_SCRIPT_SCHEMES):
                yield f"the attribute {name} may not hold a script"


def _name(element: etree._Element) -> str:
    if isinstance(element, etree._ProcessingInstruction | etree._Entity):
        return "an entity or a processing instruction"
    return f"<{str(element.tag).removeprefix(_PREFIX)}>"


def narrative_faults(text: str) -> list[str]:
    """What is wrong with the `div` of a narrative, in words; empty when nothing is."""
    try:
        root = _parse(text)
    except (etree.XMLSyntaxError, ValueError) as error:
        return [f"it is not well-formed XML: {error}"]
    return list(dict.fromkeys(_faults(root)))


def is_empty_narrative(text: str) -> bool:
    """Whether a well-formed `div` shows nothing (txt-2): neither text nor an image."""
    root = _parse(text)
    return not "".join(map(str, root.itertext())).strip() and root.find(f".//{_PREFIX}img") is None


@lru_cache(maxsize=512)
def _is_short_narrative(text: str) -> bool:
    return not narrative_faults(text)


def is_narrative(text: object) -> bool:
    """Whether `text` is a `div` that a narrative may have. Short ones are remembered, for generated ones repeat."""
    if type(text) is not str:
        return False
    return _is_short_narrative(text) if len(text) <= _SHORT else not narrative_faults(text)
