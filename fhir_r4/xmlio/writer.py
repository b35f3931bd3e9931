"""Resources in their JSON form to FHIR XML, in the order of the definitions.

Source: https://hl7.org/fhir/R4/xml.html. An invariant to keep: from_xml(to_xml(r)) == r for every structurally valid r;
what XML cannot say is refused, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import NotAcceptable
from fhir_r4.xmlio.members import FHIR, Kind, Member, members
from fhir_r4.xmlio.narrative import NotXhtml, div_to_xml
from fhir_r4.xmlio.values import Unwritable, attribute_text

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_ROOT = f' xmlns="{FHIR}"'
_MAX_DEPTH = 250


def to_xml(resource: Mapping[str, Any], pretty: bool = False) -> bytes:
    """The XML document of a resource in UTF-8; `pretty` indents all but narratives.

    Raises NotAcceptable, naming the element, for what FHIR XML cannot hold: a member R4 does not define, a narrative that
    is no well-formed XHTML, a control character.
    """
    writer = _Writer(pretty)
    try:
        writer.resource(resource, _ROOT, 0)
    except Unwritable as problem:
        place = str(resource.get("resourceType")) + "".join(reversed(problem.steps))
        raise NotAcceptable(f"{place} {problem}, so it cannot be given as XML.", place) from problem
    if pretty:
        writer.parts.append("\n")
    return "".join([_DECLARATION, *writer.parts]).encode()


class _Writer:
    def __init__(self, pretty: bool) -> None:
        self.pretty = pretty
        self.parts: list[str] = []

    def pad(self, depth: int) -> str:
        return "\n" + "  " * depth if self.pretty else ""

    def resource(self, resource: Any, attributes: str, depth: int) -> None:
        type_name = resource.get("resourceType") if isinstance(resource, Mapping) else None
        if not is_resource_type(type_name):
            raise Unwritable("is no resource of R4")
        self.element(str(type_name), resource, members(str(type_name)), attributes, depth)

    def element(
        self, tag: str, value: Mapping[str, Any], known: Mapping[str, Member], attributes: str, depth: int
    ) -> None:
        """An element whose attributes are `attributes` and those of `value`, and whose children are the members of it."""
        if depth > _MAX_DEPTH:
            raise Unwritable(f"is nested more than {_MAX_DEPTH} levels deep")
        parts = self.parts
        present, attributes = self.sorted_members(value, known, attributes)
        if not present:
            parts.append(f"{self.pad(depth)}<{tag}{attributes}/>")
            return
        parts.append(f"{self.pad(depth)}<{tag}{attributes}>")
        for member in present:
            try:
                self.member(member, value, depth + 1)
            except Unwritable as problem:
                problem.steps.append(f".{member.path_name}")
                raise
        parts.append(f"{self.pad(depth)}</{tag}>")

    def sorted_members(
        self, value: Mapping[str, Any], known: Mapping[str, Member], attributes: str
    ) -> tuple[list[Member], str]:
        """The members that are child elements, in the order of the definitions, and the attributes with the rest."""
        found: dict[int, Member] = {}
        for key in value:
            member = known.get(key)
            if member is None:
                if key == "resourceType":
                    continue
                member = known.get(key[1:]) if key.startswith("_") else None
                if member is None or member.kind is not Kind.PRIMITIVE or member.attribute:
                    raise Unwritable(f"has the member {key!r}, which R4 does not define")
            if member.attribute:
                attributes += f' {key}="{attribute_text(value[key])}"'
            else:
                found[member.position] = member
        return [found[position] for position in sorted(found)], attributes

    def member(self, member: Member, holder: Mapping[str, Any], depth: int) -> None:
        value = holder.get(member.name)
        if member.kind is Kind.PRIMITIVE:
            extra = holder.get("_" + member.name)
            if member.many:
                self.primitives(member, value, extra, depth)
            else:
                self.primitive(member.name, value, extra, depth)
            return
        write = self.object if member.kind is Kind.OBJECT else self.wrapped
        if member.kind is Kind.XHTML:
            self.div(value, depth)
        elif member.many:
            index = -1
            try:
                for item in _listed(value):
                    index += 1
                    write(member, item, depth)
            except Unwritable as problem:
                problem.steps.append(f"[{index}]" if index >= 0 else "")
                raise
        else:
            write(member, value, depth)

    def object(self, member: Member, value: Any, depth: int) -> None:
        self.element(member.name, _mapping(value), members(member.shape or "Element"), "", depth)

    def wrapped(self, member: Member, value: Any, depth: int) -> None:
        self.parts.append(f"{self.pad(depth)}<{member.name}>")
        self.resource(value, "", depth + 1)
        self.parts.append(f"{self.pad(depth)}</{member.name}>")

    def primitives(self, member: Member, values: Any, extras: Any, depth: int) -> None:
        values = [] if values is None else _listed(values)
        extras = [] if extras is None else _listed(extras)
        index = -1
        try:
            for value, extra in zip_longest(values, extras):
                index += 1
                self.primitive(member.name, value, extra, depth)
        except Unwritable as problem:
            problem.steps.append(f"[{index}]" if index >= 0 else "")
            raise

    def primitive(self, name: str, value: Any, extra: Any, depth: int) -> None:
        attributes = "" if value is None else f' value="{attribute_text(value)}"'
        if extra is None:
            self.parts.append(f"{self.pad(depth)}<{name}{attributes}/>")
        else:
            self.element(name, _mapping(extra), members("Element"), attributes, depth)

    def div(self, text: Any, depth: int) -> None:
        try:
            self.parts.append(self.pad(depth) + div_to_xml(text))
        except NotXhtml as error:
            raise Unwritable(f"is no XHTML div: {error}") from error


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unwritable("is no array")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unwritable("is no object")
    return value
