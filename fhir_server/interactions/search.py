"""search by GET or POST, on a type, the system or a compartment. https://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qsl

from msgspec.structs import replace as replace_fields

from fhir_r4.errors import InvalidRequest, Issue, NotSupported
from fhir_server.context import FhirRequest, FhirResponse, Services
from fhir_server.interactions.answering import preference
from fhir_server.interactions.bundles import (
    bundle,
    contained_entry,
    outcome_entry,
    query_string,
    search_entry,
)
from fhir_server.interactions.explain import explain_asked, explained, require_administrator
from fhir_server.interactions.indexing import follow, incomplete
from fhir_server.interactions.stored_terminology import terminology_for
from fhir_server.interactions.subsetting import selection, subset_body
from fhir_server.search.contained import container_of, is_contained
from fhir_server.search.parameters import compartment
from fhir_server.search.parse import ParsedSearch, parse_search, terminology_addresses
from fhir_server.search.rewrite import apply_policy
from fhir_server.search.tree import Expression, SearchQuery, all_of
from fhir_server.store.records import Page, Stored


def form_pairs(request: FhirRequest) -> tuple[tuple[str, str], ...]:
    """The parameters of POST _search: those of the address and those of the form. Raises InvalidRequest."""
    if request.content_type not in ("application/x-www-form-urlencoded", ""):
        raise InvalidRequest("POST _search takes its parameters as application/x-www-form-urlencoded.")
    try:
        text = request.body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("The form is not UTF-8.") from error
    return (*request.query, *parse_qsl(text, keep_blank_values=True))


async def search(
    request: FhirRequest,
    services: Services,
    types: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    *,
    path: str = "",
    within: Expression | None = None,
) -> FhirResponse:
    """A searchset of `types` (empty: all). `within` is ANDed into the question (compartments); `path` is for the links."""
    explaining, pairs = explain_asked(pairs)
    if explaining:
        require_administrator(request, services)
    parsed, query, issues = await _understood(request, services, types, pairs, within)
    if explaining:
        return explained(query, await services.store.explain(query), issues)
    page = await services.store.search(query)
    return _searchset(request, pairs, parsed, query, page, path, issues)


async def matching(
    request: FhirRequest, services: Services, types: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> tuple[Stored, ...]:
    """The matches on the page that `search` would give, without a Bundle: for who asks within this process."""
    _, query, _ = await _understood(request, services, types, pairs)
    return (await services.store.search(query)).matches


async def _understood(
    request: FhirRequest,
    services: Services,
    types: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    within: Expression | None = None,
) -> tuple[ParsedSearch, SearchQuery, list[Issue]]:
    """The question that the parameters ask on behalf of the actor, and what there is to say about it."""
    in_force = await follow(services)
    settings = services.settings
    local_bases = (request.base,)
    asked = terminology_addresses(types, pairs, in_force.parameters, local_bases)
    parsed = parse_search(
        tuple(types),
        pairs,
        parameters=in_force.parameters,
        handling=preference(request, "handling") or "strict",
        now=services.clock(),
        zone=settings.default_timezone,
        local_bases=local_bases,
        default_count=settings.default_page,
        max_count=settings.max_page,
        max_included=settings.max_included,
        terminology=await terminology_for(request, services, asked) if asked else services.terminology,
    )
    query = parsed.query
    if within is not None:
        if any(is_contained(type) for type in query.types):
            raise NotSupported(
                "What a compartment holds stands alone: _contained cannot be asked there.", "_contained"
            )
        query = replace(query, where=all_of([within, query.where]))
    issues = [*parsed.ignored, *await incomplete(services, query)]
    return parsed, apply_policy(query, request.actor.policy), issues


def _searchset(
    request: FhirRequest,
    pairs: Sequence[tuple[str, str]],
    parsed: ParsedSearch,
    query: SearchQuery,
    page: Page,
    path: str,
    issues: list[Issue],
) -> FhirResponse:
    base = request.base
    subset = (lambda body: subset_body(body, pairs)) if selection(pairs) else None
    show, matches, included = search_entry, page.matches, page.included
    if parsed.alone:
        show = contained_entry
    elif any(is_contained(type) for type in query.types):
        matches = tuple(_container(s) if is_contained(s.type) else s for s in matches)
        shown = {(s.type, s.id) for s in matches}
        included = tuple(s for s in included if (s.type, s.id) not in shown)
    entries = [show(base, s, "match", subset) for s in matches]
    entries += [search_entry(base, s, "include", subset) for s in included]
    if page.included_truncated:
        issues.append(
            Issue(
                "warning", "incomplete", f"Only the first {query.include_limit} included resources are here."
            )
        )
    if page.total_estimated:
        issues.append(Issue("information", "informational", "The total is an estimate."))
    if page.unstable:
        told = "So much was written since the first page that a resource may be on two pages, or on none."
        issues.append(Issue("warning", "incomplete", told))
    if issues:
        entries.append(outcome_entry(issues))
    address = f"{base}/{path}" if path else base
    first = [(n, v) for n, v in parsed.applied if n != "_cursor"]
    links = [("self", _address(address, parsed.applied)), ("first", _address(address, first))]
    if page.previous is not None:
        back = _address(address, [*first, ("_cursor", page.previous)])
        # R4 calls it `previous`, IANA and later versions `prev`
        links += [("previous", back), ("prev", back)]
    if page.next is not None:
        links.append(("next", _address(address, [*first, ("_cursor", page.next)])))
    return bundle("searchset", links, entries, page.total)


def _container(stored: Stored) -> Stored:
    """The version of the container that a contained match was found in."""
    type, id = container_of(stored.id)
    return replace_fields(stored, type=type, id=id)


def _address(address: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{address}?{query_string(pairs)}" if pairs else address


async def search_compartment(
    request: FhirRequest,
    services: Services,
    compartment_type: str,
    id: str,
    type: str,
    pairs: Sequence[tuple[str, str]],
) -> FhirResponse:
    """`Patient/1/Observation`: a search within a compartment. Raises NotSupported where R4 defines none."""
    within = compartment(compartment_type, id, type)
    if within is None:
        raise NotSupported(f"R4 defines no {compartment_type} compartment that holds {type}.")
    return await search(
        request, services, (type,), pairs, path=f"{compartment_type}/{id}/{type}", within=within
    )
