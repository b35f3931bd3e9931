"""CodeSystem/$lookup, https://hl7.org/fhir/R4/codesystem-operation-lookup.html."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_r4.errors import InvalidRequest
from terminology.concepts import CodeSystem, Concept, Resource, property_value
from terminology.displays import displays_of, in_language, parse_languages
from terminology.errors import UnknownCode
from terminology.holdings import Holdings, not_held
from terminology.parameters import Input, Values, parameter, parameters_of, parts

PREFERRED = {
    "system": "http://terminology.hl7.org/CodeSystem/hl7TermMaintInfra",
    "code": "preferredForLanguage",
    "display": "Preferred For Language",
}

INPUTS: Mapping[str, Input] = {
    "code": Input("code"),
    "system": Input("uri"),
    "version": Input("string"),
    "coding": Input("Coding"),
    "date": Input("dateTime", refusal="codes are known as they are now, not as they were on a date"),
    "displayLanguage": Input("code"),
    "property": Input("code", repeats=True),
    "useSupplement": Input("canonical", repeats=True),
    "tx-resource": Input("Resource", repeats=True),
    "uuid": Input("uuid"),
}


def require_coding(values: Values) -> tuple[str, str, str | None]:
    """(system, code, version) from `coding`, or from `code` and `system`. Raises InvalidRequest."""
    if values.require_only_one("code", "coding") == "coding":
        coding = values.one("coding")
        system, code, version = coding.get("system"), coding.get("code"), coding.get("version")
    else:
        system, code, version = values.one("system"), values.one("code"), values.one("version")
    if not system or not code:
        raise InvalidRequest("A code and its system were expected.", "system" if code else "code")
    return str(system), str(code), version


def lookup(holdings: Holdings, values: Values) -> Resource:
    """Parameters with what is known of a code. Raises UnknownCode, UnknownCodeSystem or ContentNotHeld."""
    url, code, version = require_coding(values)
    system = holdings.require_code_system(url, version)
    concept = system.find(code)
    if concept is None:
        if not system.complete:
            raise not_held(system)
        raise UnknownCode(
            f"Unknown code '{code}' in the CodeSystem '{url}' version '{system.version}'", "code"
        )
    wanted = frozenset(values.many("property"))
    return parameters_of(_answer(system, concept, wanted, parse_languages(values.text("displayLanguage"))))


def _answer(
    system: CodeSystem, concept: Concept, wanted: frozenset[str], languages: tuple[str, ...]
) -> Iterator[Resource]:
    """`wanted` are the properties asked for; none or `*` means all, and name, version and display always come."""

    def asked(name: str) -> bool:
        return not wanted or name in wanted or "*" in wanted

    yield parameter("name", "string", system.name)
    if system.version is not None:
        yield parameter("version", "string", system.version)
    display = in_language(list(displays_of(system, concept, {})), languages)
    yield parameter("display", "string", display.text if display else (concept.display or concept.code))
    yield parameter("code", "code", concept.code)
    yield parameter("system", "uri", system.url)
    if concept.abstract or asked("abstract"):
        yield parameter("abstract", "boolean", concept.abstract)
    if concept.definition is not None and asked("definition"):
        yield parameter("definition", "string", concept.definition)
    if asked("designation"):
        yield from _designations(system, concept)
    if asked("inactive"):
        yield _property("inactive", "valueBoolean", concept.inactive)
    for name, related in (("parent", system.parents), ("child", system.children)):
        if asked(name):
            for code in related.get(concept.code, ()):
                yield _property(name, "valueCode", code, system.concepts[code].display)
    for element in concept.properties:
        name = element.get("code", "")
        if asked(name) and name not in ("parent", "child", "inactive"):
            yield _property(name, *property_value(element))


def _property(code: str, name: str, value: Any, description: str | None = None) -> Resource:
    rows = [parameter("code", "code", code), {"name": "value", name: value}]
    if description is not None:
        rows.append(parameter("description", "string", description))
    return parts("property", rows)


def _designations(system: CodeSystem, concept: Concept) -> Iterator[Resource]:
    if concept.display is not None and system.language is not None:
        yield designation_parts({"language": system.language, "use": PREFERRED, "value": concept.display})
    for designation in concept.designations:
        yield designation_parts(designation)


def designation_parts(designation: Mapping[str, Any]) -> Resource:
    rows = []
    if "language" in designation:
        rows.append(parameter("language", "code", designation["language"]))
    if "use" in designation:
        rows.append(parameter("use", "Coding", designation["use"]))
    rows.append(parameter("value", "string", designation["value"]))
    return parts("designation", rows)
