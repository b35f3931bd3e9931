"""history of a resource, a type or the whole system. https://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from dataclasses import replace

from fhir_r4.errors import InvalidParameter, NotFound, UnknownParameter
from fhir_r4.temporal import parse_interval
from fhir_server.context import FhirRequest, FhirResponse, Services
from fhir_server.interactions.bundles import bundle, history_entry, query_string
from fhir_server.interactions.subsetting import selection, subset_body
from fhir_server.interactions.visibility import find_current, visible_versions
from fhir_server.store.records import HistoryPage, HistoryQuery

KNOWN = ("_since", "_at", "_count", "_cursor", "_format", "_pretty", "_summary", "_elements", "_sort")


def parse_history(request: FhirRequest, services: Services, type: str | None, id: str | None) -> HistoryQuery:
    """The query that the parameters ask for. Raises UnknownParameter or InvalidParameter."""
    settings = services.settings
    values: dict[str, str] = {}
    for name, value in request.query:
        if name not in KNOWN:
            raise UnknownParameter(
                f"{name!r} is no parameter of _history; known are {', '.join(KNOWN)}.", name
            )
        if name in values and name in ("_since", "_at", "_count", "_cursor"):
            raise InvalidParameter(f"{name} was given more than once.", name)
        values[name] = value
    if values.get("_sort", "-_lastUpdated") != "-_lastUpdated":
        raise InvalidParameter("A history is sorted by -_lastUpdated and nothing else.", "_sort")
    count = settings.default_page
    if "_count" in values:
        text = values["_count"]
        if not text.isdigit() or len(text) > 9:
            raise InvalidParameter(f"_count is a number of versions; found {text[:40]!r}.", "_count")
        count = min(int(text), settings.max_page)
    since = (
        _interval(values["_since"], "_since", settings.default_timezone)[0] if "_since" in values else None
    )
    at = _interval(values["_at"], "_at", settings.default_timezone) if "_at" in values else None
    return HistoryQuery(type, id, since, at, count, values.get("_cursor"))


def _interval(text: str, name: str, zone: str) -> tuple[int, int]:
    try:
        return parse_interval(text, zone)
    except ValueError as error:
        raise InvalidParameter(f"{name} is a date or an instant; found {text[:40]!r}.", name) from error


async def history(
    request: FhirRequest, services: Services, type: str | None = None, id: str | None = None
) -> FhirResponse:
    """A history Bundle, newest first. Raises NotFound for a resource that never was."""
    query = parse_history(request, services, type, id)
    if type is not None and id is not None and await find_current(request, services, type, id) is None:
        raise NotFound(f"There is no {type}/{id} on this server.")
    page = await _page(request, services, query)
    path = "/".join(p for p in (request.base, type, id, "_history") if p)
    pairs = [(n, v) for n, v in request.query if n != "_cursor"]
    links = [("self", _address(path, request.query)), ("first", _address(path, pairs))]
    if page.next is not None:
        links.append(("next", _address(path, [*pairs, ("_cursor", page.next)])))
    subset = (lambda body: subset_body(body, request.query)) if selection(request.query) else None
    return bundle(
        "history",
        links,
        [history_entry(request.base, v, subset) for v in page.versions],
        page.total if request.actor.policy is None else None,
    )


async def _page(request: FhirRequest, services: Services, query: HistoryQuery) -> HistoryPage:
    """The page without what the actor may not see; pages of which nothing is left are passed over."""
    while True:
        page = await services.store.history(query)
        versions = await visible_versions(request, services, page.versions)
        if versions or page.next is None or request.actor.policy is None:
            return replace(page, versions=versions)
        query = replace(query, cursor=page.next)


def _address(path: str, pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    return f"{path}?{query_string(pairs)}" if pairs else path
