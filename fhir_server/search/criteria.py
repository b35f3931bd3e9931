"""One criterion of a search, `name=value`, to an expression: plain parameters, chains and `_has`, to any depth.

Source: https://hl7.org/fhir/R4/search.html#chaining, #has, #composite. A comma means or; a criterion on several types must mean
the same on each of them. Raises UnknownParameter or NotSupported for names, InvalidParameter for values, and what the
terminology raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import cast

from fhir_r4.definitions import SearchParameter, is_resource_type
from fhir_r4.errors import (
    FhirError,
    InvalidParameter,
    InvalidRequest,
    Issue,
    NotSupported,
    UnknownParameter,
)
from fhir_server.search.filtering import Filtering
from fhir_server.search.fulltext import parse_full_text
from fhir_server.search.lists import in_list
from fhir_server.search.modifiers import check_modifier
from fhir_server.search.parameters import SPECIAL_PARAMETERS, About, Parameters
from fhir_server.search.tree import (
    Chain,
    Composite,
    Expression,
    Has,
    IdIs,
    Leaf,
    Nothing,
    Or,
    Present,
    QuantityIs,
    TokenIs,
    Updated,
    UriIs,
    all_of,
    any_of,
    negation,
)
from fhir_server.search.values import READERS, NoPlace, Reading, Target, date_interval, split_values, unescape

# deep enough for every question that anybody has asked, and no way to make a question that never ends
MAX_LINKS = 10
# the ways through references that can lead to any type multiply with each link
MAX_BRANCHES = 1000

# R4 gives it no definition
_LIST = SearchParameter(url="", code="_list", type="special", base=("Resource",), expression=None)

# What is asked of the resources at the end of a path of names: of these types, by this parameter with this modifier.
End = Callable[[Sequence[str], SearchParameter, str], Expression]


class Unsatisfiable(InvalidParameter):
    """A value of a composite or special parameter that is none of its kind: no resource can have it."""


class Criteria:
    """Reads criteria against the parameters that there are. `notes` tells of values that nothing can match."""

    def __init__(self, parameters: Parameters, reading: Reading) -> None:
        self._parameters = parameters
        self.reading = reading
        self.notes: list[Issue] = []
        self._branches = 0

    def expression(self, types: Sequence[str], name: str, value: str) -> Expression:
        """What `name=value` asks of resources of `types` (empty: all types)."""

        def end(types: Sequence[str], definition: SearchParameter, modifier: str) -> Expression:
            return self._plain(types, definition, modifier, value)

        return self.follow(types, name, end)

    def follow(self, types: Sequence[str], name: str, end: End, links: int = 0) -> Expression:
        """What is asked at the end of a name with chains and `_has`."""
        if name.startswith("_has:"):
            return self._has(types, name, end, links)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        definition = require_parameter(self._parameters, types, code)
        if not dot:
            return end(types, definition, modifier)

        def inner(target: str) -> Expression:
            return self.follow((target,), rest, end, links + 1)

        return self.linked(types, definition, modifier, name, inner, links)

    def linked(
        self,
        types: Sequence[str],
        definition: SearchParameter,
        modifier: str,
        name: str,
        inner: Callable[[str], Expression],
        links: int,
    ) -> Expression:
        """What `inner` asks of a type, asked of the resources that a reference parameter leads to."""
        self._check_links(name, links)
        if definition.type != "reference":
            raise UnknownParameter(
                f"{name}: {definition.code} is no reference, so nothing can follow it.", name
            )
        targets = self.about(types, definition).targets
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
                parts.append(Chain(definition.code, target, inner(target)))
            except (UnknownParameter, InvalidParameter) as error:
                # the types that do not have such a parameter, or no such value, cannot be meant
                problems.append(error)
        if parts:
            return any_of(parts)
        if len(problems) == 1 or (problems and all(isinstance(p, InvalidParameter) for p in problems)):
            raise problems[0]
        raise UnknownParameter(f"{name}: none of {', '.join(targets)} can be searched by what follows.", name)

    def _check_links(self, name: str, links: int) -> None:
        if links >= MAX_LINKS:
            raise NotSupported(f"A chain has {MAX_LINKS} links at the most.", name)

    def _count_branch(self, name: str) -> None:
        self._branches += 1
        if self._branches > MAX_BRANCHES:
            problem = f"{name} can mean more than {MAX_BRANCHES} paths; name the types, as in `subject:Patient.name`."
            raise InvalidRequest(problem, name)

    def _has(self, types: Sequence[str], name: str, end: End, links: int) -> Expression:
        self._check_links(name, links)
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
        return Has(source, code, self.follow((source,), rest, end, links + 1))

    def parameter(self, types: Sequence[str], code: str) -> SearchParameter:
        """The definition of a parameter that all `types` have. Raises UnknownParameter or NotSupported."""
        return require_parameter(self._parameters, types, code)

    def about(self, types: Sequence[str], definition: SearchParameter) -> About:
        """What a parameter finds, on all of the types together."""
        found = [self._parameters.about(type, definition.code) for type in types or ("Resource",)]
        return _together(definition.type, found)

    # Values

    def _plain(
        self, types: Sequence[str], definition: SearchParameter, modifier: str, value: str
    ) -> Expression:
        name = f"{definition.code}:{modifier}" if modifier else definition.code
        if definition.code in SPECIAL_PARAMETERS:
            return self._special(types, definition.code, modifier, value)
        self.checked(types, definition, modifier)
        if modifier == "missing":
            if value not in ("true", "false"):
                raise InvalidParameter(f"{name}={value[:80]}: expected `true` or `false`.", name)
            return self.missing(definition) if value == "true" else negation(self.missing(definition))
        texts = split_values(value, ",")
        found = any_of([self._satisfiable(types, definition, modifier, text) for text in texts])
        return negation(found) if modifier in ("not", "not-in") else found

    def _satisfiable(
        self, types: Sequence[str], definition: SearchParameter, modifier: str, text: str
    ) -> Expression:
        """What a value asks, or nothing with a note (docs/adr/0010)."""
        try:
            return self.value(types, definition, modifier, text)
        except Unsatisfiable as error:
            self.notes.append(Issue("warning", "value", f"Nothing can match: {error}", (definition.code,)))
            return Nothing()

    def value(
        self, types: Sequence[str], definition: SearchParameter, modifier: str, text: str
    ) -> Expression:
        """What a single value of a parameter asks. `:not` and `:not-in` ask the opposite, which is not said here."""
        name = f"{definition.code}:{modifier}" if modifier else definition.code
        try:
            if text == "":
                raise ValueError("expected a value")
            if definition.code == "_id":
                return IdIs((unescape(text),))
            if definition.code == "_lastUpdated":
                return Updated(*date_interval(text, self.reading))
            if definition.type == "composite":
                return self._composite(types, definition, text)
            if definition.code == "url" and modifier == "" and "|" in text:
                return self._canonical(types, text)
            target = _target(definition.code, self.about(types, definition))
            return READERS[definition.type](target, modifier, text, self.reading)
        except ValueError as error:
            problem = Unsatisfiable if isinstance(error, NoPlace) else InvalidParameter
            raise problem(f"{name}={text[:80]}: {error}.", name) from error

    def _canonical(self, types: Sequence[str], text: str) -> Expression:
        """`url=address|version` asks for a resource by its canonical address and business version."""
        match [unescape(part) for part in split_values(text, "|")]:
            case [address, version] if address and version:
                self.parameter(types, "version")
                return all_of((UriIs("url", address), TokenIs("version", None, version)))
            case _:
                raise ValueError("expected an address, or `address|version`")

    def checked(self, types: Sequence[str], definition: SearchParameter, modifier: str) -> None:
        """Raise UnknownParameter unless the parameter takes the modifier."""
        if modifier == "":
            return
        check_modifier(
            f"{definition.code}:{modifier}", definition.type, modifier, self.about(types, definition).types
        )

    def missing(self, definition: SearchParameter) -> Expression:
        """Nothing is there of what the parameter is about."""
        if definition.code in ("_id", "_lastUpdated"):
            return Nothing()
        return negation(Present(definition.code))

    def _special(self, types: Sequence[str], code: str, modifier: str, value: str) -> Expression:
        if modifier:
            raise UnknownParameter(f"{code} takes no modifier; found :{modifier[:40]}.", code)
        try:
            if code == "_filter":
                return Filtering(self).expression(types, value)
            if code == "_list":
                return any_of([in_list(unescape(text)) for text in split_values(value, ",")])
            field = code.removeprefix("_")
            return any_of(
                [parse_full_text(field, unescape(text)) for text in split_values(value, ",")]  # type: ignore[arg-type]
            )
        except ValueError as error:
            raise InvalidParameter(f"{code}={value[:80]}: {error}.", code) from error

    def _composite(self, types: Sequence[str], definition: SearchParameter, text: str) -> Expression:
        about = self._parts_about(types, definition)
        texts = split_values(text, "$")
        expected = f"expected {len(about)} values, divided by `$`: {'$'.join(one.kind for one in about)}"
        if len(texts) == 1:
            raise ValueError(expected)
        if "" in texts:
            raise ValueError("expected a value on each side of `$`")
        try:
            if len(texts) != len(about):
                raise ValueError(expected)
            parts = [
                READERS[one.kind](_target(definition.code, one), "", part, self.reading)
                for one, part in zip(about, texts, strict=True)
            ]
        except ValueError as error:
            raise Unsatisfiable(f"{definition.code}={text[:80]}: {error}.", definition.code) from error
        return composite(definition.code, parts)

    def _parts_about(self, types: Sequence[str], definition: SearchParameter) -> list[About]:
        found = [self._parameters.parts_about(type, definition.code) for type in types or ("Resource",)]
        if len({tuple(one.kind for one in parts) for parts in found}) != 1:
            raise NotSupported(
                f"{definition.code} does not mean the same for {', '.join(types)}.", definition.code
            )
        return [_together(parts[0].kind, parts) for parts in zip(*found, strict=True)]


def composite(code: str, parts: Sequence[Expression]) -> Expression:
    """The composite whose components satisfy `parts`, in canonical units when one of them asks in those."""
    canonical = f"{code}:ucum"
    quantities = {leaf.param for part in parts for leaf in _leaves(part) if isinstance(leaf, QuantityIs)}
    if len(quantities) > 1:
        raise ValueError("expected units of UCUM for all quantities or for none")
    param = canonical if canonical in quantities else code
    return Composite(param, tuple(_renamed(part, param) for part in parts))


def _leaves(part: Expression) -> tuple[Leaf, ...]:
    return cast(tuple[Leaf, ...], part.parts if isinstance(part, Or) else (part,))


def _renamed(part: Expression, param: str) -> Expression:
    leaves = tuple(replace(leaf, param=param) for leaf in _leaves(part))
    return leaves[0] if len(leaves) == 1 else Or(leaves)


def _target(code: str, about: About) -> Target:
    return Target(code, about.targets, about.systems, about.types)


def _together(kind: str, found: Sequence[About]) -> About:
    if len(found) == 1:
        return found[0]
    targets = dict.fromkeys(target for one in found for target in one.targets)
    types, systems = frozenset[str](), frozenset[str]()
    return About(
        kind,
        types.union(*(one.types for one in found)),
        tuple(targets),
        systems.union(*(one.systems for one in found)),
    )


def require_parameter(parameters: Parameters, types: Sequence[str], code: str) -> SearchParameter:
    """The definition of a parameter that all `types` have in the same way. Raises UnknownParameter or NotSupported."""
    if code == _LIST.code:
        return _LIST
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
