"""The search parameters of each resource type: what they are called, what they mean and which of them can be searched.

Source: https://hl7.org/fhir/R4/searchparameter-registry.html. A type has the parameters of its own, those of DomainResource
and those of Resource. Expressions are compiled per type at first use. No parameter is passed over in silence: what cannot
be searched is in `unsearchable`, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from fhir_r4 import definitions
from fhir_r4.definitions import SearchParameter
from fhir_r4.fhirpath.parser import parse
from fhir_r4.fhirpath.syntax import FhirPathError
from fhir_server.search.paths import (
    IsType,
    NotCompiled,
    Path,
    RefersToType,
    begins_at_resource,
    compile_from,
    compile_paths,
)
from fhir_server.search.rule_table import RULES
from fhir_server.search.rules import RULES_VERSION
from fhir_server.search.tree import Expression, IdIs, RefersTo, any_of

# R4 has the definitions of the two components the wrong way round: their expressions are right.
_SWAPPED = "http://hl7.org/fhir/SearchParameter/DocumentReference-relationship"

MEDIA_TYPES = "http://hl7.org/fhir/ValueSet/mimetypes"

# Answered by a store from its own columns.
STORE_PARAMETERS = frozenset({"_id", "_lastUpdated"})

# Known to `parse` by name, though R4 gives them no expression (`_list` not even a definition).
SPECIAL_PARAMETERS = ("_text", "_content", "_filter", "_list")

# What `_list` asks for: the resources that a List has in it still. No name that a search can say.
LISTED = "item:current"
_LISTED = SearchParameter(
    url="",
    code=LISTED,
    type="reference",
    base=("List",),
    expression="List.entry.where(deleted != true or deleted.empty()).item",
)

# What a payment is for: the Invoices, Accounts and Patients of its details. R4 has no parameter for it.
DETAIL = "detail:request"
_DETAIL = SearchParameter(
    url="",
    code=DETAIL,
    type="reference",
    base=("PaymentReconciliation",),
    expression="PaymentReconciliation.detail.request",
)
# parameters that the server itself asks by
INNER: Mapping[str, SearchParameter] = {"List": _LISTED, "PaymentReconciliation": _DETAIL}


@dataclass(frozen=True, slots=True)
class Part:
    """A component of a composite parameter: its kind and its paths from the element, or from the resource (`whole`)."""

    kind: str
    paths: tuple[Path, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Compiled:
    """A parameter of one type as the extractor takes it: only paths whose values the rules of its kind can index.

    A composite has the paths of its elements, and for each of them in `parts` the components that are put together.
    """

    definition: SearchParameter
    paths: tuple[Path, ...]
    parts: tuple[tuple[Part, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class About:
    """What a parameter finds: its kind, the types of its values as in RULES, the resource types that references lead to
    (empty: not known), and the code systems that `code` elements imply."""

    kind: str
    types: frozenset[str]
    targets: tuple[str, ...]
    systems: frozenset[str]


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
        self._by_url: dict[str, SearchParameter] = {}
        self._baseless: list[SearchParameter] = []
        for definition in definitions.search_parameters() if standard is None else standard:
            self._add(_corrected(definition), instead=False)
        for definition in custom:
            self._add(definition, instead=True)
        self._by_type: dict[str, Mapping[str, SearchParameter]] = {}
        self._compiled: dict[tuple[str, str], Compiled | Unsearchable] = {}
        self._abouts: dict[tuple[str, str], About] = {}
        self._fingerprints: dict[tuple[str, str], str] = {}

    def _add(self, definition: SearchParameter, *, instead: bool) -> None:
        self._by_url[definition.url] = definition
        if not definition.base:
            self._baseless.append(definition)
        for base in definition.base:
            codes = self._by_base.setdefault(base, {})
            # R4 defines Resource._id and Condition.subject twice: the definition comes first, then an example of one
            if instead or definition.code not in codes:
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
        return self._answered_otherwise(code) or isinstance(self._compile(type, code), Compiled)

    def special(self, type: str) -> tuple[str, ...]:
        """The codes of the parameters of a type that have a meaning of their own and no index entries."""
        known = self.of(type)
        return tuple(code for code in SPECIAL_PARAMETERS if code == "_list" or code in known)

    def compiled(self, type: str) -> tuple[Compiled, ...]:
        """The parameters that leave index entries, in the order of their codes."""
        found = (self._compile(type, code) for code in self.of(type) if not self._answered_otherwise(code))
        inner = INNER.get(type)
        more = () if inner is None else (Compiled(inner, _paths(inner, type)),)
        return (*(one for one in found if isinstance(one, Compiled)), *more)

    def unsearchable(self, type: str) -> tuple[Unsearchable, ...]:
        """The parameters of a type that cannot be searched. `''`: definitions that are for no type."""
        if type == "":
            return tuple(
                Unsearchable("", d.code, d.url, "the definition names no resource type")
                for d in self._baseless
            )
        found = (self._compile(type, code) for code in self.of(type) if not self._answered_otherwise(code))
        return tuple(one for one in found if isinstance(one, Unsearchable))

    def reason(self, type: str, code: str) -> str:
        """Why a parameter cannot be searched, '' when it can be."""
        found = self._found(type, code)
        return found.reason if isinstance(found, Unsearchable) else ""

    def _answered_otherwise(self, code: str) -> bool:
        return code in STORE_PARAMETERS or code in SPECIAL_PARAMETERS

    def _found(self, type: str, code: str) -> Compiled | Unsearchable | None:
        return None if self._answered_otherwise(code) else self._compile(type, code)

    def about(self, type: str, code: str) -> About:
        """What the values of a parameter of a type are; nothing is known of those that have no index entries."""
        known = self._abouts.get((type, code))
        if known is None:
            found = self._found(type, code)
            known = About("", frozenset(), (), frozenset())
            if isinstance(found, Compiled):
                known = _about(found.definition.type, found.definition.targets, found.paths)
            self._abouts[type, code] = known
        return known

    def parts_about(self, type: str, code: str) -> tuple[About, ...]:
        """The same for the components of a composite parameter, in their order."""
        found = self._found(type, code)
        if not isinstance(found, Compiled):
            return ()
        by_component = zip(*found.parts, strict=True)
        return tuple(
            _about(parts[0].kind, (), tuple(path for part in parts for path in part.paths))
            for parts in by_component
        )

    def implied_systems(self, type: str, code: str) -> frozenset[str]:
        """The code systems that a token parameter's `code` elements imply by their required bindings."""
        return self.about(type, code).systems

    def targets(self, type: str, code: str) -> tuple[str, ...]:
        """The resource types that a reference parameter can lead to from this type; empty where that is not known."""
        return self.about(type, code).targets

    def fingerprint(self, type: str, code: str) -> str:
        """A stable hash of how the parameter is indexed: entries made under another one are out of date."""
        found = self._fingerprints.get((type, code))
        if found is None:
            found = self._fingerprints[type, code] = self._fingerprint(type, code)
        return found

    def _fingerprint(self, type: str, code: str) -> str:
        definition = self.of(type)[code]
        parts = [(url, expression, self._kind(url)) for url, expression in definition.components]
        text = f"{RULES_VERSION}\n{type}\n{code}\n{definition.type}\n{definition.expression}\n{parts}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _compile(self, type: str, code: str) -> Compiled | Unsearchable:
        key = type, code
        found = self._compiled.get(key)
        if found is None:
            definition = self.of(type)[code]
            try:
                found = self._compiled_anew(definition, type)
            except (NotCompiled, FhirPathError) as error:
                found = Unsearchable(type, code, definition.url, str(error))
            self._compiled[key] = found
        return found

    def _compiled_anew(self, definition: SearchParameter, type: str) -> Compiled:
        if definition.type != "composite":
            return Compiled(definition, _paths(definition, type))
        elements = _walked(definition, type)
        if not definition.components:
            raise NotCompiled("the composite has no components")
        parts = tuple(
            tuple(_part(self._kind(url), text, element, type) for url, text in definition.components)
            for element in elements
        )
        return Compiled(definition, elements, parts)

    def _kind(self, url: str) -> str:
        found = self._by_url.get(url)
        return "" if found is None else found.type


def _corrected(definition: SearchParameter) -> SearchParameter:
    if definition.url != _SWAPPED:
        return definition
    (first, code), (second, target) = definition.components
    return replace(definition, components=((second, code), (first, target)))


def value_type(path: Path) -> str:
    """What the rules call the values at the end of a path: their type, the path of a backbone element, or `media-type`."""
    if path.type == "BackboneElement" and path.shape is not None:
        return path.shape
    binding = path.element.binding if path.element is not None and path.type == "code" else None
    return "media-type" if binding is not None and binding.value_set == MEDIA_TYPES else path.type


def _paths(definition: SearchParameter, type: str) -> tuple[Path, ...]:
    rules = RULES[definition.type]
    paths = _walked(definition, type)
    indexed = tuple(path for path in paths if value_type(path) in rules)
    if not indexed:
        types = ", ".join(sorted({path.type for path in paths}))
        raise NotCompiled(f"a {definition.type} parameter cannot index {types}")
    return indexed


def _walked(definition: SearchParameter, type: str) -> tuple[Path, ...]:
    if definition.expression is None:
        raise NotCompiled("the definition has no expression")
    paths = compile_paths(parse(definition.expression), "Resource" if type == "Resource" else type)
    if not paths:
        raise NotCompiled(f"the expression names no element of {type}: {definition.expression}")
    return paths


def _part(kind: str, expression: str, element: Path, type: str) -> Part:
    """A component of the composites at one element."""
    if kind not in RULES or kind == "special":
        raise NotCompiled(f"the component {expression} is of no kind that can be part of a composite")
    node = parse(expression)
    whole = begins_at_resource(node)
    start = Path((), type, type) if whole else Path((), element.type, element.shape, element.element)
    paths = compile_from(node, start)
    indexed = tuple(path for path in paths if value_type(path) in RULES[kind])
    if not indexed:
        raise NotCompiled(f"the component {expression} leads to nothing that a {kind} parameter can index")
    return Part(kind, indexed, whole)


@cache
def _systems_of(value_set: str) -> frozenset[str]:
    compose = (definitions.value_set(value_set) or {}).get("compose", {})
    return frozenset(include["system"] for include in compose.get("include", ()) if include.get("system"))


def _implied_systems(path: Path) -> frozenset[str]:
    binding = path.element.binding if path.element is not None else None
    if path.type != "code" or binding is None or binding.strength != "required":
        return frozenset()
    return _systems_of(binding.value_set)


def _about(kind: str, declared: tuple[str, ...], paths: tuple[Path, ...]) -> About:
    possible: set[str] = set()
    for path in paths:
        possible |= _targets(path) or set(declared)
    return About(
        kind,
        frozenset(value_type(path) for path in paths),
        tuple(target for target in declared if target in possible) or tuple(sorted(possible)),
        frozenset(system for path in paths for system in _implied_systems(path)),
    )


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
