"""A search as it stands in the address to a `SearchQuery`, with an account of what was used and what was not.

Source: https://hl7.org/fhir/R4/search.html. Strict handling refuses what is not understood; lenient handling
(`Prefer: handling=lenient`) leaves it out and says so. A value that its parameter cannot have is refused either way. An
invariant to keep: every pair ends up applied, ignored with an issue, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import FhirError, InvalidParameter, Issue, NotSupported, UnknownParameter
from fhir_server.search.codes import Addresses, Codes
from fhir_server.search.criteria import Criteria
from fhir_server.search.directives import RESULT_PARAMETERS, Directives
from fhir_server.search.parameters import Parameters
from fhir_server.search.tree import Expression, SearchQuery, all_of
from fhir_server.search.values import Reading

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ParsedSearch:
    """A search and its account: `applied` are the pairs for the self link.

    `ignored` says what was not used, was cut, or can match nothing. `_summary` and `_elements` are applied pairs that the caller answers; `_summary=count` is in the query already.
    `alone`: matches that are contained are shown without their containers (`_containedType`).
    """

    query: SearchQuery
    applied: tuple[Pair, ...] = ()
    ignored: tuple[Issue, ...] = ()
    alone: bool = False


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
    terminology: Codes | None = None,
) -> ParsedSearch:
    """The search of `types` (empty: all) that decoded name-value pairs ask for; `now` is in microseconds.

    `terminology` lists the codes for `:in`, `:not-in`, `:above` and `:below` of tokens; the caller has handed it what is
    stored at `terminology_addresses`. Raises UnknownParameter or NotSupported (not with handling `lenient`),
    InvalidParameter, and what the terminology raises.
    """
    pairs = list(pairs)
    searched = _searched_types(tuple(types), pairs)
    criteria = Criteria(parameters, Reading(now, zone, tuple(local_bases), terminology))
    directives = Directives(searched, parameters, default_count, max_count)
    where: list[Expression] = []
    applied: list[Pair] = []
    ignored: list[Issue] = []
    contained = any(name == "_contained" and value != "false" for name, value in pairs)
    for name, value in pairs:
        try:
            if name == "_type" and not types:
                applied.append((name, value))
            elif name.partition(":")[0] in RESULT_PARAMETERS:
                applied.append((name, directives.apply(name, value)))
            else:
                if contained and name in ("_text", "_content"):
                    raise NotSupported(f"{name} looks for no words in contained resources alone.", name)
                where.append(criteria.expression(searched, name, value))
                applied.append((name, value))
        except (UnknownParameter, NotSupported, InvalidParameter) as error:
            if handling != "lenient" or isinstance(error, InvalidParameter):
                # inside of a chain the parameter at fault is only the end of the name
                raise type(error)(str(error), name) from error
            ignored.append(_ignored(error, name))
    query = directives.query(all_of(where), max_included)
    issues = (*ignored, *criteria.notes, *directives.notes)
    return ParsedSearch(query, tuple(applied), issues, directives.alone)


def terminology_addresses(
    types: Sequence[str], pairs: Iterable[Pair], parameters: Parameters, local_bases: Sequence[str] = ()
) -> frozenset[str]:
    """The addresses of the value sets and code systems that a search asks about, none for nearly every search.

    Canonical addresses as they are written (with `|version` where one is), or `ValueSet/id` for one of this server.
    """
    asked = Addresses()
    pairs = list(pairs)
    if not any(_asks_terminology(name) for name, _ in pairs):
        return frozenset()
    try:
        searched = _searched_types(tuple(types), pairs)
    except InvalidParameter:
        return frozenset()
    reading = Reading(0, local_bases=tuple(local_bases), terminology=asked)
    for name, value in pairs:
        # what is wrong with a criterion is for `parse_search` to say
        with suppress(FhirError):
            if _asks_terminology(name):
                Criteria(parameters, reading).expression(searched, name, value)
    return frozenset(asked.found)


def _asks_terminology(name: str) -> bool:
    return name.endswith((":in", ":not-in", ":above", ":below", "_filter"))


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
