"""The R4 definitions: element tables, search parameters, compartments, operations, code systems and value sets.

Source: https://hl7.org/fhir/R4/ through `fhir_r4.definitions.build`, which documents how the files under `data/` are
made. Everything is loaded at first use and shared; nothing here may be changed by a caller.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec

DATA = Path(__file__).parent / "data"

FHIR_VERSION = "4.0.1"

# JSON value forms of the primitive types, https://hl7.org/fhir/R4/datatypes.html
PRIMITIVES = frozenset(
    [
        "base64Binary",
        "boolean",
        "canonical",
        "code",
        "date",
        "dateTime",
        "decimal",
        "id",
        "instant",
        "integer",
        "markdown",
        "oid",
        "positiveInt",
        "string",
        "time",
        "unsignedInt",
        "uri",
        "url",
        "uuid",
        "xhtml",
    ]
)


@dataclass(frozen=True, slots=True)
class Binding:
    """A value set binding; `value_set` and `max_value_set` are canonical addresses without version."""

    strength: str
    value_set: str
    max_value_set: str | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """One element definition of a snapshot.

    `name` is the element name without `[x]`; `max` is None for `*`; `list` says whether JSON holds an array; `shape` is
    the name under which `shape()` finds the children when the element defines them itself or refers to another
    (`Patient.contact`, `Questionnaire.item`), else None; `targets` are the resource types a Reference may point to
    (empty or `Resource`: any).
    """

    path: str
    name: str
    min: int
    max: int | None
    list: bool
    types: tuple[str, ...]
    targets: tuple[str, ...]
    canonical_targets: tuple[str, ...]
    choice: bool
    shape: str | None
    binding: Binding | None
    summary: bool
    modifier: bool
    invariants: tuple[str, ...]
    short: str


@dataclass(frozen=True, slots=True)
class Property:
    """A JSON member that a shape allows: `valueQuantity` with its element and the one type that this name means.

    `shape` names the shape of the value: a data type, a backbone path, or `Resource` for a nested resource of any type;
    it is None for primitives.
    """

    name: str
    element: Element
    type: str
    shape: str | None

    @property
    def primitive(self) -> bool:
        return self.shape is None


@dataclass(frozen=True, slots=True)
class Shape:
    """The members of a JSON object of a resource type, a data type or a backbone element.

    `kind` is `resource`, `complex-type` or `backbone`; `elements` and `properties` are in the order of the
    specification (which is the order of XML); `properties` has an entry for each name of a choice (`valueQuantity`,
    `valueString`, ...) and none for the `_name` siblings of primitives.
    """

    path: str
    kind: str
    elements: tuple[Element, ...]
    properties: Mapping[str, Property]
    invariants: tuple[str, ...]
    short: str


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """A search parameter definition, https://hl7.org/fhir/R4/searchparameter.html.

    `base` are the resource types as written (`Resource` and `DomainResource` included); `components` are pairs of
    (address of the component's definition, expression) of a composite.
    """

    url: str
    code: str
    type: str
    base: tuple[str, ...]
    expression: str | None
    targets: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    comparators: tuple[str, ...] = ()
    components: tuple[tuple[str, str], ...] = ()
    description: str = ""


def _load(name: str) -> Any:
    return msgspec.json.decode(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))


@cache
def _tables() -> dict[str, Any]:
    return cast(dict[str, Any], _load("elements"))


@cache
def resource_types() -> tuple[str, ...]:
    """The names of all concrete resource types, sorted."""
    return tuple(sorted(n for n, t in _tables().items() if t["kind"] == "resource" and not t["abstract"]))


@cache
def _resource_type_set() -> frozenset[str]:
    return frozenset(resource_types())


def is_resource_type(name: object) -> bool:
    return name in _resource_type_set()


@cache
def data_types() -> tuple[str, ...]:
    """The names of all complex data types, sorted."""
    return tuple(sorted(n for n, t in _tables().items() if t["kind"] == "complex-type"))


def is_domain_resource(name: str) -> bool:
    """Whether `name` is a DomainResource (all but Binary, Bundle and Parameters)."""
    return bool(_tables()[name]["base"] == "DomainResource")


def base_type(name: str) -> str:
    """The type that `name` specialises: `Quantity` for `Age`, `DomainResource` for `Patient`; '' at the root."""
    return str(_tables()[name]["base"])


def _element(row: Mapping[str, Any], parents: frozenset[str]) -> Element:
    path: str = row["p"]
    last = path.rsplit(".", 1)[-1]
    types = tuple(row.get("t", ()))
    shape = row.get("c") or (path if path in parents else None)
    binding = row.get("b")
    maximum = "0" if row.get("z") else row.get("x", "1")
    return Element(
        path=path,
        name=last.removesuffix("[x]"),
        min=row.get("n", 0),
        max=None if maximum == "*" else int(maximum),
        list=row.get("x", "1") != "1",
        types=types,
        targets=tuple(row.get("r", ())),
        canonical_targets=tuple(row.get("rc", ())),
        choice=last.endswith("[x]"),
        shape=shape,
        binding=Binding(binding[0], *(b.split("|")[0] for b in binding[1:])) if binding else None,
        summary=bool(row.get("y")),
        modifier=bool(row.get("m")),
        invariants=tuple(row.get("k", ())),
        short=row.get("s", ""),
    )


def _properties(element: Element) -> list[Property]:
    if element.shape:
        return [Property(element.name, element, (element.types or ("BackboneElement",))[0], element.shape)]
    return [
        Property(
            element.name + (code[0].upper() + code[1:] if element.choice else ""),
            element,
            code,
            None if code in PRIMITIVES else code,
        )
        for code in element.types
    ]


@cache
def shape(path: str) -> Shape:
    """The shape named `path`: `Patient`, `Patient.contact`, `HumanName`, `Timing.repeat`.

    Raises KeyError when R4 has no such type or backbone element.
    """
    root = path.split(".", 1)[0]
    table = _tables()[root]
    rows = table["elements"]
    parents = frozenset(r["p"].rsplit(".", 1)[0] for r in rows)
    if path not in parents:
        raise KeyError(path)
    own = next(r for r in rows if r["p"] == path)
    depth = path.count(".") + 1
    elements = tuple(
        _element(r, parents) for r in rows if r["p"].startswith(path + ".") and r["p"].count(".") == depth
    )
    elements = tuple(e for e in elements if e.max != 0)
    properties = {p.name: p for e in elements for p in _properties(e)}
    kind = table["kind"] if path == root else "backbone"
    return Shape(path, kind, elements, properties, tuple(own.get("k", ())), own.get("s", ""))


@cache
def invariants() -> Mapping[str, Mapping[str, str]]:
    """key -> {severity, human, expression}."""
    return cast(Mapping[str, Mapping[str, str]], _load("invariants"))


@cache
def search_parameters() -> tuple[SearchParameter, ...]:
    """All 1,400 search parameters of R4, sorted by address."""
    return tuple(
        SearchParameter(
            url=r["url"],
            code=r["code"],
            type=r["type"],
            base=tuple(r.get("base", ())),
            expression=r.get("expression"),
            targets=tuple(r.get("target", ())),
            modifiers=tuple(r.get("modifier", ())),
            comparators=tuple(r.get("comparator", ())),
            components=tuple((c[0], c[1]) for c in r.get("component", ())),
            description=r["description"],
        )
        for r in _load("search_parameters")
    )


@cache
def compartments() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """compartment type -> resource type -> search parameter codes, https://hl7.org/fhir/R4/compartmentdefinition.html.

    The code `{def}` means: the resource itself is the compartment's subject.
    """
    loaded: dict[str, dict[str, list[str]]] = _load("compartments")
    return {c: {t: tuple(codes) for t, codes in members.items()} for c, members in loaded.items()}


@cache
def operation_definitions() -> tuple[Mapping[str, Any], ...]:
    """The OperationDefinition resources of R4, without narrative."""
    return tuple(_load("operation_definitions"))


@dataclass(frozen=True, slots=True)
class Concept:
    """A code of a code system; `parent` is the code above it in the hierarchy."""

    code: str
    display: str | None = None
    parent: str | None = None
    definition: str | None = None
    properties: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CodeSystem:
    """A code system of the R4 package; `content` is the CodeSystem.content code (`complete`, `not-present`, ...)."""

    url: str
    id: str
    version: str
    name: str
    title: str
    content: str
    case_sensitive: bool
    hierarchy_meaning: str | None
    copyright: str | None
    concepts: tuple[Concept, ...]


@cache
def _code_systems() -> dict[str, Any]:
    return cast(dict[str, Any], _load("code_systems"))


def code_system_urls() -> tuple[str, ...]:
    return tuple(_code_systems())


@cache
def code_system(url: str) -> CodeSystem | None:
    """The code system at `url`, or None when the R4 package has no such system."""
    row = _code_systems().get(url)
    if row is None:
        return None
    return CodeSystem(
        url=url,
        id=row["id"],
        version=row.get("version", FHIR_VERSION),
        name=row.get("name", ""),
        title=row.get("title", row.get("name", "")),
        content=row["content"],
        case_sensitive=row.get("caseSensitive", False),
        hierarchy_meaning=row.get("hierarchyMeaning"),
        copyright=row.get("copyright"),
        concepts=tuple(Concept(*c) for c in row["concept"]),
    )


@cache
def _value_sets() -> dict[str, Any]:
    return cast(dict[str, Any], _load("value_sets"))


def value_set_urls() -> tuple[str, ...]:
    return tuple(_value_sets())


def value_set(url: str) -> Mapping[str, Any] | None:
    """The ValueSet at `url` as {id, version, name, title, status, copyright, compose}, or None."""
    return cast(Mapping[str, Any] | None, _value_sets().get(url))


@cache
def enumerated_codes(value_set_url: str) -> frozenset[str] | None:
    """The codes of a value set that the definitions enumerate completely, whatever their system; None when they do not.

    This is what a required binding on a `code` element is checked with. None means that the set is open here: a code
    system that R4 does not carry (UCUM, BCP 13, BCP 47, ISO 4217), or a filter.
    """
    definition = value_set(value_set_url)
    compose = (definition or {}).get("compose")
    if not compose or compose.get("exclude"):
        return None
    codes: set[str] = set()
    for include in compose["include"]:
        found = _included_codes(include)
        if found is None:
            return None
        codes |= found
    return frozenset(codes)


def _included_codes(include: Mapping[str, Any]) -> frozenset[str] | None:
    if include.get("filter"):
        return None
    parts: list[frozenset[str]] = []
    if include.get("concept"):
        parts.append(frozenset(c["code"] for c in include["concept"]))
    elif include.get("system"):
        system = code_system(include["system"])
        if system is None or system.content != "complete" or not system.concepts:
            return None
        # six v2 systems of R4 have a version in their address, which nothing else can refer to
        if "|" in system.url or include.get("version", system.version) != system.version:
            return None
        parts.append(frozenset(c.code for c in system.concepts))
    for address in include.get("valueSet", ()):
        nested = enumerated_codes(address.split("|")[0])
        if nested is None:
            return None
        parts.append(nested)
    return frozenset.intersection(*parts) if parts else None
