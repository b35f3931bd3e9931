"""Where a code system or a value set comes from: what the caller handed in, else the R4 definitions.

Source: https://hl7.org/fhir/R4/terminology-module.html. What was handed in must answer the same for the life of a
`Holdings`, since what is made of it is kept. An invariant to keep: an address with a version never gives another version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_r4 import definitions
from terminology.canonicals import Canonical, parse_canonical
from terminology.concepts import CodeSystem, Resource, code_system_of, defined_code_system, supplemented
from terminology.errors import ContentNotHeld, UnknownCodeSystem, UnknownValueSet

Resources = Callable[[str, str, "str | None"], "Resource | None"]

MAX_KEPT = 64


class Indexes:
    """Code system indexes of handed-in resources, kept by the identity of the resource (which nobody changes)."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Resource, CodeSystem]] = {}

    def of(self, resource: Resource) -> CodeSystem:
        kept = self._kept.get(id(resource))
        if kept is None:
            kept = (resource, code_system_of(resource))
            if len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[id(resource)] = kept
        return kept[1]


class Holdings:
    """Finds code systems and value sets by canonical address.

    `versions` are the version that a system is read in when nothing else names one (`system-version`), `forced` the
    version it is read in whatever else is named (`force-system-version`).
    """

    def __init__(
        self,
        resources: Resources | None = None,
        indexes: Indexes | None = None,
        versions: Mapping[str, str] | None = None,
        forced: Mapping[str, str] | None = None,
        supplements: tuple[Resource, ...] = (),
    ) -> None:
        self.resources = resources
        self.indexes = indexes or Indexes()
        self.versions = versions or {}
        self.forced = forced or {}
        self.supplements = supplements
        self._systems: dict[tuple[str, str | None], CodeSystem | None] = {}

    def handed_in(self, kind: str, url: str, version: str | None) -> Resource | None:
        if self.resources is None:
            return None
        found = self.resources(kind, url, version)
        if found is None or (version is not None and found.get("version") != version):
            return None
        return found

    def find_code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """The code system at `url`, in `version` when one is named; None when it is not known here."""
        version = self.forced.get(url) or version or self.versions.get(url)
        key = (url, version)
        if key not in self._systems:
            self._systems[key] = self._load(url, version)
        return self._systems[key]

    def _load(self, url: str, version: str | None) -> CodeSystem | None:
        resource = self.handed_in("CodeSystem", url, version)
        if resource is not None and resource.get("content") == "supplement":
            return None
        system = self.indexes.of(resource) if resource is not None else defined_code_system(url)
        if system is None or (version is not None and system.version != version):
            return None
        for supplement in self.supplements:
            if parse_canonical(supplement.get("supplements", "")).url == url:
                system = supplemented(system, supplement)
        return system

    def require_code_system(self, url: str, version: str | None = None) -> CodeSystem:
        """Like `find_code_system`; raises UnknownCodeSystem."""
        system = self.find_code_system(url, version)
        if system is None:
            raise self.unknown_system(url, version)
        return system

    def unknown_system(self, url: str, version: str | None) -> UnknownCodeSystem:
        version = self.forced.get(url) or version or self.versions.get(url)
        other = self.find_code_system(url, self.forced.get(url)) if version is not None else None
        if other is None and version is not None:
            other = defined_code_system(url)
        here = "" if other is None else f" Known here is version {other.version}."
        return UnknownCodeSystem(
            f"A definition for CodeSystem '{Canonical(url, version)}' could not be found, so the code cannot be validated"
            + here
        )

    def require_complete(self, url: str, version: str | None = None) -> CodeSystem:
        """A code system all of whose codes are held here. Raises UnknownCodeSystem or ContentNotHeld."""
        system = self.require_code_system(url, version)
        if not system.complete:
            raise not_held(system)
        return system

    def require_supplement(self, text: str) -> Resource:
        """The CodeSystem supplement at a canonical address. Raises UnknownCodeSystem."""
        url, version = parse_canonical(text)
        found = self.handed_in("CodeSystem", url, version)
        if found is None or found.get("content") != "supplement":
            raise UnknownCodeSystem(
                f"The supplement {text} is not known here: a CodeSystem with that address and content 'supplement' was expected."
            )
        return found

    def find_value_set(self, url: str, version: str | None = None) -> Resource | None:
        """The ValueSet resource at `url`, or None."""
        found = self.handed_in("ValueSet", url, version)
        if found is not None:
            return found
        defined: Mapping[str, Any] | None = definitions.value_set(url)
        if defined is None or (version is not None and defined.get("version") != version):
            return None
        return {"resourceType": "ValueSet", "url": url, **defined}

    def require_value_set(self, url: str, version: str | None = None) -> Resource:
        """Like `find_value_set`; raises UnknownValueSet."""
        found = self.find_value_set(url, version)
        if found is None:
            other = self.find_value_set(url)
            here = "" if other is None else f" Known here is version {other.get('version')}."
            raise UnknownValueSet(
                f"A definition for the value Set '{Canonical(url, version)}' could not be found" + here
            )
        return found


def not_held(system: CodeSystem) -> ContentNotHeld:
    """The refusal of a question that needs codes of `system` which are not here."""
    if system.concepts:
        reason = f"only part of its codes is held here (its content is '{system.content}')"
    else:
        reason = f"its codes are not held here (its content is '{system.content}')"
    return ContentNotHeld(
        f"The code system {system.canonical} is known, but {reason}: a complete one was expected."
    )
