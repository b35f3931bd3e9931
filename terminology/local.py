"""The terminology service over the R4 definitions and what its caller hands in.

Source: https://hl7.org/fhir/R4/terminology-service.html. An invariant to keep: no I/O, and nothing handed in is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from fhir_r4.errors import FhirError, InvalidRequest
from terminology import expand, lookup, subsumes, validate_in_code_system, validate_in_value_set
from terminology.canonicals import parse_canonical
from terminology.concepts import CodeSystem, Resource, property_value
from terminology.errors import InvalidTerminology
from terminology.holdings import Holdings, Indexes, Resources, not_held
from terminology.parameters import Values, read_parameters
from terminology.service import Membership
from terminology.value_sets import Compiler, ValueSet

EXPANSION_PARAMETER = "http://hl7.org/fhir/StructureDefinition/valueset-expansion-parameter"
SUPPLEMENT = "http://hl7.org/fhir/StructureDefinition/valueset-supplement"


def _now() -> datetime:
    return datetime.now(UTC)


class LocalTerminology:
    """A `Terminology`. `resources(kind, url, version)` gives a CodeSystem or ValueSet that the caller holds, or None.

    Its answers are asked for before the definitions', must be the same for the life of this object, and may not be
    changed afterwards: indexes are kept by their identity.
    """

    def __init__(self, resources: Resources | None = None, *, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        self._indexes = Indexes()
        self._compiler = Compiler(Holdings(resources, self._indexes))
        self._value_sets: dict[str, ValueSet] = {}
        self._expansions: dict[str, frozenset[tuple[str, str]]] = {}
        self._codes: dict[str, tuple[frozenset[str], bool]] = {}

    def with_resources(self, resources: Resources) -> LocalTerminology:
        """A service over other handed-in resources that shares the indexes of this one."""
        other = LocalTerminology(now=self._now)
        other._indexes = self._indexes
        other._compiler = Compiler(Holdings(resources, self._indexes))
        return other

    def expand(self, parameters: Resource) -> Resource:
        values = read_parameters(parameters, expand.INPUTS)
        compiler, resource = self._resource(values)
        values = with_defaults(values, resource)
        value_set = compiler.at(resource, values)
        _check_versions(value_set, values)
        return expand.expand(compiler.holdings, value_set, resource, values, self._now())

    def lookup(self, parameters: Resource) -> Resource:
        values = read_parameters(parameters, lookup.INPUTS)
        return lookup.lookup(self._compiler_for(values).holdings, values)

    def validate_code(self, parameters: Resource, kind: str) -> Resource:
        if kind == "CodeSystem":
            values = read_parameters(parameters, validate_in_code_system.INPUTS)
            return validate_in_code_system.validate_in_code_system(
                self._compiler_for(values).holdings, values
            )
        values = read_parameters(parameters, validate_in_value_set.INPUTS)
        compiler, resource = self._resource(values)
        return validate_in_value_set.validate_in_value_set(
            compiler, resource, with_defaults(values, resource)
        )

    def subsumes(self, parameters: Resource) -> Resource:
        values = read_parameters(parameters, subsumes.INPUTS)
        return subsumes.subsumes(self._compiler_for(values).holdings, values)

    def expansion_codes(self, value_set: str) -> frozenset[tuple[str, str]]:
        kept = self._expansions.get(value_set)
        if kept is None:
            members = self._value_set_at(value_set).members()
            kept = self._expansions[value_set] = frozenset((m.system, m.code) for m in members)
        return kept

    def descendants(self, system: str, code: str) -> frozenset[str]:
        index, known = self._concept(system, code)
        return frozenset(index.descendants(known))

    def ancestors(self, system: str, code: str) -> frozenset[str]:
        index, known = self._concept(system, code)
        return frozenset(index.ancestors(known))

    def validate(self, value_set: str, system: str | None, code: str) -> Membership:
        try:
            if system is not None:
                found = self._value_set_at(value_set).find(system, code)
                return Membership.NO if found is None else Membership.YES
            codes, complete = self._plain_codes(value_set)
        except FhirError:
            return Membership.UNKNOWN
        if code in codes:
            return Membership.YES
        return Membership.NO if complete else Membership.UNKNOWN

    def _value_set_at(self, address: str) -> ValueSet:
        kept = self._value_sets.get(address)
        if kept is None:
            kept = self._value_sets[address] = self._compiler.by_address(*parse_canonical(address))
        return kept

    def _plain_codes(self, address: str) -> tuple[frozenset[str], bool]:
        kept = self._codes.get(address)
        if kept is None:
            kept = self._codes[address] = self._value_set_at(address).plain_codes()
        return kept

    def _concept(self, url: str, code: str) -> tuple[CodeSystem, str]:
        system = self._compiler.holdings.require_code_system(*parse_canonical(url))
        concept = system.find(code)
        if concept is None and not system.complete:
            raise not_held(system)
        system.require_hierarchy()
        return system, code if concept is None else concept.code

    def _resource(self, values: Values) -> tuple[Compiler, Resource]:
        """The ValueSet that `url` or `valueSet` names, and the compiler that this request needs."""
        compiler = self._compiler_for(values)
        if values.require_only_one("url", "valueSet") == "valueSet":
            resource: Resource = values.one("valueSet")
        else:
            url, version = parse_canonical(str(values.text("url")))
            resource = compiler.holdings.require_value_set(url, values.text("valueSetVersion") or version)
        named = [e["valueCanonical"] for e in resource.get("extension", ()) if e.get("url") == SUPPLEMENT]
        return (self._compiler_for(values, tuple(named)) if named else compiler), resource

    def _compiler_for(self, values: Values, supplements: tuple[str, ...] = ()) -> Compiler:
        """The kept compiler, or one of its own for a request that brings resources, supplements or versions."""
        names = ("tx-resource", "useSupplement", "system-version", "force-system-version")
        if not supplements and not any(name in values for name in names):
            return self._compiler
        base = self._compiler.holdings
        resources = overlay(values.many("tx-resource"), base.resources)
        finder = Holdings(resources, self._indexes)
        wanted = [*supplements, *(s for s in values.many("useSupplement") if s not in supplements)]
        return Compiler(
            Holdings(
                resources,
                self._indexes,
                versions=_versions(values, "system-version"),
                forced=_versions(values, "force-system-version"),
                supplements=tuple(finder.require_supplement(text) for text in wanted),
            )
        )


def with_defaults(values: Values, resource: Resource) -> Values:
    """`values` with what the value set itself says about its use: its expansion parameters, and its language.

    Raises NotSupported for an expansion parameter that $expand does not know.
    """
    rows = []
    for extension in resource.get("compose", {}).get("extension", ()):
        if extension.get("url") == EXPANSION_PARAMETER:
            said = {e.get("url"): property_value(e) for e in extension.get("extension", ())}
            name, value = said.get("value", ("value", None))
            rows.append({"name": said.get("name", ("", None))[1], name: value})
    own = read_parameters({"resourceType": "Parameters", "parameter": rows}, expand.INPUTS)
    found = {name: given for name, given in own.values.items() if name in values.inputs}
    if resource.get("language") is not None:
        found.setdefault("displayLanguage", [resource["language"]])
    return Values(values.inputs, {**found, **values.values})


def overlay(handed: list[Resource], below: Resources | None) -> Resources:
    """The resources that came with a request, before those of `below`."""

    def find(kind: str, url: str, version: str | None) -> Resource | None:
        for resource in handed:
            named = resource.get("resourceType") == kind and resource.get("url") == url
            if named and version in (None, resource.get("version")):
                return resource
        return None if below is None else below(kind, url, version)

    return find


def _versions(values: Values, name: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in values.many(name):
        url, version = parse_canonical(text)
        if version is None:
            raise InvalidRequest(f"The parameter {name!r} takes 'system|version', not {text!r}.", name)
        found[url] = version
    return found


def _check_versions(value_set: ValueSet, values: Values) -> None:
    """Refuse an expansion that would be made of another version than `check-system-version` names."""
    checked = _versions(values, "check-system-version")
    for selection in value_set.selections():
        codes = selection.codes
        wanted = None if codes is None else checked.get(codes.url)
        if codes is not None and wanted is not None and codes.version != wanted:
            raise InvalidTerminology(
                f"The value set {value_set.canonical} is made of version {codes.version} of {codes.url}, not of {wanted}.",
                "check-system-version",
            )
