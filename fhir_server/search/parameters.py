"""The search parameters of each resource type: what they are called, what they mean and which of them can be searched.

Source: https://hl7.org/fhir/R4/searchparameter-registry.html. A type has the parameters of its own, those of DomainResource
and those of Resource. Expressions are compiled per type at first use. No parameter is passed over in silence: what cannot
be searched is in `unsearchable`, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from fhir_r4 import definitions
from fhir_r4.definitions import SearchParameter
from fhir_r4.fhirpath.parser import parse
from fhir_r4.fhirpath.syntax import FhirPathError
from fhir_server.search.paths import IsType, NotCompiled, Path, RefersToType, compile_paths
from fhir_server.search.rules import RULES, RULES_VERSION
from fhir_server.search.tree import Expression, IdIs, RefersTo, any_of

# Answered by a store from its own columns.
STORE_PARAMETERS = frozenset({"_id", "_lastUpdated"})

_NOT_YET = {
    "composite": "composite parameters are not searchable yet",
    "special": "this parameter has a rule of its own, which is not built yet",
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A parameter of one type as the extractor takes it: only paths whose values the rules of its kind can index."""

    definition: SearchParameter
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Unsearchable:
    """A parameter that no search can use, and why. `type` is '' when the definition names no type at all."""

    type: str
    code: str
    url: str
    reason: str


class Parameters:
    """All search parameters by resource type. `custom` ones replace those of the standard with the same type and code."""

    def __init__(
        self,
        standard: Iterable[SearchParameter] | None = None,
        custom: Iterable[SearchParameter] = (),
    ) -> None:
        self._by_base: dict[str, dict[str, SearchParameter]] = {}
        self._baseless: list[SearchParameter] = []
        for definition in definitions.search_parameters() if standard is None else standard:
            self._add(definition, replace=False)
        for definition in custom:
            self._add(definition, replace=True)
        self._by_type: dict[str, Mapping[str, SearchParameter]] = {}
        self._compiled: dict[tuple[str, str], Compiled | Unsearchable] = {}

    def _add(self, definition: SearchParameter, *, replace: bool) -> None:
        if not definition.base:
            self._baseless.append(definition)
        for base in definition.base:
            codes = self._by_base.setdefault(base, {})
            # R4 defines Resource._id and Condition.subject twice: the definition comes first, then an example of one
            if replace or definition.code not in codes:
                codes[definition.code] = definition

    def of(self, type: str) -> Mapping[str, SearchParameter]:
        """code -> definition of every parameter of a type, sorted by code. `Resource`: those that all types have."""
        found = self._by_type.get(type)
        if found is None:
            merged = dict(self._by_base.get("Resource", {}))
            if type != "Resource" and definitions.is_domain_resource(type):
                merged |= self._by_base.get("DomainResource", {})
            merged |= self._by_base.get(type, {})
            found = self._by_type[type] = dict(sorted(merged.items()))
        return found

    def find(self, type: str, code: str) -> SearchParameter | None:
        return self.of(type).get(code)

    def searchable(self, type: str, code: str) -> bool:
        """Whether a search of the type can use the parameter."""
        return code in STORE_PARAMETERS or isinstance(self._compile(type, code), Compiled)

    def compiled(self, type: str) -> tuple[Compiled, ...]:
        """The parameters that leave index entries, in the order of their codes."""
        found = (self._compile(type, code) for code in self.of(type) if code not in STORE_PARAMETERS)
        return tuple(one for one in found if isinstance(one, Compiled))

    def unsearchable(self, type: str) -> tuple[Unsearchable, ...]:
        """The parameters of a type that cannot be searched. `''`: definitions that are for no type."""
        if type == "":
            return tuple(
                Unsearchable("", d.code, d.url, "the definition names no resource type")
                for d in self._baseless
            )
        found = (self._compile(type, code) for code in self.of(type) if code not in STORE_PARAMETERS)
        return tuple(one for one in found if isinstance(one, Unsearchable))

    def reason(self, type: str, code: str) -> str:
        """Why a parameter cannot be searched, '' when it can be."""
        found = None if code in STORE_PARAMETERS else self._compile(type, code)
        return found.reason if isinstance(found, Unsearchable) else ""

    def implied_systems(self, type: str, code: str) -> frozenset[str]:
        """The code systems that a token parameter's `code` elements imply by their required bindings."""
        found = None if code in STORE_PARAMETERS else self._compile(type, code)
        if not isinstance(found, Compiled):
            return frozenset()
        return frozenset(system for path in found.paths for system in _implied_systems(path))

    def targets(self, type: str, code: str) -> tuple[str, ...]:
        """The resource types that a reference parameter can lead to from this type; empty where that is not known."""
        found = None if code in STORE_PARAMETERS else self._compile(type, code)
        if not isinstance(found, Compiled):
            return ()
        declared = found.definition.targets
        possible: set[str] = set()
        for path in found.paths:
            narrow = _targets(path)
            possible |= narrow if narrow else set(declared)
        return tuple(target for target in declared if target in possible) or tuple(sorted(possible))

    def fingerprint(self, type: str, code: str) -> str:
        """A stable hash of how the parameter is indexed: entries made under another one are out of date."""
        definition = self.of(type)[code]
        text = f"{RULES_VERSION}\n{type}\n{code}\n{definition.type}\n{definition.expression}\n{definition.components}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _compile(self, type: str, code: str) -> Compiled | Unsearchable:
        key = type, code
        found = self._compiled.get(key)
        if found is None:
            definition = self.of(type)[code]
            try:
                found = Compiled(definition, _paths(definition, type))
            except (NotCompiled, FhirPathError) as error:
                found = Unsearchable(type, code, definition.url, str(error))
            self._compiled[key] = found
        return found


def _paths(definition: SearchParameter, type: str) -> tuple[Path, ...]:
    if definition.expression is None:
        raise NotCompiled("the definition has no expression")
    if definition.type in _NOT_YET:
        raise NotCompiled(_NOT_YET[definition.type])
    paths = compile_paths(parse(definition.expression), "Resource" if type == "Resource" else type)
    if not paths:
        raise NotCompiled(f"the expression names no element of {type}: {definition.expression}")
    rules = RULES[definition.type]
    indexed = tuple(path for path in paths if path.type in rules)
    if not indexed:
        types = ", ".join(sorted({path.type for path in paths}))
        raise NotCompiled(f"a {definition.type} parameter cannot index {types}")
    return indexed


@cache
def _systems_of(value_set: str) -> frozenset[str]:
    compose = (definitions.value_set(value_set) or {}).get("compose", {})
    return frozenset(include["system"] for include in compose.get("include", ()) if include.get("system"))


def _implied_systems(path: Path) -> frozenset[str]:
    binding = path.element.binding if path.element is not None else None
    if path.type != "code" or binding is None or binding.strength != "required":
        return frozenset()
    return _systems_of(binding.value_set)


def _targets(path: Path) -> set[str]:
    asked = {step.type for step in path.steps if isinstance(step, RefersToType | IsType)}
    if asked:
        return asked
    return set() if path.element is None else {t for t in path.element.targets if t != "Resource"}


def compartment(compartment_type: str, id: str, type: str) -> Expression | None:
    """What holds for the resources of `type` in a compartment, or None where R4 has no such compartment or no such member.

    Source: https://hl7.org/fhir/R4/compartmentdefinition.html. The resource that the compartment is named for is in it.
    """
    members = definitions.compartments().get(compartment_type)
    if members is None:
        return None
    codes = members.get(type, ())
    parts: list[Expression] = [RefersTo(code, compartment_type, id) for code in codes if code != "{def}"]
    if type == compartment_type:
        parts.append(IdIs((id,)))
    return any_of(parts) if parts else None
