"""ValueSet/$expand, https://hl7.org/fhir/R4/valueset-operation-expand.html.

Expansions are flat. An invariant to keep: every parameter that shaped the expansion, and every code system version it was
made of, is named in `expansion.parameter`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from fhir_r4.errors import InvalidRequest
from terminology.concepts import Resource
from terminology.displays import Display, displays_of, in_language, no_other_language, parse_languages
from terminology.errors import TooCostly
from terminology.expansion_properties import properties_of, property_declarations
from terminology.holdings import Holdings
from terminology.lookup import PREFERRED
from terminology.parameters import Input, Values, parameter
from terminology.value_sets import Member, ValueSet

MAX_CODES = 20_000

AS_NOW = "codes are known as they are now, not as they were on a date"
IN_CONTEXT = "name the value set with 'url' or hand it in as 'valueSet'"

INPUTS: Mapping[str, Input] = {
    "url": Input("uri"),
    "valueSet": Input("ValueSet"),
    "valueSetVersion": Input("string"),
    "context": Input("uri", refusal=IN_CONTEXT),
    "contextDirection": Input("code", refusal=IN_CONTEXT),
    "filter": Input("string"),
    "date": Input("dateTime", refusal=AS_NOW),
    "offset": Input("integer"),
    "count": Input("integer"),
    "includeDesignations": Input("boolean"),
    "designation": Input("string", repeats=True),
    "includeDefinition": Input("boolean"),
    "activeOnly": Input("boolean"),
    "excludeNested": Input("boolean"),
    "excludeNotForUI": Input("boolean"),
    "excludePostCoordinated": Input("boolean"),
    "displayLanguage": Input("code"),
    "property": Input("code", repeats=True),
    "exclude-system": Input("canonical", repeats=True),
    "system-version": Input("canonical", repeats=True),
    "check-system-version": Input("canonical", repeats=True),
    "force-system-version": Input("canonical", repeats=True),
    "useSupplement": Input("canonical", repeats=True),
    "tx-resource": Input("Resource", repeats=True),
    "uuid": Input("uuid"),
}
# Named by the answer itself: its address, its compose, its identifier, its declared properties and used supplements.
NOT_ECHOED = frozenset(
    {
        "url",
        "valueSet",
        "valueSetVersion",
        "includeDefinition",
        "property",
        "useSupplement",
        "tx-resource",
        "uuid",
    }
)
ECHOED_AS = {"canonical": "uri"}

KEPT = (
    "id",
    "language",
    "extension",
    "url",
    "identifier",
    "version",
    "name",
    "title",
    "status",
    "experimental",
    "date",
    "publisher",
    "copyright",
    "immutable",
)
DEFINITION = ("description", "contact", "useContext", "jurisdiction", "purpose", "compose")


def expand(
    holdings: Holdings, value_set: ValueSet, resource: Resource, values: Values, now: datetime
) -> Resource:
    """`resource` with its expansion. Raises one of NOT_KNOWN when it cannot be computed, or TooCostly."""
    offset, count = _page(values)
    members = select(holdings, value_set, values)
    if count is None and len(members) - offset > MAX_CODES:
        raise TooCostly(
            f"The expansion of {value_set.canonical} has {len(members)} codes; at most {MAX_CODES} are given at once: "
            "use count and offset, or a filter.",
        )
    rows = members[offset : None if count is None else offset + count]
    expansion: Resource = {
        "identifier": values.text("uuid") or _identifier(resource, values),
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "total": len(members),
    }
    if "offset" in values:
        expansion["offset"] = offset
    told = [*_echo(values), *used(holdings, value_set)]
    if told:
        expansion["parameter"] = told
    declared = property_declarations(value_set, values.many("property"))
    if declared:
        expansion["extension"] = declared
    contains = [_row(holdings, member, values) for member in rows]
    if contains:
        expansion["contains"] = contains
    kept = (*KEPT, *DEFINITION) if values.flag("includeDefinition") else KEPT
    answer: Resource = {"resourceType": "ValueSet", "status": "active"}
    answer.update({k: resource[k] for k in kept if k in resource})
    answer["expansion"] = expansion
    return answer


def select(holdings: Holdings, value_set: ValueSet, values: Values) -> list[Member]:
    """The members that the parameters leave, in order."""
    members: Iterable[Member] = value_set.members()
    left_out = frozenset(values.many("exclude-system"))
    if left_out:
        members = (
            m for m in members if m.system not in left_out and f"{m.system}|{m.version}" not in left_out
        )
    if values.flag("activeOnly"):
        members = (m for m in members if not m.inactive)
    if values.flag("excludeNotForUI"):
        members = (m for m in members if not m.abstract)
    words = (values.text("filter") or "").casefold().split()
    if words:
        members = (m for m in members if _matches(holdings, m, words))
    return list(members)


def _page(values: Values) -> tuple[int, int | None]:
    offset, count = values.one("offset") or 0, values.one("count")
    for name, number in (("offset", offset), ("count", count)):
        if number is not None and number < 0:
            raise InvalidRequest(f"The parameter {name!r} takes a number from 0 up, not {number}.", name)
    return offset, count


def _matches(holdings: Holdings, member: Member, words: Sequence[str]) -> bool:
    """Whether each word begins the code or a word of a display, or stands inside one of them."""
    texts = [member.code.casefold()]
    system = holdings.find_code_system(member.system, member.version)
    texts += [d.text.casefold() for d in displays_of(system, member.concept, member.row)]
    return all(any(word in text for text in texts) for word in words)


def _identifier(resource: Resource, values: Values) -> str:
    """The same for every page of the same expansion."""
    shape = {
        k: v for k, v in values.values.items() if k not in ("offset", "count", "valueSet", "tx-resource")
    }
    content = {
        "shape": shape,
        "url": resource.get("url"),
        "version": resource.get("version"),
        "is": resource.get("compose"),
    }
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True, default=str))}"


def _echo(values: Values) -> Iterator[Resource]:
    for name, given in values.values.items():
        if name not in NOT_ECHOED:
            kind = values.inputs[name].type
            yield from (parameter(name, ECHOED_AS.get(kind, kind), value) for value in given)


def used(holdings: Holdings, value_set: ValueSet) -> list[Resource]:
    """What an answer was made of: code systems with their versions, supplements, and imported value sets."""
    systems: dict[str, None] = {}
    supplements: dict[str, None] = {}
    for selection in value_set.selections():
        if selection.codes is not None:
            systems.setdefault(selection.codes.canonical)
            supplements.update(dict.fromkeys(selection.codes.supplements))
        elif selection.system is not None:
            systems.setdefault(
                f"{selection.system}|{selection.version}" if selection.version else selection.system
            )
    imports = dict.fromkeys(v.canonical for v in value_set.imported() if not v.contained)
    named = [("used-codesystem", s) for s in systems]
    named += [("used-supplement", s) for s in supplements] + [("used-valueset", v) for v in imports]
    return [parameter(name, "uri", address) for name, address in named]


def _row(holdings: Holdings, member: Member, values: Values) -> Resource:
    system = holdings.find_code_system(member.system, member.version)
    texts = list(displays_of(system, member.concept, member.row))
    shown = _shown(texts, values.text("displayLanguage"))
    row: Resource = {}
    extensions = [*member.row.get("extension", ()), *properties_of(system, member, values.many("property"))]
    if extensions:
        row["extension"] = extensions
    row["system"] = member.system
    if member.abstract:
        row["abstract"] = True
    if member.inactive:
        row["inactive"] = True
    row["code"] = member.code
    if shown is not None:
        row["display"] = shown.text
    designations = list(_designations(texts, shown, values))
    if designations:
        row["designation"] = designations
    return row


def _shown(texts: Sequence[Display], wanted: str | None) -> Display | None:
    """The display in a language that is wanted, else the one that the value set or the code system gives."""
    languages = parse_languages(wanted)
    spoken = in_language(texts, languages)
    if spoken is not None or no_other_language(wanted):
        return spoken
    return next((t for t in texts if t.designation is None), None)


def _designations(
    texts: Sequence[Display], shown: Display | None, values: Values
) -> Iterator[Mapping[str, Any]]:
    """Every designation but the one that is shown, and the display itself where another one is."""
    wanted = values.many("designation")
    if not (values.flag("includeDesignations") or wanted):
        return
    own = next((t for t in texts if t.designation is None), None)
    for text in texts:
        if text is shown or (text.designation is None and not (text is own and _differs(text, shown))):
            continue
        designation = text.designation
        if designation is None:
            designation = {"use": PREFERRED, "value": text.text}
            if text.language is not None:
                designation = {"language": text.language, **designation}
        if not wanted or any(_is_wanted(designation, token) for token in wanted):
            yield designation


def _differs(text: Display, shown: Display | None) -> bool:
    return shown is None or text.text != shown.text


def _is_wanted(designation: Mapping[str, Any], token: str) -> bool:
    """`token` is `system|code` of a use, or a language (`urn:ietf:bcp:47|de`, `de`)."""
    system, bar, code = token.rpartition("|")
    if not bar or system == "urn:ietf:bcp:47":
        return str(designation.get("language", "")).lower() == code.lower()
    use = designation.get("use") or {}
    return use.get("system", "") == system and use.get("code") == code
