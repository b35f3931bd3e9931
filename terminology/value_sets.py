"""A value set as rules: is a code in it, and which codes are in it.

Source: https://hl7.org/fhir/R4/valueset.html#compositions. Rules read one code system in one version; the includes of a
value set are joined, the excludes taken away, and value sets named inside one include intersected. An invariant to keep:
`find` and `members` agree, and both raise one of `NOT_KNOWN` rather than answer from a part of what they would need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from terminology.canonicals import Canonical, parse_canonical
from terminology.concepts import CodeSystem, Concept, Resource
from terminology.errors import NOT_KNOWN, InvalidTerminology, TooCostly, UnknownCodeSystem
from terminology.filters import Test, compile_filter
from terminology.holdings import Holdings, not_held
from terminology.parameters import Values

# Code systems that are grammars: the number of their codes has no bound.
GRAMMARS = frozenset(
    {
        "http://unitsofmeasure.org",
        "http://varnomen.hgvs.org/",
        "urn:ietf:bcp:13",
        "urn:ietf:bcp:47",
        "urn:ietf:rfc:3986",
        "urn:oid:2.16.840.1.113883.6.8",
    }
)

MAX_IMPORTS = 30


@dataclass(frozen=True, slots=True)
class Member:
    """A code of a value set. `concept` is None where the code system is not held; `row` is what the value set says."""

    system: str
    code: str
    version: str | None
    concept: Concept | None
    row: Mapping[str, Any]

    @property
    def display(self) -> str | None:
        own: str | None = self.row.get("display")
        return own if own is not None or self.concept is None else self.concept.display

    @property
    def inactive(self) -> bool:
        return bool(self.row.get("inactive")) or (self.concept is not None and self.concept.inactive)

    @property
    def abstract(self) -> bool:
        return bool(self.row.get("abstract")) or (self.concept is not None and self.concept.abstract)


@dataclass(frozen=True, slots=True)
class Selection:
    """One include or exclude; `listed` are its concepts by code (folded where the system does not mind case)."""

    system: str | None
    version: str | None
    codes: CodeSystem | None
    unknown: str
    listed: Mapping[str, Mapping[str, Any]] | None
    tests: tuple[Test, ...]
    filtered: bool
    imports: tuple[ValueSet, ...]

    def find(self, system: str, code: str) -> Member | None:
        if self.system is None:
            found = self.imports[0].find(system, code)
            others: Sequence[ValueSet] = self.imports[1:]
        else:
            found = self._own(code) if system == self.system else None
            others = self.imports
        if found is None or not all(other.find(system, code) for other in others):
            return None
        return found

    def members(self) -> Iterator[Member]:
        if self.system is None:
            found: Iterator[Member] = iter(self.imports[0].members())
            others: Sequence[ValueSet] = self.imports[1:]
        else:
            found, others = self._all(), self.imports
        return (m for m in found if all(other.find(m.system, m.code) for other in others))

    def _own(self, code: str) -> Member | None:
        concept = None if self.codes is None else self.codes.find(code)
        if self.listed is not None:
            row = self.listed.get(code.casefold() if self.codes is not None and self.codes.folded else code)
            return None if row is None else self._listed(row, concept)
        if concept is None:
            if self.codes is None or not self.codes.complete:
                raise self._refusal()
            return None
        return self._member(concept, {}) if all(test(concept) for test in self.tests) else None

    def _all(self) -> Iterator[Member]:
        if self.listed is not None:
            for row in self.listed.values():
                member = self._listed(row, None if self.codes is None else self.codes.find(row["code"]))
                if member is not None:
                    yield member
            return
        if self.codes is None or not self.codes.complete:
            raise self._refusal(TooCostly if self.system in GRAMMARS and not self.filtered else None)
        for concept in self.codes.concepts.values():
            if all(test(concept) for test in self.tests):
                yield self._member(concept, {})

    def _listed(self, row: Mapping[str, Any], concept: Concept | None) -> Member | None:
        """A code that a complete code system does not have is no member, whatever the value set says."""
        if concept is not None:
            return self._member(concept, row)
        if self.codes is not None and self.codes.complete:
            return None
        return Member(self.system or "", row["code"], self.version, None, row)

    def _member(self, concept: Concept, row: Mapping[str, Any]) -> Member:
        version = self.version if self.codes is None else self.codes.version
        return Member(self.system or "", concept.code, version, concept, row)

    def _refusal(self, costly: type[TooCostly] | None = None) -> Exception:
        if costly is not None:
            return costly(
                f"The code system {self.system} is a grammar: its codes have no end and cannot be listed."
            )
        if self.codes is None:
            return UnknownCodeSystem(self.unknown)
        return not_held(self.codes)


@dataclass(frozen=True, slots=True)
class ValueSet:
    """A value set ready to be asked; `inactive` is False when it leaves inactive codes out."""

    url: str
    version: str | None
    include: tuple[Selection, ...]
    exclude: tuple[Selection, ...]
    inactive: bool
    contained: bool = False

    @property
    def canonical(self) -> str:
        return str(Canonical(self.url, self.version)) if self.url else "(unidentified)"

    def find(self, system: str, code: str) -> Member | None:
        """The member that `code` of `system` is, or None. Raises one of NOT_KNOWN when that cannot be told here."""
        found: Member | None = None
        unknown: Exception | None = None
        for selection in self.include:
            try:
                found = selection.find(system, code)
            except NOT_KNOWN as error:
                unknown = unknown or error
            if found is not None:
                break
        if found is None:
            if unknown is not None:
                raise unknown
            return None
        if not self.inactive and found.inactive:
            return None
        if any(selection.find(system, found.code) for selection in self.exclude):
            return None
        return found

    def members(self) -> list[Member]:
        """Every member once, in the order of the includes. Raises one of NOT_KNOWN, or TooCostly."""
        found: dict[tuple[str, str], Member] = {}
        for selection in self.include:
            for member in selection.members():
                found.setdefault((member.system, member.code), member)
        return [
            m
            for m in found.values()
            if (self.inactive or not m.inactive) and not any(s.find(m.system, m.code) for s in self.exclude)
        ]

    def plain_codes(self) -> tuple[frozenset[str], bool]:
        """The codes of the members that can be told here, whatever their system, and whether those are all."""
        codes: set[str] = set()
        complete = True
        for selection in self.include:
            try:
                for member in selection.members():
                    if member.code not in codes and self.find(member.system, member.code) is not None:
                        codes.add(member.code)
            except (*NOT_KNOWN, TooCostly):
                complete = False
        return frozenset(codes), complete

    def selections(self) -> Iterator[Selection]:
        """Every include and exclude, also of imported value sets."""
        for selection in (*self.include, *self.exclude):
            yield selection
            for other in selection.imports:
                yield from other.selections()

    def imported(self) -> Iterator[ValueSet]:
        """Every value set that this one names, directly or not."""
        for selection in (*self.include, *self.exclude):
            for other in selection.imports:
                yield other
                yield from other.imported()


class Compiler:
    """Makes `ValueSet` rules of ValueSet resources, and keeps those that were found by address."""

    def __init__(self, holdings: Holdings) -> None:
        self.holdings = holdings
        self._kept: dict[tuple[str, str | None], ValueSet] = {}

    def by_address(self, url: str, version: str | None = None, path: tuple[str, ...] = ()) -> ValueSet:
        """The value set at `url`. Raises UnknownValueSet, or InvalidTerminology when it imports itself."""
        key = (url, version)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = self.compile(self.holdings.require_value_set(url, version), path)
        return kept

    def at(self, resource: Resource, values: Values) -> ValueSet:
        """The rules of the value set of a request: the kept ones when `url` named it."""
        if "url" not in values:
            return self.compile(resource)
        version = values.text("valueSetVersion") or parse_canonical(str(values.text("url"))).version
        return self.by_address(str(resource["url"]), version)

    def compile(self, resource: Resource, path: tuple[str, ...] = ()) -> ValueSet:
        url = resource.get("url", "")
        if (url and url in path) or len(path) > MAX_IMPORTS:
            raise InvalidTerminology(f"The value set {url} includes itself: {' -> '.join((*path, url))}.")
        path = (*path, url)
        compose = resource.get("compose")
        if compose is None:
            include = self._stored_expansion(resource)
            return ValueSet(url, resource.get("version"), include, (), True)

        def selections(part: str) -> tuple[Selection, ...]:
            return tuple(
                self._selection(row, resource, path, f"ValueSet.compose.{part}[{index}]")
                for index, row in enumerate(compose.get(part, ()))
            )

        return ValueSet(
            url,
            resource.get("version"),
            selections("include"),
            selections("exclude"),
            compose.get("inactive", True),
        )

    def _selection(self, row: Resource, resource: Resource, path: tuple[str, ...], place: str) -> Selection:
        imports = tuple(self._import(text, resource, path) for text in row.get("valueSet", ()))
        address = row.get("system")
        if address is None:
            if not imports or row.get("concept") or row.get("filter"):
                raise InvalidTerminology(
                    f"{place} of {resource.get('url')} needs a system or value sets.", place
                )
            return Selection(None, None, None, "", None, (), False, imports)
        url, version = parse_canonical(address)
        version = row.get("version", version)
        codes = self.holdings.find_code_system(url, version)
        unknown = str(self.holdings.unknown_system(url, version)) if codes is None else ""
        listed = row.get("concept")
        filters = row.get("filter", ())
        if listed is not None and filters:
            raise InvalidTerminology(
                f"{place} of {resource.get('url')} has both concepts and filters.", place
            )
        tests: tuple[Test, ...] = ()
        if codes is not None and codes.concepts:
            tests = tuple(compile_filter(codes, f, f"{place}.filter[{i}]") for i, f in enumerate(filters))
        folded: Callable[[str], str] = str.casefold if codes is not None and codes.folded else str
        ordered = None if listed is None else {folded(c["code"]): c for c in listed}
        return Selection(url, version, codes, unknown, ordered, tests, bool(filters), imports)

    def _import(self, text: str, resource: Resource, path: tuple[str, ...]) -> ValueSet:
        if text.startswith("#"):
            for contained in resource.get("contained", ()):
                if contained.get("id") == text[1:]:
                    return replace(
                        self.compile({**contained, "url": contained.get("url", text)}, path), contained=True
                    )
            raise InvalidTerminology(
                f"The value set {resource.get('url')} contains no value set with the id {text[1:]}."
            )
        url, version = parse_canonical(text)
        return self.by_address(url, version, path)

    def _stored_expansion(self, resource: Resource) -> tuple[Selection, ...]:
        """The rules of a value set that has only an expansion: the codes that it lists, if it lists all."""
        expansion = resource.get("expansion")
        if expansion is None:
            raise InvalidTerminology(
                f"The value set {resource.get('url')} has neither a compose nor an expansion."
            )
        rows = list(_contained(expansion.get("contains", ())))
        if expansion.get("total", len(rows)) > len(rows):
            raise InvalidTerminology(
                f"The value set {resource.get('url')} holds only part of its expansion: {len(rows)} of {expansion['total']}."
            )
        systems: dict[tuple[str, str | None], dict[str, Resource]] = {}
        for row in rows:
            systems.setdefault((row["system"], row.get("version")), {})[row["code"]] = row
        return tuple(
            Selection(url, version, None, "", listed, (), False, ())
            for (url, version), listed in systems.items()
        )


def _contained(rows: Sequence[Resource]) -> Iterator[Resource]:
    for row in rows:
        if "code" in row and "system" in row:
            yield row
        yield from _contained(row.get("contains", ()))
