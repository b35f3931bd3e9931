"""The checks of a code that $validate-code of a ValueSet and of a CodeSystem share.

Source: https://hl7.org/fhir/R4/codesystem-operation-validate-code.html. An invariant to keep: each check only adds to the
findings of a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from terminology.concepts import CodeSystem, Concept, Resource
from terminology.displays import Display, speaks
from terminology.findings import Verdict
from terminology.parameters import Input, Values

AS_NOW = "codes are known as they are now, not as they were on a date"

SHARED: Mapping[str, Input] = {
    "code": Input("code"),
    "coding": Input("Coding"),
    "codeableConcept": Input("CodeableConcept"),
    "display": Input("string"),
    "date": Input("dateTime", refusal=AS_NOW),
    "abstract": Input("boolean"),
    "displayLanguage": Input("code"),
    "activeOnly": Input("boolean"),
    "lenient-display-validation": Input("boolean"),
    "useSupplement": Input("canonical", repeats=True),
    "tx-resource": Input("Resource", repeats=True),
    "uuid": Input("uuid"),
}


def place(prefix: str, element: str) -> str:
    return f"{prefix}.{element}" if prefix else element


def not_abstract(verdict: Verdict, prefix: str) -> None:
    text = f"Code '{verdict.system}#{verdict.code}' is abstract, and not allowed in this context"
    verdict.add("error", "business-rule", "code-rule", text, place(prefix, "code"))


def unknown_code(verdict: Verdict, system: CodeSystem, prefix: str) -> None:
    text = f"Unknown code '{verdict.code}' in the CodeSystem '{system.url}'"
    if system.version is not None:
        text += f" version '{system.version}'"
    if system.complete:
        verdict.add("error", "code-invalid", "invalid-code", text, place(prefix, "code"))
        return
    text += f", of which only part is held here (its content is '{system.content}')"
    verdict.add("error", "not-found", "not-found", text, place(prefix, "code"))


def note_case(verdict: Verdict, system: CodeSystem | None, concept: Concept, prefix: str) -> None:
    if system is None or concept.code == verdict.code:
        return
    verdict.normalized = concept.code
    text = (
        f"The code '{verdict.code}' differs from the correct code '{concept.code}' by case. Although the code system "
        f"'{system.canonical}' is case insensitive, implementers are strongly encouraged to use the correct case anyway"
    )
    verdict.add("information", "business-rule", "code-rule", text, place(prefix, "code"))


def note_inactive(verdict: Verdict, concept: Concept, prefix: str) -> None:
    verdict.inactive, verdict.status = concept.inactive, concept.status
    if concept.inactive:
        status = "inactive" if concept.status in (None, "inactive") else f"{concept.status} and inactive"
        text = f"The concept '{concept.code}' has a status of {status} and its use should be reviewed"
        verdict.add("warning", "business-rule", "code-comment", text, prefix or None)


def check_display(
    verdict: Verdict,
    displays: Sequence[Display],
    coding: Resource,
    prefix: str,
    languages: Sequence[str],
    values: Values,
) -> None:
    """Compare the display that was given with those of the code: case does not matter, blanks do."""
    given = coding.get("display")
    if given is None or not displays:
        return
    named = f"{verdict.system}#{verdict.code}"
    spoken = [d for d in displays if not languages or any(speaks(d.language, want) for want in languages)]
    if _among(given, spoken):
        return
    at = place(prefix, "display")
    tongues = f"language(s) '{', '.join(languages)}'"
    default = displays[0].language
    if not spoken and _among(given, [d for d in displays if d.language in (None, default)]):
        text = (
            f"There are no valid display names found for the code {named} for {tongues}. "
            f"The display is '{given}' which is a valid display for the default language"
        )
        verdict.add("information", "invalid", "invalid-display", text, at)
        return
    if spoken:
        choices = " or ".join(f"'{text}'" for text in dict.fromkeys(d.text for d in spoken))
        reason = f"Valid display is {choices}" + (f" for {tongues}" if languages else "")
    else:
        reason = (
            f"There are no valid display names found for {tongues}. Default display is '{displays[0].text}'"
        )
    severity = "warning" if values.flag("lenient-display-validation") else "error"
    verdict.add(
        severity, "invalid", "invalid-display", f"Wrong Display Name '{given}' for {named}. {reason}", at
    )


def _among(given: str, displays: Sequence[Display]) -> bool:
    folded = given.casefold()
    return any(d.text.casefold() == folded for d in displays)
