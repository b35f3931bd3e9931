"""One criterion of a search, `name=value`, to an expression: plain parameters, chains and `_has`, to any depth.

Source: https://hl7.org/fhir/R4/search.html#chaining and #has. A comma means or; a criterion on several types must mean the
same on each of them. Raises UnknownParameter or NotSupported for names, InvalidParameter for values.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from fhir_r4.definitions import SearchParameter, is_resource_type
from fhir_r4.errors import FhirError, InvalidParameter, InvalidRequest, NotSupported, UnknownParameter
from fhir_server.search.modifiers import check_modifier
from fhir_server.search.parameters import Parameters
from fhir_server.search.tree import (
    Chain,
    Everything,
    Expression,
    Has,
    IdIs,
    Nothing,
    Present,
    Updated,
    any_of,
    negation,
)
from fhir_server.search.values import READERS, Reading, Target, date_interval, split_values, unescape

# deep enough for every question that anybody has asked, and no way to make a question that never ends
MAX_LINKS = 10
# the ways through references that can lead to any type multiply with each link
MAX_BRANCHES = 1000


class Criteria:
    """Reads criteria against the parameters that there are."""

    def __init__(self, parameters: Parameters, reading: Reading) -> None:
        self._parameters = parameters
        self._reading = reading
        self._branches = 0

    def expression(self, types: Sequence[str], name: str, value: str, links: int = 0) -> Expression:
        """What `name=value` asks of resources of `types` (empty: all types)."""
        if links > MAX_LINKS:
            raise NotSupported(f"A chain has {MAX_LINKS} links at the most.", name)
        if name.startswith("_has:"):
            return self._has(types, name, value, links)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        definition = require_parameter(self._parameters, types, code)
        if dot:
            return self._chain(types, definition, modifier, (name, rest, value), links)
        check_modifier(name, definition.type, modifier)
        return self._plain(types, definition, modifier, name, value)

    def _plain(
        self, types: Sequence[str], definition: SearchParameter, modifier: str, name: str, value: str
    ) -> Expression:
        if modifier == "missing":
            return self._missing(definition, name, value)
        target = self._target(types, definition)
        found = any_of(
            [self._value(definition, target, modifier, name, text) for text in split_values(value, ",")]
        )
        return negation(found) if modifier == "not" else found

    def _value(
        self, definition: SearchParameter, target: Target, modifier: str, name: str, text: str
    ) -> Expression:
        try:
            if text == "":
                raise ValueError("expected a value")
            if definition.code == "_id":
                return IdIs((unescape(text),))
            if definition.code == "_lastUpdated":
                return Updated(*date_interval(text, self._reading))
            return READERS[definition.type](target, modifier, text, self._reading)
        except ValueError as error:
            raise InvalidParameter(f"{name}={text[:80]}: {error}.", name) from error

    def _missing(self, definition: SearchParameter, name: str, value: str) -> Expression:
        if value not in ("true", "false"):
            raise InvalidParameter(f"{name}={value[:80]}: expected `true` or `false`.", name)
        if definition.code in ("_id", "_lastUpdated"):
            return Nothing() if value == "true" else Everything()
        present = Present(definition.code)
        return negation(present) if value == "true" else present

    def _target(self, types: Sequence[str], definition: SearchParameter) -> Target:
        code = definition.code
        if definition.type == "reference":
            return Target(code, self._targets(types, code))
        if definition.type == "token" and types:
            systems = [self._parameters.implied_systems(type, code) for type in types]
            return Target(code, systems=frozenset().union(*systems))
        return Target(code)

    def _targets(self, types: Sequence[str], code: str) -> tuple[str, ...]:
        targets = [self._parameters.targets(type, code) for type in types]
        return tuple(dict.fromkeys(target for found in targets for target in found))

    def _chain(
        self,
        types: Sequence[str],
        definition: SearchParameter,
        modifier: str,
        question: tuple[str, str, str],
        links: int,
    ) -> Expression:
        name, rest, value = question
        if definition.type != "reference":
            raise UnknownParameter(
                f"{name}: {definition.code} is no reference, so nothing can follow it.", name
            )
        targets = self._targets(types, definition.code)
        if modifier:
            if not is_resource_type(modifier):
                raise UnknownParameter(f"{name}: {modifier!r} is no resource type of R4.", name)
            if targets and modifier not in targets:
                raise UnknownParameter(
                    f"{name}: {definition.code} refers to {', '.join(targets)} only.", name
                )
            targets = (modifier,)
        parts: list[Expression] = []
        problems: list[FhirError] = []
        for target in targets:
            self._count_branch(name)
            try:
                part = self.expression((target,), rest, value, links + 1)
                parts.append(Chain(definition.code, target, part))
            except (UnknownParameter, InvalidParameter) as error:
                # the types that do not have such a parameter, or no such value, cannot be meant
                problems.append(error)
        if parts:
            return any_of(parts)
        if len(problems) == 1 or (problems and all(isinstance(p, InvalidParameter) for p in problems)):
            raise problems[0]
        raise UnknownParameter(f"{name}: none of {', '.join(targets)} can be searched by {rest}.", name)

    def _count_branch(self, name: str) -> None:
        self._branches += 1
        if self._branches > MAX_BRANCHES:
            problem = f"{name} can mean more than {MAX_BRANCHES} paths; name the types, as in `subject:Patient.name`."
            raise InvalidRequest(problem, name)

    def _has(self, types: Sequence[str], name: str, value: str, links: int) -> Expression:
        parts = name.split(":", 3)
        if len(parts) < 4:
            raise UnknownParameter(f"{name}: expected `_has:Type:reference:parameter`.", name)
        _, source, code, rest = parts
        if not is_resource_type(source):
            raise UnknownParameter(f"{name}: {source!r} is no resource type of R4.", name)
        definition = require_parameter(self._parameters, (source,), code)
        if definition.type != "reference":
            raise UnknownParameter(f"{name}: {source}.{code} is no reference.", name)
        if types and definition.targets and not set(types) & set(definition.targets):
            raise UnknownParameter(f"{name}: {source}.{code} never refers to {' or '.join(types)}.", name)
        return Has(source, code, self.expression((source,), rest, value, links + 1))


def require_parameter(parameters: Parameters, types: Sequence[str], code: str) -> SearchParameter:
    """The definition of a parameter that all `types` have in the same way. Raises UnknownParameter or NotSupported."""
    found: SearchParameter | None = None
    for type in types or ("Resource",):
        definition = parameters.find(type, code)
        if definition is None or (found is not None and found.type != definition.type):
            raise UnknownParameter(_unknown(parameters, types, type, code), code)
        reason = parameters.reason(type, code)
        if reason:
            raise NotSupported(f"The search parameter {code} of {type} is not supported: {reason}.", code)
        found = found or definition
    assert found is not None
    return found


def _unknown(parameters: Parameters, types: Sequence[str], type: str, code: str) -> str:
    known = parameters.of(type)
    close = get_close_matches(code, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    where = type if types else "A search of all types"
    listed = ", ".join(c for c in known if parameters.searchable(type, c))
    return f"{where} has no search parameter {code[:80]!r}.{hint} Known are: {listed}."
