"""A search as it stands in the address to a `SearchQuery`, with an account of what was used and what was not.

Source: https://hl7.org/fhir/R4/search.html. Strict handling refuses what is not understood; lenient handling
(`Prefer: handling=lenient`) leaves it out and says so. A value that its parameter cannot have is refused either way. An
invariant to keep: every pair ends up applied, ignored with an issue, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import FhirError, InvalidParameter, Issue, NotSupported, UnknownParameter
from fhir_server.search.criteria import Criteria
from fhir_server.search.directives import RESULT_PARAMETERS, Directives
from fhir_server.search.parameters import Parameters
from fhir_server.search.tree import Expression, SearchQuery, all_of
from fhir_server.search.values import Reading

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ParsedSearch:
    """A search and its account: `applied` are the pairs for the self link, `ignored` says what was not used or cut.

    `_summary` and `_elements` are applied pairs that the caller answers; `_summary=count` is in the query already.
    """

    query: SearchQuery
    applied: tuple[Pair, ...] = ()
    ignored: tuple[Issue, ...] = ()


def parse_search(
    types: Sequence[str],
    pairs: Iterable[Pair],
    parameters: Parameters,
    *,
    now: int,
    handling: str = "strict",
    zone: str = "UTC",
    local_bases: Sequence[str] = (),
    default_count: int = 50,
    max_count: int = 1000,
    max_included: int = 1000,
) -> ParsedSearch:
    """The search of `types` (empty: all) that decoded name-value pairs ask for; `now` is in microseconds.

    Raises UnknownParameter or NotSupported (not with handling `lenient`), and InvalidParameter.
    """
    pairs = list(pairs)
    searched = _searched_types(tuple(types), pairs)
    criteria = Criteria(parameters, Reading(now, zone, tuple(local_bases)))
    directives = Directives(searched, parameters, default_count, max_count)
    where: list[Expression] = []
    applied: list[Pair] = []
    ignored: list[Issue] = []
    for name, value in pairs:
        try:
            if name == "_type" and not types:
                applied.append((name, value))
            elif name.partition(":")[0] in RESULT_PARAMETERS:
                applied.append((name, directives.apply(name, value)))
            else:
                where.append(criteria.expression(searched, name, value))
                applied.append((name, value))
        except (UnknownParameter, NotSupported, InvalidParameter) as error:
            if handling != "lenient" or isinstance(error, InvalidParameter):
                # inside of a chain the parameter at fault is only the end of the name
                raise type(error)(str(error), name) from error
            ignored.append(_ignored(error, name))
    query = directives.query(all_of(where), max_included)
    return ParsedSearch(query, tuple(applied), (*ignored, *directives.notes))


def _ignored(error: FhirError, name: str) -> Issue:
    return Issue("warning", error.code, f"{name} was not used: {error}", (name,))


def _searched_types(types: tuple[str, ...], pairs: Sequence[Pair]) -> tuple[str, ...]:
    if types:
        return types
    asked = [type for name, value in pairs if name == "_type" for type in value.split(",")]
    for type in asked:
        if not is_resource_type(type):
            raise InvalidParameter(f"_type: {type!r} is no resource type of R4.", "_type")
    return tuple(dict.fromkeys(asked))
