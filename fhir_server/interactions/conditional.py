"""Headers and criteria on which a write or a read depends. https://hl7.org/fhir/R4/http.html#cond-update

The answer to a criteria search is handed to the store as a precondition, so search and write are one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

from fhir_r4.errors import FhirError, InvalidParameter, InvalidRequest, MultipleMatches, NotSupported
from fhir_server.context import FhirRequest, Services
from fhir_server.interactions.indexing import follow, refresh_pending
from fhir_server.interactions.stored_terminology import terminology_for
from fhir_server.search.criteria import Criteria
from fhir_server.search.directives import RESULT_PARAMETERS
from fhir_server.search.parse import parse_search, terminology_addresses
from fhir_server.search.rewrite import limited
from fhir_server.search.tree import Everything, Expression, SearchQuery, any_of
from fhir_server.search.usage import parameters_used
from fhir_server.search.values import Reading
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


async def criteria_expression(
    request: FhirRequest, services: Services, type: str, pairs: Sequence[tuple[str, str]]
) -> Expression:
    """The expression of search criteria, about what the actor may see; result parameters such as _count are refused.

    Raises InvalidRequest when there is no criterion: a conditional interaction on everything is always a mistake.
    """
    base = request.base
    criteria = [(n, v) for n, v in pairs if n not in ("_format", "_pretty")]
    for name, _ in criteria:
        if name.partition(":")[0] in RESULT_PARAMETERS:
            raise InvalidParameter(
                f"{name} says nothing about which {type} is meant; criteria take no such parameter.", name
            )
    local_bases = (base,) if base else ()
    asked = terminology_addresses((type,), criteria, services.parameters, local_bases)
    parsed = parse_search(
        (type,),
        criteria,
        parameters=services.parameters,
        terminology=await terminology_for(request, services, asked) if asked else services.terminology,
        now=services.clock(),
        zone=services.settings.default_timezone,
        local_bases=local_bases,
    )
    for issue in parsed.ignored:
        raise InvalidParameter(issue.diagnostics, *issue.expression)
    if isinstance(parsed.query.where, Everything):
        raise InvalidRequest(f"A conditional interaction on {type} needs search criteria; none were given.")
    return limited(parsed.query.where, (type,), request.actor.policy)


async def find_matches(
    request: FhirRequest,
    services: Services,
    type: str,
    criteria: str | Sequence[tuple[str, str]],
    limit: int = 2,
) -> Matches:
    """The resources of `type` that match `criteria` (a query string or its pairs) and that the actor may see."""
    await follow(services)
    pairs = parse_qsl(criteria.lstrip("?"), keep_blank_values=True) if isinstance(criteria, str) else criteria
    where = await criteria_expression(request, services, type, pairs)
    await _require_indexed(services, type, where)
    ids = await services.store.matching_ids(type, where, limit)
    return Matches(ids, MatchesAre(type, where, ids, limit))


async def find_none(
    request: FhirRequest, services: Services, type: str, criteria: Sequence[str], *, looked: bool
) -> MatchesAre | None:
    """The precondition that no resource matches any of several criteria: one question instead of many.

    None when it does not hold, or when criteria are wrong; each must be asked by itself then. With `looked` it is not asked
    whether it holds: somebody did just now.
    """
    if not looked:
        await follow(services)
    parts = []
    try:
        for one in criteria:
            pairs = parse_qsl(one.lstrip("?"), keep_blank_values=True)
            plain = _plain_expression(request, services, type, pairs)
            parts.append(plain or await criteria_expression(request, services, type, pairs))
        where = any_of(parts)
        await _require_indexed(services, type, where)
    except FhirError:
        return None
    if not looked and await services.store.matching_ids(type, where, 1):
        return None
    return MatchesAre(type, where, (), 1)


def _plain_expression(
    request: FhirRequest, services: Services, type: str, pairs: Sequence[tuple[str, str]]
) -> Expression | None:
    """What `criteria_expression` gives, at once, for a parameter without modifier, chain or terminology; else None."""
    if len(pairs) != 1 or request.actor.policy is not None or not pairs[0][0].isalpha():
        return None
    local_bases = (request.base,) if request.base else ()
    reading = Reading(services.clock(), services.settings.default_timezone, local_bases, services.terminology)
    criteria = Criteria(services.parameters, reading)
    found = criteria.expression((type,), *pairs[0])
    return None if criteria.notes else found


async def _require_indexed(services: Services, type: str, where: Expression) -> None:
    """Refuse criteria that could miss a match, because resources are not indexed by a parameter defined here.

    What a newer program indexes in another way (also told as incomplete to searches) is no reason to refuse writes.
    Raises NotSupported.
    """
    in_force = services.registry.current
    if not in_force.pending:
        return
    used = parameters_used(SearchQuery((type,), where), in_force.parameters)
    custom = {key for key in used & in_force.pending if in_force.custom.changed(*key)}
    left = custom & (await refresh_pending(services)).pending if custom else set()
    for owner, code in sorted(left):
        raise NotSupported(
            f"The search parameter {code} of {owner} is not fully indexed, so a match could be missed; $reindex does it.",
            code,
        )


def require_single(matches: Matches, type: str) -> str | None:
    """The one id found, or None. Raises MultipleMatches (412)."""
    if len(matches.ids) > 1:
        raise MultipleMatches(
            f"The criteria match more than one {type} ({', '.join(matches.ids)} among them); exactly one or none was expected."
        )
    return matches.ids[0] if matches.ids else None
