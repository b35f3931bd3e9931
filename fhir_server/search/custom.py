"""SearchParameter resources: what they define, what must hold for them, and which parameters are in force just now.

Source: https://hl7.org/fhir/R4/searchparameter.html. An active SearchParameter adds a parameter, or replaces the one of the
standard that it derives from or whose url it has; others are kept without effect. Pure: the versions are handed in, in
the order of their sequence. An invariant to keep: the same versions give the same parameters, whoever folds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_r4 import definitions
from fhir_r4.definitions import SearchParameter, is_resource_type, resource_types
from fhir_r4.errors import Issue
from fhir_server.search.directives import RESULT_PARAMETERS
from fhir_server.search.extract import Extractor
from fhir_server.search.parameters import STORE_PARAMETERS, Parameters

GENERAL = ("DomainResource", "Resource")
LONGEST_EXPRESSION = 10_000
_CODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
# What the address of a search means by these words is not for a definition to say.
_RESERVED = frozenset(
    {*RESULT_PARAMETERS, "_type", "_has", "_filter", "_query", "_list", "_text", "_content", "_explain"}
)

Key = tuple[str, str]
# (sequence, id, the resource or None for its deletion)
Version = tuple[int, str, Mapping[str, Any] | None]


def definition_of(resource: Mapping[str, Any]) -> SearchParameter:
    """What a structurally valid SearchParameter resource defines."""
    return SearchParameter(
        url=resource["url"],
        code=resource["code"],
        type=resource["type"],
        base=tuple(resource["base"]),
        expression=resource.get("expression"),
        targets=tuple(resource.get("target", ())),
        modifiers=tuple(resource.get("modifier", ())),
        comparators=tuple(resource.get("comparator", ())),
        components=tuple(
            (c["definition"].partition("|")[0], c["expression"]) for c in resource.get("component", ())
        ),
        description=resource["description"],
    )


def is_active(resource: Mapping[str, Any]) -> bool:
    return bool(resource.get("status") == "active")


def _meaning(definition: SearchParameter | None) -> tuple[Any, ...] | None:
    """What of a definition decides its index entries."""
    return None if definition is None else (definition.type, definition.expression, definition.components)


def says_what_is_known(definition: SearchParameter, standard: Parameters) -> bool:
    """Whether it is a parameter of the standard as the standard has it."""
    known = (standard.find(base, definition.code) for base in definition.base)
    return all(
        k is not None and k.url == definition.url and _meaning(k) == _meaning(definition) for k in known
    )


@dataclass(frozen=True, slots=True)
class CustomParameters:
    """The SearchParameter resources up to `sequence`.

    `active` are the definitions in effect by resource id; `since` tells for a (base, code) at which sequence its meaning
    last changed: index entries made before are not to be trusted.
    """

    sequence: int = 0
    active: Mapping[str, SearchParameter] = field(default_factory=dict)
    since: Mapping[Key, int] = field(default_factory=dict)

    def after(self, versions: Iterable[Version], standard: Parameters) -> CustomParameters:
        """The same with later versions taken in, in the order of their sequence."""
        active, since, sequence = dict(self.active), dict(self.since), self.sequence
        for sequence, id, resource in versions:
            before = active.pop(id, None)
            definition = definition_of(resource) if resource is not None and is_active(resource) else None
            keys = {*_keys(before), *_keys(definition)}
            old = {key: _meaning(_in_effect(active, id, before, key, standard)) for key in keys}
            if definition is not None:
                active[id] = definition
            for key in keys:
                if _meaning(_in_effect(active, "", None, key, standard)) != old[key]:
                    since[key] = sequence
        return CustomParameters(sequence, active, since)

    def definitions(self) -> list[SearchParameter]:
        """Those in effect, in an order that does not depend on when they came."""
        return [self.active[id] for id in sorted(self.active)]

    def changed(self, type: str, code: str) -> int:
        """The sequence at which the meaning of a parameter of a type last changed; 0 when it never did."""
        if not self.since:
            return 0
        return max(self.since.get((base, code), 0) for base in (type, *GENERAL))


def _keys(definition: SearchParameter | None) -> Iterable[Key]:
    return () if definition is None else ((base, definition.code) for base in definition.base)


def _in_effect(
    active: Mapping[str, SearchParameter],
    id: str,
    more: SearchParameter | None,
    key: Key,
    standard: Parameters,
) -> SearchParameter | None:
    """The definition of a (base, code), with `more` under `id` added to those that are active."""
    base, code = key
    held = {**active, id: more} if more is not None else active
    found = [d for _, d in sorted(held.items()) if d.code == code and base in d.base]
    return found[-1] if found else standard.find(base, code)


@dataclass(frozen=True, slots=True)
class InForce:
    """The parameters that searches and writes go by; swapped as a whole.

    `pending` are the (type, code) for which resources may lack index entries.
    """

    parameters: Parameters
    extractor: Extractor
    custom: CustomParameters
    pending: frozenset[Key] = frozenset()

    @property
    def sequence(self) -> int:
        """The sequence of the newest SearchParameter that is taken in."""
        return self.custom.sequence

    def fingerprint(self, type: str, code: str) -> str:
        """A text that differs when entries made before must not be trusted any more."""
        changed = self.custom.changed(type, code)
        plain = self.parameters.fingerprint(type, code)
        return f"{plain}@{changed}" if changed else plain

    def fingerprints(self, types: Sequence[str] = ()) -> dict[str, str]:
        """`Type.code` -> fingerprint of every parameter with index entries."""
        return {
            f"{type}.{code}": self.fingerprint(type, code)
            for type in types or resource_types()
            for code in self.parameters.of(type)
            if code not in STORE_PARAMETERS
        }


@cache
def standard_parameters() -> Parameters:
    """The parameters of R4. All who ask share what has been found out about them."""
    return Parameters()


@cache
def _standard_extractor(zone: str, local_bases: tuple[str, ...]) -> Extractor:
    return Extractor(standard_parameters(), zone, local_bases)


class Registry:
    """Holds the parameters in force. `zone` and `local_bases` are those of `Extractor`."""

    def __init__(self, zone: str = "UTC", local_bases: Sequence[str] = ()) -> None:
        self._zone = zone
        self._local_bases = tuple(local_bases)
        self.standard = standard_parameters()
        self.current = self.of(CustomParameters())

    def of(self, custom: CustomParameters) -> InForce:
        """What is in force with these custom parameters; `current` is not changed."""
        definitions = custom.definitions()
        if not definitions:
            return InForce(self.standard, _standard_extractor(self._zone, self._local_bases), custom)
        parameters = Parameters(custom=definitions)
        return InForce(parameters, Extractor(parameters, self._zone, self._local_bases), custom)


def problems_of(resource: Mapping[str, Any], custom: CustomParameters, standard: Parameters) -> list[Issue]:
    """Why an active SearchParameter cannot be put into effect beside those that are there; empty when it can."""
    definition = definition_of(resource)
    if says_what_is_known(definition, standard):
        return []
    problems = [*_name_problems(resource, definition, standard)]
    if problems:
        return problems
    others = [d for d in custom.definitions() if d.url != definition.url]
    return _compile_problems(definition, Parameters(custom=[*others, definition]))


def _problem(text: str, element: str) -> Issue:
    return Issue("error", "business-rule", text, (f"SearchParameter.{element}",))


def _name_problems(
    resource: Mapping[str, Any], definition: SearchParameter, standard: Parameters
) -> Iterable[Issue]:
    code = definition.code
    if _CODE.fullmatch(code) is None:
        yield _problem(
            f"The code {code[:80]!r} cannot stand in the address of a search: letters, digits, '-' and '_' can.",
            "code",
        )
    elif code in _RESERVED or code in STORE_PARAMETERS:
        yield _problem(f"{code} has a meaning of its own that cannot be defined anew.", "code")
    for number, base in enumerate(definition.base):
        if not is_resource_type(base) and base not in GENERAL:
            yield _problem(f"{base[:64]!r} is no resource type of R4.", f"base[{number}]")
            continue
        known = standard.find(base, code)
        parent = str(resource.get("derivedFrom", "")).partition("|")[0]
        if known is None or known.url == definition.url:
            continue
        if known.url != parent:
            yield _problem(
                f"{base} has a parameter {code} already: {known.url}. Name it in derivedFrom to put this one in its place.",
                "code",
            )
        elif known.type != definition.type:
            yield _problem(f"{known.url} is of type {known.type}: so must be what derives from it.", "type")


def _compile_problems(definition: SearchParameter, parameters: Parameters) -> list[Issue]:
    if len(definition.expression or "") > LONGEST_EXPRESSION:
        return [_problem(f"The expression is longer than {LONGEST_EXPRESSION} characters.", "expression")]
    reasons: dict[str, list[str]] = {}
    for type in _types(definition):
        if parameters.find(type, definition.code) is not definition:
            continue
        reason = _reason(parameters, type, definition.code)
        if reason:
            reasons.setdefault(reason, []).append(type)
    return [
        _problem(f"It cannot be searched for {', '.join(types[:5])}: {reason}.", "expression")
        for reason, types in reasons.items()
    ]


def _types(definition: SearchParameter) -> list[str]:
    if "Resource" in definition.base:
        return list(resource_types())
    if "DomainResource" in definition.base:
        return [t for t in resource_types() if definitions.is_domain_resource(t) or t in definition.base]
    return list(dict.fromkeys(definition.base))


def _reason(parameters: Parameters, type: str, code: str) -> str:
    try:
        reason = parameters.reason(type, code)
        if not reason:
            compile(Extractor(parameters).source(type), type, "exec")
    except (SyntaxError, RecursionError, MemoryError):
        return "the expression is nested too deep"
    return reason
