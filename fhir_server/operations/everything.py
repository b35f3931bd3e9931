"""Patient/$everything and Encounter/$everything. https://hl7.org/fhir/R4/patient-operation-everything.html

The resource, its compartment, and what the members refer to that stands in no compartment (practitioners,
organisations, places, medicines). `start` and `end` look at the search parameter `date` of those members that have it.
"""

from __future__ import annotations

from fhir_r4.definitions import compartments, is_resource_type
from fhir_r4.errors import InvalidParameter, Issue
from fhir_r4.temporal import parse_interval
from fhir_server.context import FhirResponse, OperationCall, Services
from fhir_server.interactions.bundles import bundle, outcome_entry, query_string, search_entry
from fhir_server.interactions.indexing import follow, incomplete
from fhir_server.interactions.visibility import require_current
from fhir_server.operations.parameters import refuse_unknown, single, values
from fhir_server.search.rewrite import apply_policy
from fhir_server.search.tree import (
    And,
    DateIs,
    Expression,
    Include,
    Not,
    Or,
    Present,
    RefersTo,
    SearchQuery,
    Updated,
)

KNOWN = ("start", "end", "_since", "_type", "_count", "_cursor")
SHARED = (
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Location",
    "Medication",
    "HealthcareService",
    "Device",
)
MOST = 10_000


async def everything(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset; without `_count` all of it up to MOST, and an outcome entry says so when that was not all."""
    assert call.type is not None
    assert call.id is not None
    refuse_unknown(call.parameters, KNOWN)
    current = await require_current(call.request, services, call.type, call.id)
    types = _types(call)
    count, cursor = _count(call, services), single(call.parameters, "_cursor")
    members = tuple(t for t in compartments()[call.type] if t != call.type and (not types or t in types))
    query = SearchQuery(
        members,
        _members(call, services),
        count=count or MOST,
        cursor=cursor,
        includes=tuple(Include("*", None, t) for t in SHARED if not types or t in types),
        include_limit=MOST,
    )
    await follow(services)
    issues = await incomplete(services, query)
    page = await services.store.search(apply_policy(query, call.request.actor.policy))
    base = call.request.base
    entries = [search_entry(base, s, "match") for s in page.matches]
    if cursor is None and (not types or call.type in types):
        entries.insert(0, search_entry(base, current, "match"))
    entries += [search_entry(base, s, "include") for s in page.included]
    shown = len(entries)
    if page.included_truncated or (count is None and page.next is not None):
        issues.append(Issue("warning", "incomplete", f"More than {MOST} resources; use _count to page."))
    if issues:
        entries.append(outcome_entry(issues))
    address = f"{base}/{call.type}/{call.id}/$everything"
    pairs = [(n, v) for n, v in call.request.query if n != "_cursor"]
    links = [("self", _link(address, list(call.request.query)))]
    if count is not None and page.next is not None:
        links.append(("next", _link(address, [*pairs, ("_cursor", page.next)])))
    total = shown if len(links) == 1 and cursor is None and not page.included_truncated else None
    return bundle("searchset", links, entries, total)


def _link(address: str, pairs: list[tuple[str, str]]) -> str:
    return f"{address}?{query_string(pairs)}" if pairs else address


def _types(call: OperationCall) -> set[str]:
    names = {
        t.strip() for text in values(call.parameters, "_type") for t in str(text).split(",") if t.strip()
    }
    for name in names:
        if not is_resource_type(name):
            raise InvalidParameter(f"{name[:64]!r} is no resource type of FHIR R4.", "_type")
    return names


def _count(call: OperationCall, services: Services) -> int | None:
    given = single(call.parameters, "_count")
    if given is None:
        return None
    text = str(given)
    if not text.isdigit() or not 0 < int(text) < 10**9:
        raise InvalidParameter(f"_count is a number above 0; found {text[:40]!r}.", "_count")
    return min(int(text), services.settings.max_page)


def _members(call: OperationCall, services: Services) -> Expression:
    assert call.type is not None
    codes = sorted({c for t, own in compartments()[call.type].items() if t != call.type for c in own})
    parts: list[Expression] = [Or(tuple(RefersTo(code, call.type, call.id) for code in codes))]
    zone = services.settings.default_timezone
    since = _interval(single(call.parameters, "_since"), "_since", zone)
    if since is not None:
        parts.append(Updated("ge", *since))
    start = _interval(single(call.parameters, "start"), "start", zone)
    end = _interval(single(call.parameters, "end"), "end", zone)
    if start is not None:
        parts.append(_undated_or(DateIs("date", "ge", *start)))
    if end is not None:
        parts.append(_undated_or(DateIs("date", "le", *end)))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _undated_or(test: DateIs) -> Expression:
    return Or((Not(Present("date")), test))


def _interval(text: object, name: str, zone: str) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        return parse_interval(str(text), zone)
    except ValueError as error:
        raise InvalidParameter(f"{name} is a date or an instant; found {str(text)[:40]!r}.", name) from error
