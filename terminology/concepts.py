"""A code system as an index: concepts by code, the hierarchy, and what the standard properties say of a concept.

Source: https://hl7.org/fhir/R4/codesystem.html and codesystem-concept-properties.html. The hierarchy is made of nesting,
of `parent` and of `child` properties together, so a concept may have several parents. An invariant to keep: `concepts`
is in the order of the code system, and every code in `parents` and `children` is a key of `concepts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from fhir_r4 import definitions
from terminology.errors import ContentNotHeld, InvalidTerminology

Resource = dict[str, Any]

CONCEPT_PROPERTIES = "http://hl7.org/fhir/concept-properties#"
INACTIVE_STATUS = frozenset({"inactive", "retired"})
HIERARCHY = ("parent", "child")
DEPRECATION_DATE = "deprecationDate"


@dataclass(frozen=True, slots=True)
class Concept:
    """One concept. `properties` and `designations` are CodeSystem.concept.property and .designation elements."""

    code: str
    display: str | None = None
    definition: str | None = None
    properties: tuple[Mapping[str, Any], ...] = ()
    designations: tuple[Mapping[str, Any], ...] = ()
    status: str | None = None
    inactive: bool = False
    abstract: bool = False

    def values(self, code: str) -> list[Any]:
        """The values of the property `code`, without their type."""
        return [property_value(p)[1] for p in self.properties if p.get("code") == code]


@dataclass(frozen=True, slots=True)
class CodeSystem:
    """A code system ready to be asked. `content` is the CodeSystem.content code; `properties` are its definitions."""

    url: str
    version: str | None
    name: str
    content: str
    case_sensitive: bool
    language: str | None
    hierarchy_meaning: str | None
    concepts: Mapping[str, Concept]
    parents: Mapping[str, tuple[str, ...]]
    children: Mapping[str, tuple[str, ...]]
    folded: Mapping[str, str]
    properties: Mapping[str, Mapping[str, Any]]
    supplements: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether a code that is not among `concepts` is known not to exist."""
        return self.content == "complete" and bool(self.concepts)

    @property
    def canonical(self) -> str:
        return self.url if self.version is None else f"{self.url}|{self.version}"

    def find(self, code: str) -> Concept | None:
        """The concept that `code` names, whatever its case where the code system does not mind."""
        concept = self.concepts.get(code)
        if concept is None and self.folded:
            concept = self.concepts.get(self.folded.get(code.casefold(), ""))
        return concept

    def require_hierarchy(self) -> None:
        """Raise ContentNotHeld unless the hierarchy (if any) says that a child is a kind of its parent."""
        if self.hierarchy_meaning not in (None, "is-a"):
            raise ContentNotHeld(
                f"The hierarchy of {self.canonical} means {self.hierarchy_meaning}, so it does not tell which code is a "
                "kind of another: 'is-a' was expected."
            )

    def ancestors(self, code: str) -> set[str]:
        """Every code above `code`, without itself; nothing for a code that the system does not have."""
        return closure(code, self.parents)

    def descendants(self, code: str) -> set[str]:
        """Every code below `code`, without itself; nothing for a code that the system does not have."""
        return closure(code, self.children)


def closure(code: str, edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    waiting = list(edges.get(code, ()))
    while waiting:
        reached = waiting.pop()
        if reached not in found:
            found.add(reached)
            waiting.extend(edges.get(reached, ()))
    found.discard(code)
    return found


def property_value(element: Mapping[str, Any]) -> tuple[str, Any]:
    """The `value[x]` of an element: (name, value); ('', None) when it has none."""
    return next(((k, v) for k, v in element.items() if k.startswith("value")), ("", None))


def code_system_of(resource: Resource) -> CodeSystem:
    """The index of a CodeSystem resource. Raises InvalidTerminology when a code stands twice."""
    rows = list(_rows(resource.get("concept", ()), None))
    return _indexed(
        rows,
        url=resource.get("url", ""),
        version=resource.get("version"),
        name=resource.get("name") or resource.get("title") or resource.get("url", ""),
        content=resource.get("content", "not-present"),
        case_sensitive=resource.get("caseSensitive", True),
        language=resource.get("language"),
        hierarchy_meaning=resource.get("hierarchyMeaning"),
        properties={p["code"]: p for p in resource.get("property", ()) if "code" in p},
    )


@cache
def defined_code_system(url: str) -> CodeSystem | None:
    """The index of a code system of the R4 definitions, or None."""
    defined = definitions.code_system(url)
    if defined is None or defined.content == "supplement":
        return None
    rows = [
        (
            {
                "code": c.code,
                "display": c.display,
                "definition": c.definition,
                "property": [p for code, value in (c.properties or {}).items() for p in _typed(code, value)],
            },
            c.parent,
        )
        for c in defined.concepts
    ]
    return _indexed(
        rows,
        url=url,
        version=defined.version,
        name=defined.name,
        content=defined.content,
        case_sensitive=defined.case_sensitive,
        language=None,
        hierarchy_meaning=defined.hierarchy_meaning,
        properties={},
    )


def _typed(code: str, value: Any) -> Iterator[Resource]:
    """The property elements of a value of the definitions, which keep no types: a repeated property is a list."""
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, bool):
            yield {"code": code, "valueBoolean": one}
        elif code == DEPRECATION_DATE:
            yield {"code": code, "valueDateTime": one}
        else:
            yield {"code": code, "valueCode": one}


def _rows(concepts: Iterable[Resource], parent: str | None) -> Iterator[tuple[Resource, str | None]]:
    waiting = [(c, parent) for c in reversed(list(concepts))]
    while waiting:
        concept, above = waiting.pop()
        yield concept, above
        waiting.extend((c, concept["code"]) for c in reversed(concept.get("concept", ())))


def _indexed(rows: list[tuple[Resource, str | None]], **parts: Any) -> CodeSystem:
    meanings = _meanings(parts["properties"])
    concepts: dict[str, Concept] = {}
    for row, _ in rows:
        if row["code"] in concepts:
            raise InvalidTerminology(
                f"The code {row['code']} stands more than once in the code system {parts['url']}."
            )
        concepts[row["code"]] = _concept(row, meanings)
    parents = _parents(rows, concepts, meanings)
    children: dict[str, list[str]] = {}
    for code in concepts:
        for parent in parents.get(code, ()):
            children.setdefault(parent, []).append(code)
    folded = {} if parts["case_sensitive"] else {c.casefold(): c for c in reversed(concepts)}
    return CodeSystem(
        concepts=concepts,
        parents={k: tuple(v) for k, v in parents.items()},
        children={k: tuple(v) for k, v in children.items()},
        folded=folded,
        **parts,
    )


def _meanings(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Standard property -> the codes under which this system has it: by its address, else by its name."""
    found: dict[str, frozenset[str]] = {}
    for name in ("status", "inactive", "notSelectable", "parent", "child"):
        codes = {c for c, p in properties.items() if p.get("uri") == CONCEPT_PROPERTIES + name}
        found[name] = frozenset(codes or {name})
    return found


def _concept(row: Resource, meanings: Mapping[str, frozenset[str]]) -> Concept:
    properties = tuple(row.get("property", ()))
    status: str | None = None
    inactive = abstract = False
    for element in properties:
        code, value = element.get("code"), property_value(element)[1]
        if code in meanings["status"] and isinstance(value, str):
            status = value
            inactive = inactive or value in INACTIVE_STATUS
        elif code in meanings["inactive"]:
            inactive = inactive or value is True
        elif code in meanings["notSelectable"]:
            abstract = value is True
    return Concept(
        row["code"],
        row.get("display"),
        row.get("definition"),
        properties,
        tuple(row.get("designation", ())),
        status,
        inactive,
        abstract,
    )


def _parents(
    rows: list[tuple[Resource, str | None]],
    concepts: Mapping[str, Concept],
    meanings: Mapping[str, frozenset[str]],
) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {}

    def put(child: object, parent: object) -> None:
        if child in concepts and parent in concepts and child != parent:
            above = parents.setdefault(str(child), [])
            if parent not in above:
                above.append(str(parent))

    for row, above in rows:
        if above is not None:
            put(row["code"], above)
        for element in row.get("property", ()):
            if element.get("code") in meanings["parent"]:
                put(row["code"], property_value(element)[1])
            elif element.get("code") in meanings["child"]:
                put(property_value(element)[1], row["code"])
    return parents


def supplemented(system: CodeSystem, supplement: Resource) -> CodeSystem:
    """`system` with the designations and properties that a CodeSystem supplement adds to its concepts."""
    concepts = dict(system.concepts)
    for row, _ in _rows(supplement.get("concept", ()), None):
        concept = system.find(row["code"])
        if concept is not None:
            concepts[concept.code] = replace(
                concept,
                properties=concept.properties + tuple(row.get("property", ())),
                designations=concept.designations + _designations(row, supplement.get("language")),
            )
    own = {p["code"]: p for p in supplement.get("property", ()) if "code" in p}
    version = supplement.get("version")
    name = supplement.get("url", "") + (f"|{version}" if version is not None else "")
    return replace(
        system,
        concepts=concepts,
        properties={**system.properties, **own},
        supplements=(*system.supplements, name),
    )


def _designations(row: Resource, language: str | None) -> tuple[Mapping[str, Any], ...]:
    found = tuple(row.get("designation", ()))
    if language is not None and row.get("display") is not None:
        return ({"language": language, "value": row["display"]}, *found)
    return found
