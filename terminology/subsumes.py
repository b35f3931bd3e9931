"""CodeSystem/$subsumes, https://hl7.org/fhir/R4/codesystem-operation-subsumes.html."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_r4.errors import InvalidRequest
from terminology.concepts import CodeSystem, Resource
from terminology.errors import UnknownCode
from terminology.holdings import Holdings, not_held
from terminology.parameters import Input, Values, parameter, parameters_of

INPUTS: Mapping[str, Input] = {
    "codeA": Input("code"),
    "codeB": Input("code"),
    "system": Input("uri"),
    "version": Input("string"),
    "codingA": Input("Coding"),
    "codingB": Input("Coding"),
    "tx-resource": Input("Resource", repeats=True),
    "uuid": Input("uuid"),
}


def subsumes(holdings: Holdings, values: Values) -> Resource:
    """Parameters with the `outcome`: equivalent, subsumes (A is above B), subsumed-by or not-subsumed.

    Raises InvalidRequest when the two codes are of different systems, UnknownCode, UnknownCodeSystem, and ContentNotHeld
    when the hierarchy of the system is none of kinds.
    """
    url, version = _system(values)
    system = holdings.require_code_system(url, version)
    above, below = (_code(system, values, side) for side in "AB")
    return parameters_of([parameter("outcome", "code", outcome(system, above, below))])


def outcome(system: CodeSystem, a: str, b: str) -> str:
    if a == b:
        return "equivalent"
    system.require_hierarchy()
    down, up = a in system.ancestors(b), b in system.ancestors(a)
    if down and up:
        return "equivalent"
    return "subsumes" if down else "subsumed-by" if up else "not-subsumed"


def _system(values: Values) -> tuple[str, str | None]:
    named = [(values.one("system"), values.one("version"))] if "system" in values else []
    named += [
        (c.get("system"), c.get("version")) for c in (values.one("codingA"), values.one("codingB")) if c
    ]
    systems = {s for s, _ in named}
    versions = {v for _, v in named if v is not None}
    if len(systems) != 1 or None in systems:
        raise InvalidRequest("Two codes of one code system were expected, and that system named.", "system")
    if len(versions) > 1:
        raise InvalidRequest("The two codes are of different versions of the code system.", "version")
    return str(systems.pop()), versions.pop() if versions else None


def _code(system: CodeSystem, values: Values, side: str) -> str:
    given = values.require_only_one(f"code{side}", f"coding{side}")
    value = values.one(given)
    code = value if isinstance(value, str) else value.get("code")
    concept = None if code is None else system.find(code)
    if concept is not None:
        return concept.code
    if not system.complete:
        raise not_held(system)
    raise UnknownCode(
        f"Unknown code '{code}' in the CodeSystem '{system.url}' version '{system.version}'", given
    )
