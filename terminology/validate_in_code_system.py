"""CodeSystem/$validate-code, https://hl7.org/fhir/R4/codesystem-operation-validate-code.html.

An invariant to keep: a code that is missing from a system of which only part is held is not called unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fhir_r4.errors import InvalidRequest
from terminology.canonicals import parse_canonical
from terminology.code_checks import (
    SHARED,
    check_display,
    not_abstract,
    note_case,
    note_inactive,
    place,
    unknown_code,
)
from terminology.concepts import CodeSystem, Concept, Resource, code_system_of
from terminology.displays import displays_of, in_language, parse_languages
from terminology.findings import Verdict, answer
from terminology.holdings import Holdings
from terminology.parameters import Input, Values

INPUTS: Mapping[str, Input] = {
    "url": Input("uri"),
    "system": Input("uri"),
    "codeSystem": Input("CodeSystem"),
    "version": Input("string"),
    **SHARED,
}


def validate_in_code_system(holdings: Holdings, values: Values) -> Resource:
    """Parameters that say whether a code exists in a code system. Raises InvalidRequest, or UnknownCodeSystem for `url`."""
    given = values.require_only_one("code", "coding", "codeableConcept")
    languages = parse_languages(values.text("displayLanguage"))
    named = values.text("url") or values.text("system")
    if given == "code":
        if named is None and "codeSystem" not in values:
            raise InvalidRequest("A code needs the 'url' of its code system.", "url")
        coding = {"code": values.text("code"), "display": values.text("display")}
        verdict = _in_code_system(
            holdings, values, {k: v for k, v in coding.items() if v is not None}, "", languages
        )
        return answer(verdict)
    if given == "coding":
        return answer(_in_code_system(holdings, values, values.one("coding"), "Coding", languages))
    concept: Resource = values.one("codeableConcept")
    verdicts = [
        _in_code_system(holdings, values, coding, f"CodeableConcept.coding[{index}]", languages)
        for index, coding in enumerate(concept.get("coding", ()))
    ]
    if not verdicts:
        raise InvalidRequest("The codeableConcept has no coding that could be validated.", "codeableConcept")
    result = next((v for v in verdicts if v.valid), verdicts[0])
    return answer(result, concept)


def _in_code_system(
    holdings: Holdings, values: Values, coding: Resource, prefix: str, languages: Sequence[str]
) -> Verdict:
    url = coding.get("system") or values.text("url") or values.text("system")
    verdict = Verdict(url, str(coding.get("code", "")))
    if coding.get("system") and values.text("url") not in (None, coding["system"]):
        text = f"The coding is of the code system '{url}', not of '{values.text('url')}'"
        verdict.add("error", "invalid", "invalid-data", text, place(prefix, "system"))
        return verdict
    system: CodeSystem | None
    if "codeSystem" in values:
        system = code_system_of(values.one("codeSystem"))
        verdict.system = system.url or url
    else:
        version = coding.get("version") or values.text("version")
        system = None if url is None else holdings.find_code_system(*_address(url, version))
        if system is None:
            unknown = holdings.unknown_system(str(url), version)
            verdict.unknown = ("x-unknown-system", str(url))
            verdict.add(
                "error", "not-found", "not-found", str(unknown), place(prefix, "system" if prefix else "url")
            )
            return verdict
    verdict.version = system.version
    concept = system.find(str(verdict.code))
    if concept is None:
        unknown_code(verdict, system, prefix)
        return verdict
    displays = list(displays_of(system, concept, {}))
    spoken = in_language(displays, languages)
    verdict.display = concept.display if spoken is None else spoken.text
    note_case(verdict, system, concept, prefix)
    note_inactive(verdict, concept, prefix)
    _refuse_abstract(verdict, concept, values, prefix)
    check_display(verdict, displays, coding, prefix, languages, values)
    return verdict


def _address(url: str, version: str | None) -> tuple[str, str | None]:
    address, own = parse_canonical(url)
    return address, version or own


def _refuse_abstract(verdict: Verdict, concept: Concept, values: Values, prefix: str) -> None:
    if concept.abstract and not values.flag("abstract", True):
        not_abstract(verdict, prefix)
