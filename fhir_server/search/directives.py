"""The result parameters of a search: how many, in which order, with what else, how counted.

Source: https://hl7.org/fhir/R4/search.html#return. `_summary` and `_elements` only pass through here: how resources are cut is
the caller's, and so is how what is contained is shown; but `_summary=count` asks for no resources at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast, get_args

from fhir_r4.definitions import is_resource_type, resource_types
from fhir_r4.errors import InvalidParameter, Issue, NotSupported, UnknownParameter
from fhir_server.search.contained import CONTAINED, all_types, contained_type
from fhir_server.search.criteria import require_parameter
from fhir_server.search.parameters import SPECIAL_PARAMETERS, Parameters
from fhir_server.search.tree import (
    Expression,
    Include,
    Repeats,
    SearchQuery,
    SortKey,
    all_of,
    negation,
)

RESULT_PARAMETERS = (
    "_count",
    "_cursor",
    "_sort",
    "_total",
    "_summary",
    "_elements",
    "_include",
    "_revinclude",
    "_contained",
    "_containedType",
    "_format",
    "_pretty",
)

# the second is the name that R3 has for it
ITERATE = ("iterate", "recurse")
SUMMARIES = ("true", "text", "data", "count", "false")
# whether contained resources are searched, and what is shown of them
CONTAINED_VALUES = ("false", "true", "both")
CONTAINED_TYPES = ("container", "contained")
Total = Literal["none", "estimate", "accurate"]


class Directives:
    """Gathers the result parameters of one search."""

    def __init__(
        self, types: tuple[str, ...], parameters: Parameters, default_count: int, max_count: int
    ) -> None:
        self._types = types
        self._parameters = parameters
        self._count = min(default_count, max_count)
        self._max_count = max_count
        self._total: Total = "none"
        self._sort: tuple[SortKey, ...] = ()
        self._cursor: str | None = None
        self._includes: list[Include] = []
        self._contained = "false"
        self._shown = ""
        self._seen: set[str] = set()
        self.notes: list[Issue] = []

    def query(self, where: Expression, max_included: int) -> SearchQuery:
        """The search with all that was applied. A page of no resources is asked for its total, which is then counted."""
        if self._contained == "false" and self._shown:
            raise InvalidParameter(
                "_containedType says how contained resources are shown: it needs _contained=true or _contained=both.",
                "_containedType",
            )
        types, where = self._searched(where)
        return SearchQuery(
            types=types,
            where=where,
            sort=self._sort,
            count=self._count,
            cursor=self._cursor,
            total="accurate" if self._count == 0 else self._total,
            includes=tuple(dict.fromkeys(one for i in self._includes for one in self._ways(i))),
            include_limit=max_included,
        )

    @property
    def alone(self) -> bool:
        """Whether contained resources are shown without their containers."""
        return self._shown == "contained"

    def _searched(self, where: Expression) -> tuple[tuple[str, ...], Expression]:
        """The types as the store knows them, and the question; one match stands for each container that is shown."""
        if self._contained == "false":
            return self._types, where
        types = all_types(self._types or resource_types(), outer=self._contained == "both")
        return types, where if self.alone else all_of([where, negation(Repeats(types, where))])

    def _ways(self, include: Include) -> tuple[Include, ...]:
        """An include, also from what is contained, or to it where it is shown alone."""
        if self._contained == "false":
            return (include,)
        if not include.reverse:
            inside = (
                include if include.source == "*" else replace(include, source=contained_type(include.source))
            )
            return (include, inside)
        if include.param is None or not self.alone:
            return (include,)
        return (include, replace(include, param=include.param + CONTAINED))

    def apply(self, name: str, value: str) -> str:
        """Take one result parameter in; the value as it is really used."""
        code, _, modifier = name.partition(":")
        if code in ("_include", "_revinclude"):
            self._include(name, code == "_revinclude", modifier, value)
            return value
        if modifier:
            raise UnknownParameter(f"{code} takes no modifier; found :{modifier}.", name)
        if code in self._seen:
            raise InvalidParameter(f"{code} is given more than once.", code)
        self._seen.add(code)
        match code:
            case "_count":
                return self._apply_count(value)
            case "_cursor":
                self._cursor = value
            case "_sort":
                self._sort = tuple(self._sort_key(key) for key in value.split(","))
            case "_total":
                _require_one_of(code, value, get_args(Total))
                self._total = cast(Total, value)
            case "_summary":
                _require_one_of(code, value, SUMMARIES)
                if value == "count":
                    self._count = 0
            case "_contained":
                _require_one_of(code, value, CONTAINED_VALUES)
                self._contained = value
            case "_containedType":
                _require_one_of(code, value, CONTAINED_TYPES)
                self._shown = value
        return value

    def _apply_count(self, value: str) -> str:
        if not (value.isascii() and value.isdigit()):
            raise InvalidParameter(f"_count={value[:40]}: expected a whole number, 0 or more.", "_count")
        # a number of so many digits is beyond every limit
        asked = int(value) if len(value) < 10 else self._max_count + 1
        if asked > self._max_count:
            note = f"A page holds {self._max_count} resources at the most; _count={value[:20]} was asked for."
            self.notes.append(Issue("information", "informational", note, ("_count",)))
            asked = self._max_count
        if "_summary" not in self._seen or self._count != 0:
            self._count = asked
        return str(asked)

    def _sort_key(self, key: str) -> SortKey:
        code = key.removeprefix("-")
        if code == "":
            raise InvalidParameter("_sort: expected parameter names, separated by commas.", "_sort")
        if ":" in code or "." in code:
            raise NotSupported(f"_sort={key[:80]}: only the parameters of the type itself can sort.", "_sort")
        definition = require_parameter(self._parameters, self._types, code)
        if definition.type in ("composite", "special") or code in SPECIAL_PARAMETERS:
            raise NotSupported(f"_sort={key[:80]}: {code} gives no order.", "_sort")
        return SortKey(code, definition.type, key.startswith("-"))

    def _include(self, name: str, reverse: bool, modifier: str, value: str) -> None:
        if modifier not in ("", *ITERATE):
            raise UnknownParameter(f"{name}: the only modifier of an include is :iterate.", name)
        iterate = modifier in ITERATE
        if value == "*":
            # what is found has one of the types that are searched
            sources = ("*",) if reverse or iterate or not self._types else self._types
            self._includes.extend(Include(source, None, None, reverse, iterate) for source in sources)
            return
        source, _, rest = value.partition(":")
        code, _, target = rest.partition(":")
        if not is_resource_type(source) or code == "":
            raise InvalidParameter(
                f"{name}={value[:80]}: expected `Type:parameter` or `Type:parameter:Target`.", name
            )
        if target and not is_resource_type(target):
            raise InvalidParameter(f"{name}={value[:80]}: {target!r} is no resource type of R4.", name)
        if code != "*":
            self._check_include(name, source, code, target, reverse, iterate)
        elif not reverse and not iterate:
            self._check_source(name, source)
        self._includes.append(
            Include(source, None if code == "*" else code, target or None, reverse, iterate)
        )

    def _check_include(
        self, name: str, source: str, code: str, target: str, reverse: bool, iterate: bool
    ) -> None:
        definition = require_parameter(self._parameters, (source,), code)
        if definition.type != "reference":
            raise InvalidParameter(f"{name}: {source}.{code} is a {definition.type}, not a reference.", name)
        targets = definition.targets
        if target and targets and target not in targets:
            raise InvalidParameter(f"{name}: {source}.{code} never refers to {target}.", name)
        if iterate:
            return
        if not reverse:
            self._check_source(name, source)
        elif self._types and targets and not set(targets) & set(self._types):
            raise InvalidParameter(
                f"{name}: {source}.{code} never refers to {' or '.join(self._types)}.", name
            )

    def _check_source(self, name: str, source: str) -> None:
        if self._types and source not in self._types:
            problem = (
                f"{name}: {source} is not searched here; `{name}:iterate` includes for what is included."
            )
            raise InvalidParameter(problem, name)


def _require_one_of(code: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidParameter(f"{code}={value[:40]}: expected one of {', '.join(known)}.", code)
