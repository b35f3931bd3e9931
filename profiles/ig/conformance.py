"""All conformance resources that Osler serves: its own files, its code systems, the R4 operations that it carries out.

Its own StructureDefinitions, SearchParameters, OperationDefinitions and value sets are JSON files beside this one, one
resource each, named `Type-id.json`. An invariant to keep: no two resources have the same type and id or the same url.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from fhir_r4.definitions import operation_definitions
from fhir_r4.jsonio import decode_object
from profiles.ig.errors import error_code_system

DEFINITIONS = Path(__file__).parent


def load_definitions(folder: Path) -> tuple[dict[str, Any], ...]:
    """The resources of the JSON files in `folder`, sorted by file name.

    Raises MalformedJson for what is not JSON, ValueError for a file that is not named after its resource.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        resource = decode_object(path.read_bytes())
        if path.stem != f"{resource.get('resourceType')}-{resource.get('id')}":
            raise ValueError(f"{path.name} must be named after the type and id of its resource.")
        found.append(resource)
    return tuple(found)


@cache
def _own_definitions() -> tuple[dict[str, Any], ...]:
    return load_definitions(DEFINITIONS)


def own_operation_definitions() -> tuple[dict[str, Any], ...]:
    """The OperationDefinitions of Osler itself."""
    return tuple(r for r in _own_definitions() if r["resourceType"] == "OperationDefinition")


def conformance_resources(operations: Iterable[str] = ()) -> tuple[dict[str, Any], ...]:
    """The conformance resources of a server that carries out `operations` (canonical addresses of OperationDefinitions).

    Raises KeyError for an operation that neither R4 nor Osler's own files define.
    """
    asked = dict.fromkeys(operations)
    own = [r for r in _own_definitions() if r["resourceType"] != "OperationDefinition" or r["url"] in asked]
    own.append(error_code_system())
    official = {o["url"]: dict(o) for o in operation_definitions()}
    known = {r["url"] for r in own}
    return (*own, *(official[url] for url in asked if url not in known))
