"""FHIR XML to resources in their JSON form, in one pass over the events of a parser.

Source: https://hl7.org/fhir/R4/xml.html. expat rather than a tree, because it tells where in the bytes an element stands:
the div of a narrative is cut out of the document as it was sent. Nothing is fetched and no entity is expanded: a document
type declaration is refused. Invariants to keep: everything in the document ends up in the result or is reported, with its
path and line; from_xml(to_xml(r)) == r.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from fhir_r4.errors import InvalidResource, Issue, MalformedJson, MalformedXml
from fhir_r4.xmlio.members import FHIR, SCHEMA_INSTANCE, Kind, Member, elements, members, resources
from fhir_r4.xmlio.narrative import div_from_xml, rewritten_divs
from fhir_r4.xmlio.source import new_parser, utf8
from fhir_r4.xmlio.values import PARSERS

MAX_ISSUES = 100

_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
MAX_DEPTH = 200
_TOO_DEEP = f"XML may be nested as deep as {MAX_DEPTH} levels of JSON at the most."
_NOTHING: Mapping[str, Member] = {}
_SKIPPED = Member("", "", Kind.OBJECT, "", None, False, False, 0)


def from_xml(body: bytes) -> dict[str, Any]:
    """The resource that an XML document holds, in its JSON form; numbers keep their digits, narratives their bytes.

    Raises MalformedXml for what is not XML, has a document type, is nested deeper than MAX_DEPTH or is no resource;
    InvalidResource, with an issue for each problem, for elements and attributes that R4 does not define, elements that
    stand more often than once where they may not, and values that JSON cannot hold (a boolean `yes`).
    """
    source = utf8(body)
    reader = _Reader(source)
    reader.parse()
    if reader.issues:
        raise InvalidResource(reader.issues[0].diagnostics, issues=reader.issues)
    return reader.resource


class _Reader:
    """The state between two events: the element in progress (`member`), its possible `children`, its JSON (`out`).

    `stack` holds the states of its ancestors, outermost first. For a primitive, `out` is what goes to its `_name`
    sibling; for an element around a resource it is a mark that the resource has come.
    """

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.resource: dict[str, Any] = {}
        self.issues: list[Issue] = []
        self.roots = resources()
        self.stack: list[tuple[Member, Mapping[str, Member], dict[str, Any]]] = []
        self.member = _SKIPPED
        self.children = self.roots
        self.out: dict[str, Any] = {}
        self.extended: list[tuple[dict[str, Any], str]] = []
        self.deepest = 0
        self.divs: list[tuple[dict[str, Any], str | None]] = []
        self.div_depth = 0
        self.div_start = 0
        self.parser = new_parser()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self._watch_elements()

    def parse(self) -> None:
        try:
            self.parser.Parse(self.source, True)
        except expat.ExpatError as error:
            raise self._not_well_formed(error) from error
        for parent, name in self.extended:
            _align(parent, name)
        self._put_divs()
        if self.deepest * 2 > MAX_DEPTH and _depth(self.resource) > MAX_DEPTH:
            raise MalformedXml(_TOO_DEEP)

    def _not_well_formed(self, error: expat.ExpatError) -> MalformedXml:
        place = self._place()
        where = f"line {error.lineno}, column {error.offset + 1}" + (f", inside {place}" if place else "")
        problem = expat.ErrorString(error.code)
        return MalformedXml(f"The XML is not well-formed: {problem} ({where}).", *([place] if place else []))

    def _watch_elements(self) -> None:
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        line = self.parser.CurrentLineNumber
        raise MalformedXml(f"A document type declaration is not allowed in FHIR XML (line {line}).")

    # elements

    def _start(self, tag: str, attributes: list[str]) -> None:
        if len(self.stack) > self.deepest:
            self.deepest = len(self.stack)
            if self.deepest > MAX_DEPTH:
                raise MalformedXml(_TOO_DEEP)
        member = self.children.get(tag)
        if member is None:
            self._skip(tag)
            return
        kind = member.kind
        if kind is Kind.PRIMITIVE:
            self._start_primitive(member, attributes)
        elif kind is Kind.OBJECT:
            self._start_object(member, attributes)
        elif kind is Kind.RESOURCE:
            self._push(member, self.roots, {})
            if attributes:
                self._attributes(attributes, {})
        else:
            self._start_div(member)

    def _push(self, member: Member, children: Mapping[str, Member], out: dict[str, Any]) -> None:
        self.stack.append((self.member, self.children, self.out))
        self.member = member
        self.children = children
        self.out = out

    def _put(self, member: Member, holder: dict[str, Any], value: Any) -> None:
        name = member.name
        if member.many:
            values = holder.get(name)
            if values is None:
                holder[name] = [value]
            else:
                values.append(value)
        elif name in holder or "_" + name in holder:
            self._problem("may stand here once only", self._place(member))
        else:
            holder[name] = value

    def _start_primitive(self, member: Member, attributes: list[str]) -> None:
        extra: dict[str, Any] = {}
        value: Any = None
        if len(attributes) == 2 and attributes[0] == "value":
            value = attributes[1]
            if member.type in PARSERS:
                value = self._converted(member, value)
        elif attributes:
            value = self._primitive_attributes(member, attributes, extra)
        self._put(member, self.out, value)
        self._push(member, elements("Element"), extra)

    def _start_object(self, member: Member, attributes: list[str]) -> None:
        out: dict[str, Any] = {}
        if self.children is self.roots:
            out["resourceType"] = member.name
            self._put_resource(member, out)
        else:
            self._put(member, self.out, out)
        self._push(member, elements(member.shape or "Element"), out)
        if attributes:
            self._attributes(attributes, out)

    def _put_resource(self, member: Member, out: dict[str, Any]) -> None:
        if not self.stack:
            self.resource = out
        elif self.out:
            self._problem(f"holds one resource; {member.name} is one more", self._place())
        else:
            self._put(self.member, self.stack[-1][2], out)
            self.out["resource"] = member.name

    def _end(self, _: str) -> None:
        member, out = self.member, self.out
        if member.kind is Kind.RESOURCE and not out:
            self._problem("holds no resource", self._place())
        self.member, self.children, self.out = self.stack.pop()
        if member.kind is Kind.PRIMITIVE:
            if out:
                self._put_extended(member, out)
            else:
                value = self.out.get(member.name, "")
                if (value[-1] if member.many else value) is None:
                    self._problem("has neither a value nor an extension", self._place(member))

    def _put_extended(self, member: Member, extra: dict[str, Any]) -> None:
        parent, sibling = self.out, "_" + member.name
        if not member.many:
            parent[sibling] = extra
            if parent.get(member.name) is None:
                parent.pop(member.name, None)
            return
        if sibling not in parent:
            parent[sibling] = []
            self.extended.append((parent, member.name))
        extras = parent[sibling]
        extras.extend([None] * (len(parent[member.name]) - 1 - len(extras)))
        extras.append(extra)

    def _text(self, data: str) -> None:
        text = data.strip()
        if text and self.member is not _SKIPPED:
            self._problem(
                f"The text {text[:40]!r} stands between elements; values are attributes.", self._place()
            )

    # the div of a narrative

    def _start_div(self, member: Member) -> None:
        self._put(member, self.out, "")
        self.div_start = self.parser.CurrentByteIndex
        self.div_depth = 1
        self.parser.StartElementHandler = self._inside_div
        self.parser.EndElementHandler = self._end_div
        self.parser.CharacterDataHandler = None

    def _inside_div(self, _: str, __: list[str]) -> None:
        self.div_depth += 1
        if self.div_depth > MAX_DEPTH:
            raise MalformedXml(_TOO_DEEP)

    def _end_div(self, _: str) -> None:
        self.div_depth -= 1
        if self.div_depth:
            return
        text = div_from_xml(self._div_slice().decode())
        self.divs.append((self.out, text))
        self._watch_elements()

    def _put_divs(self) -> None:
        """Give each narrative its div, cut out of the document or, where that does not stand alone, written anew."""
        whole = all(text is not None for _, text in self.divs)
        anew = [] if whole else rewritten_divs(self.source)
        for number, (narrative, text) in enumerate(self.divs):
            narrative["div"] = anew[number] if text is None else text

    def _div_slice(self) -> bytes:
        first = _TAG.match(self.source, self.div_start)
        if first is not None and first[0].endswith(b"/>"):
            return first[0]
        end = self.source.index(b">", self.parser.CurrentByteIndex) + 1
        return self.source[self.div_start : end]

    # attributes

    def _attributes(self, attributes: list[str], out: dict[str, Any]) -> None:
        known = members(self.member.shape or "Element")
        for name, value in zip(attributes[::2], attributes[1::2], strict=True):
            member = known.get(name)
            if member is not None and member.attribute:
                out[name] = value
            else:
                self._undefined_attribute(name, self._place())

    def _primitive_attributes(self, member: Member, attributes: list[str], extra: dict[str, Any]) -> Any:
        value = None
        for name, text in zip(attributes[::2], attributes[1::2], strict=True):
            if name == "value":
                value = self._converted(member, text)
            elif name == "id":
                extra["id"] = text
            else:
                self._undefined_attribute(name, self._place(member, coming=True))
        return value

    def _converted(self, member: Member, text: str) -> Any:
        convert = PARSERS.get(member.type)
        if convert is None:
            return text
        try:
            return convert(text)
        except (ValueError, MalformedJson) as error:
            place = self._place(member, coming=True)
            self._problem(f"is {text[:60]!r}, which is no {member.type}: {error}", place)
            return text

    # problems

    def _skip(self, tag: str) -> None:
        """Report an element that is not defined here, and pass over what is in it."""
        if not self.stack:
            raise MalformedXml(
                f"The root is {_shown(tag)}; a resource type of R4 in the namespace {FHIR} was expected."
            )
        if self.member is not _SKIPPED:
            place = self._place()
            self._problem(f"has the element {_shown(tag)}, which R4 does not define", place)
        self._push(_SKIPPED, _NOTHING, {})

    def _undefined_attribute(self, name: str, place: str) -> None:
        if not name.startswith(SCHEMA_INSTANCE):
            self._problem(f"has the attribute {_shown(name)}, which R4 does not define", place)

    def _problem(self, text: str, place: str) -> None:
        line = self.parser.CurrentLineNumber
        self.issues.append(Issue("error", InvalidResource.code, f"{place} {text} (line {line}).", (place,)))
        if len(self.issues) == MAX_ISSUES:
            raise InvalidResource(self.issues[0].diagnostics, issues=self.issues)

    def _place(self, member: Member | None = None, coming: bool = False) -> str:
        """The FHIRPath of the element in progress, or of its child `member` that was put last or is coming."""
        place = ""
        ends = [*self.stack[1:], (self.member, self.children, self.out)]
        for (_, children, holder), (own, _, out) in zip(self.stack, ends, strict=False):
            if children is not self.roots:
                place += _step(own, holder, own.kind is Kind.RESOURCE and not out)
            elif not place:
                place = own.name
        return place + _step(member, self.out, coming) if member else place


def _depth(value: Any) -> int:
    """How deep objects and arrays are nested."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in inner if isinstance(child, dict | list)]
    return depth


def _step(member: Member, holder: Mapping[str, Any], coming: bool) -> str:
    if not member.many:
        return f".{member.path_name}"
    return f".{member.path_name}[{len(holder.get(member.name, ())) - (0 if coming else 1)}]"


def _shown(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return local if namespace in ("", FHIR) else f"{local} of the namespace {namespace}"


def _align(parent: dict[str, Any], name: str) -> None:
    """Make a repeated primitive and its `_name` sibling equally long; without any value only the sibling stays."""
    values, extras = parent[name], parent["_" + name]
    extras.extend([None] * (len(values) - len(extras)))
    if all(value is None for value in values):
        del parent[name]
