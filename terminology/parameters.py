"""Parameters resources read into named values and written again, https://hl7.org/fhir/R4/parameters.html.

An operation says which parameters it knows in a table of `Input`; whatever else comes in is refused. An invariant to
keep: no parameter is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fhir_r4.errors import InvalidRequest, NotSupported

Resource = dict[str, Any]

TEXT = frozenset({"string", "uri", "canonical", "code", "dateTime", "date", "uuid", "markdown"})
COMPLEX = frozenset({"Coding", "CodeableConcept"})


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter that an operation knows: its FHIR type (or resource type), and why it is refused if it is."""

    type: str
    repeats: bool = False
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a Parameters resource by name; resources and data types as dicts."""

    inputs: Mapping[str, Input]
    values: Mapping[str, list[Any]]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def one(self, name: str) -> Any:
        """The value of `name`, or None."""
        found = self.values.get(name)
        return None if found is None else found[0]

    def many(self, name: str) -> list[Any]:
        return self.values.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.values.get(name)
        return default if found is None else bool(found[0])

    def text(self, name: str) -> str | None:
        found = self.one(name)
        return None if found is None else str(found)

    def require_only_one(self, *names: str) -> str:
        """The one of `names` that was given. Raises InvalidRequest when none or several were."""
        given = [n for n in names if n in self.values]
        if len(given) != 1:
            raise InvalidRequest(
                f"Exactly one of the parameters {', '.join(names)} was expected, not {len(given)}.", *given
            )
        return given[0]


def read_parameters(parameters: Mapping[str, Any], inputs: Mapping[str, Input]) -> Values:
    """The named values of a Parameters resource.

    A text is taken for any primitive, as it comes from a query string. Raises InvalidRequest for a parameter of the
    wrong type, NotSupported for one that is not in `inputs` or that `inputs` refuses.
    """
    if parameters.get("resourceType") != "Parameters":
        raise InvalidRequest(f"A Parameters resource was expected, not {parameters.get('resourceType')}.")
    found: dict[str, list[Any]] = {}
    for row in parameters.get("parameter", ()):
        name = row.get("name")
        known = inputs.get(name)
        if known is None:
            raise NotSupported(
                f"The parameter {name!r} is not known; known are {', '.join(inputs)}.", str(name)
            )
        if known.refusal is not None:
            raise NotSupported(f"The parameter {name!r} is not supported: {known.refusal}.", name)
        found.setdefault(name, []).append(_value(name, row, known.type))
        if len(found[name]) > 1 and not known.repeats:
            raise InvalidRequest(f"The parameter {name!r} may be given once only.", name)
    return Values(inputs, found)


def _value(name: str, row: Mapping[str, Any], kind: str) -> Any:
    if "resource" in row:
        value: Any = row["resource"]
        if (
            kind[0].isupper()
            and kind not in COMPLEX
            and (kind == "Resource" or value.get("resourceType") == kind)
        ):
            return value
        raise InvalidRequest(
            f"The parameter {name!r} takes {kind}, not a {value.get('resourceType')} resource.", name
        )
    values = [v for k, v in row.items() if k.startswith("value")]
    if len(values) != 1:
        raise InvalidRequest(f"The parameter {name!r} needs one value of type {kind}.", name)
    value = values[0]
    if kind in TEXT and isinstance(value, str):
        return value
    if kind in COMPLEX and isinstance(value, dict):
        return value
    if kind == "boolean" and (isinstance(value, bool) or value in ("true", "false")):
        return value in (True, "true")
    if kind == "integer" and not isinstance(value, bool):
        if isinstance(value, int):
            return value
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 11:
            return int(value)
    raise InvalidRequest(
        f"The parameter {name!r} takes a value of type {kind}, not {str(value)[:60]!r}.", name
    )


def value_name(kind: str) -> str:
    """`valueBoolean` for `boolean`."""
    return "value" + kind[0].upper() + kind[1:]


def parameter(name: str, kind: str, value: Any) -> Resource:
    """A Parameters.parameter with a value of the FHIR type `kind`."""
    return {"name": name, value_name(kind): value}


def parts(name: str, rows: Iterable[Resource]) -> Resource:
    return {"name": name, "part": list(rows)}


def parameters_of(rows: Iterable[Resource]) -> Resource:
    return {"resourceType": "Parameters", "parameter": list(rows)}
