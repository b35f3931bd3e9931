"""Headers and criteria on which a write or a read depends. https://hl7.org/fhir/R4/http.html#cond-update

The answer to a criteria search is handed to the store as a precondition, so search and write are one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

from fhir_r4.errors import InvalidParameter, InvalidRequest, MultipleMatches
from fhir_server.context import FhirRequest, Services
from fhir_server.search.directives import RESULT_PARAMETERS
from fhir_server.search.parse import parse_search
from fhir_server.search.tree import Everything, Expression
from fhir_server.store.records import MatchesAre

_ETAG = re.compile(r'^\s*(?:W/)?"([^"]*)"\s*$')


@dataclass(frozen=True, slots=True)
class Matches:
    """What criteria found: the ids (at most two for single interactions) and the precondition that they stay so."""

    ids: tuple[str, ...]
    precondition: MatchesAre


def parse_etag(header: str) -> int:
    """The version that an entity tag names (`W/"3"`). Raises InvalidRequest."""
    found = _ETAG.match(header)
    text = found[1] if found else header.strip()
    if not text.isdigit() or len(text) > 18:
        raise InvalidRequest(f'The entity tag {header[:60]} names no version of this server; expected W/"3".')
    return int(text)


def if_match(request: FhirRequest) -> int | None:
    """The version that If-Match asks for; None when the header is absent or `*`."""
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    return parse_etag(header)


def if_modified_since(header: str) -> int:
    """The instant of an HTTP date in microseconds. Raises InvalidRequest."""
    try:
        return int(parsedate_to_datetime(header).timestamp()) * 1_000_000
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{header[:60]!r} is not an HTTP date.") from error


def criteria_expression(
    services: Services, type: str, pairs: Sequence[tuple[str, str]], base: str
) -> Expression:
    """The expression of search criteria; result parameters such as _count are refused.

    Raises InvalidRequest when there is no criterion: a conditional interaction on everything is always a mistake.
    """
    criteria = [(n, v) for n, v in pairs if n not in ("_format", "_pretty")]
    for name, _ in criteria:
        if name.partition(":")[0] in RESULT_PARAMETERS:
            raise InvalidParameter(
                f"{name} says nothing about which {type} is meant; criteria take no such parameter.", name
            )
    parsed = parse_search(
        (type,),
        criteria,
        parameters=services.parameters,
        now=services.clock(),
        zone=services.settings.default_timezone,
        local_bases=(base,) if base else (),
    )
    if isinstance(parsed.query.where, Everything):
        raise InvalidRequest(f"A conditional interaction on {type} needs search criteria; none were given.")
    return parsed.query.where


async def find_matches(
    services: Services, type: str, criteria: str | Sequence[tuple[str, str]], base: str, limit: int = 2
) -> Matches:
    """The resources of `type` that match `criteria` (a query string or its pairs)."""
    pairs = parse_qsl(criteria.lstrip("?"), keep_blank_values=True) if isinstance(criteria, str) else criteria
    where = criteria_expression(services, type, pairs, base)
    ids = await services.store.matching_ids(type, where, limit)
    return Matches(ids, MatchesAre(type, where, ids, limit))


def require_single(matches: Matches, type: str) -> str | None:
    """The one id found, or None. Raises MultipleMatches (412)."""
    if len(matches.ids) > 1:
        raise MultipleMatches(
            f"The criteria match more than one {type} ({', '.join(matches.ids)} among them); exactly one or none was expected."
        )
    return matches.ids[0] if matches.ids else None
