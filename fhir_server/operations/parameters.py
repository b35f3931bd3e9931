"""Read the values of an operation's Parameters. https://hl7.org/fhir/R4/parameters.html"""

from __future__ import annotations

from typing import Any

from fhir_r4.errors import InvalidRequest
from fhir_server.context import Resource


def values(parameters: Resource, name: str) -> list[Any]:
    """Every value of the parameter `name`: value[x], resource, or the list of its parts."""
    return [_value(p) for p in parameters.get("parameter", ()) if p.get("name") == name]


def single(parameters: Resource, name: str) -> Any:
    """The one value of the parameter, or None. Raises InvalidRequest when it stands more than once."""
    found = values(parameters, name)
    if len(found) > 1:
        raise InvalidRequest(f"The parameter {name} is taken once; it was given {len(found)} times.", name)
    return found[0] if found else None


def refuse_unknown(parameters: Resource, known: tuple[str, ...]) -> None:
    """Raise InvalidRequest for a parameter that the operation does not have."""
    for parameter in parameters.get("parameter", ()):
        if parameter.get("name") not in known:
            raise InvalidRequest(
                f"The parameter {parameter.get('name')!r} is not one of {', '.join(known)}.",
                str(parameter.get("name")),
            )


def _value(parameter: dict[str, Any]) -> Any:
    for key, value in parameter.items():
        if key.startswith("value") or key == "resource":
            return value
    return parameter.get("part")
