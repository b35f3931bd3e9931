"""ValueSet/$validate-code, https://hl7.org/fhir/R4/valueset-operation-validate-code.html.

A code is valid when it is in the value set, exists in its code system, and its display is one of the code's displays. An
invariant to keep: what cannot be told because the terminology is not held gives `result` false with a message that
names what is missing, never a silent false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fhir_r4.errors import InvalidRequest
from terminology.code_checks import (
    SHARED,
    check_display,
    not_abstract,
    note_case,
    note_inactive,
    place,
    unknown_code,
)
from terminology.concepts import CodeSystem, Concept, Resource
from terminology.displays import displays_of, in_language, parse_languages
from terminology.errors import NOT_KNOWN, UnknownCodeSystem, UnknownValueSet
from terminology.findings import Verdict, answer
from terminology.parameters import Input, Values
from terminology.value_sets import Compiler, Member, ValueSet

IN_CONTEXT = "name the value set with 'url' or hand it in as 'valueSet'"

INPUTS: Mapping[str, Input] = {
    "url": Input("uri"),
    "valueSet": Input("ValueSet"),
    "valueSetVersion": Input("string"),
    "context": Input("uri", refusal=IN_CONTEXT),
    "system": Input("uri"),
    "systemVersion": Input("string"),
    "inferSystem": Input("boolean"),
    "valueset-membership-only": Input("boolean"),
    "system-version": Input("canonical", repeats=True),
    "force-system-version": Input("canonical", repeats=True),
    **SHARED,
}


def validate_in_value_set(compiler: Compiler, resource: Resource, values: Values) -> Resource:
    """Parameters that say whether a code, Coding or CodeableConcept is in a value set.

    Raises InvalidRequest for a request that does not say what to validate, InvalidTerminology for a broken value set.
    """
    given = values.require_only_one("code", "coding", "codeableConcept")
    codings = _codings(values, given)
    judge = _Judge(compiler, resource, values)
    if given == "codeableConcept":
        concept: Resource = values.one("codeableConcept")
        return answer(judge.concept(codings, concept), concept)
    return answer(judge.coding(codings[0], "Coding" if given == "coding" else ""))


def _codings(values: Values, given: str) -> list[Resource]:
    if given == "codeableConcept":
        found: list[Resource] = values.one("codeableConcept").get("coding", [])
        if not found:
            raise InvalidRequest(
                "The codeableConcept has no coding that could be validated.", "codeableConcept"
            )
        return found
    if given == "coding":
        coding: Resource = values.one("coding")
        if not coding.get("code"):
            raise InvalidRequest("The coding has no code that could be validated.", "coding")
        return [coding]
    if "system" not in values and not values.flag("inferSystem"):
        raise InvalidRequest("A code needs its 'system', or 'inferSystem' true.", "system")
    names = (("code", "code"), ("system", "system"), ("systemVersion", "version"), ("display", "display"))
    return [{element: values.text(name) for name, element in names if name in values}]


class _Judge:
    """Judges codings by one value set."""

    def __init__(self, compiler: Compiler, resource: Resource, values: Values) -> None:
        self.holdings = compiler.holdings
        self.values = values
        self.languages = parse_languages(values.text("displayLanguage"))
        self.value_set: ValueSet | None = None
        self.missing: UnknownValueSet | None = None
        try:
            self.value_set = compiler.at(resource, values)
        except UnknownValueSet as error:
            self.missing = error
        version = resource.get("version")
        url = resource.get("url", "")
        self.name = f"{url}|{version}" if url and version else url or "(unidentified)"

    def concept(self, codings: Sequence[Resource], concept: Resource) -> Verdict:
        """One coding in the value set is enough, but every coding must exist in its code system."""
        verdicts = [
            self.coding(c, f"CodeableConcept.coding[{i}]", of_many=True) for i, c in enumerate(codings)
        ]
        found = next((v for v in verdicts if v.member), None)
        result = found or Verdict()
        others = [f for v in verdicts if v is not result for f in v.findings]
        result.findings = [*result.findings, *(f for f in dict.fromkeys(others) if f not in result.findings)]
        if found is None and self.missing is None:
            result.unknown = next((v.unknown for v in verdicts if v.unknown is not None), None)
            text = f"No valid coding was found for the value set '{self.name}'"
            result.add("error", "code-invalid", "not-in-vs", text)
        return result

    def coding(self, coding: Resource, prefix: str, *, of_many: bool = False) -> Verdict:
        code = str(coding.get("code", ""))
        verdict = Verdict(coding.get("system"), code)
        if self.missing is not None:
            verdict.add("error", "not-found", "not-found", str(self.missing))
            return verdict
        if verdict.system is None and not (prefix == "" and self._infer(verdict)):
            self._not_in(verdict, coding, prefix, of_many)
            if prefix:
                text = (
                    "Coding has no system. A code with no system has no defined meaning, and it cannot be validated. "
                    "A system should be provided"
                )
                verdict.add("warning", "invalid", "invalid-data", text, prefix)
            return verdict
        self._judge(verdict, coding, prefix, of_many)
        return verdict

    def _infer(self, verdict: Verdict) -> bool:
        assert self.value_set is not None
        found = sorted({m.system for m in self.value_set.members() if m.code == verdict.code})
        if len(found) == 1:
            verdict.system = found[0]
            return True
        if found:
            reason = f"value set expansion has multiple matches: [{', '.join(found)}]"
        else:
            systems = dict.fromkeys(s.system for s in self.value_set.selections() if s.system is not None)
            reason = f"the value set has it in none of its code systems: [{', '.join(systems)}]"
        text = f"The System URI could not be determined for the code '{verdict.code}' in the ValueSet '{self.name}': {reason}"
        verdict.add("error", "not-found", "cannot-infer", text, "code")
        return False

    def _judge(self, verdict: Verdict, coding: Resource, prefix: str, of_many: bool) -> None:
        assert self.value_set is not None
        url, code = str(verdict.system), str(verdict.code)
        system = self._system(url, coding.get("version"))
        member: Member | None = None
        try:
            member = self.value_set.find(url, code)
        except NOT_KNOWN as error:
            self._cannot_tell(verdict, error, prefix)
            if system is None or not system.complete:
                return
        if member is not None and coding.get("version") not in (None, member.version):
            self._other_version(verdict, coding, member, prefix)
        concept = None if system is None else system.find(code)
        if member is not None and member.concept is not None:
            concept = member.concept
        self._describe(verdict, system, concept, member, prefix)
        verdict.member = member is not None and self._allowed(verdict, member, prefix)
        if not verdict.member and verdict.unknown is None:
            self._not_in(verdict, coding, prefix, of_many)
        if self.values.flag("valueset-membership-only"):
            return
        if concept is None and member is None:
            self._unknown(verdict, system, coding, prefix)
        else:
            row = {} if member is None else member.row
            check_display(
                verdict, list(displays_of(system, concept, row)), coding, prefix, self.languages, self.values
            )

    def _system(self, url: str, version: str | None) -> CodeSystem | None:
        """The code system to describe a code with: in the version that the value set uses, if it uses it."""
        assert self.value_set is not None
        if version is None:
            used = next((s.codes for s in self.value_set.selections() if s.system == url and s.codes), None)
            if used is not None:
                return used
        return self.holdings.find_code_system(url, version)

    def _cannot_tell(self, verdict: Verdict, error: Exception, prefix: str) -> None:
        url = str(verdict.system)
        verdict.unknown = ("x-caused-by-unknown-system", url)
        at = place(prefix, "system") if isinstance(error, UnknownCodeSystem) else None
        verdict.add("error", "not-found", "not-found", str(error), at)

    def _other_version(self, verdict: Verdict, coding: Resource, member: Member, prefix: str) -> None:
        if member.version is None:
            return
        text = (
            f"The code system '{verdict.system}' version '{member.version}' in the ValueSet include is different to the one "
            f"in the value ('{coding['version']}')"
        )
        verdict.add("error", "invalid", "vs-invalid", text, place(prefix, "version"))

    def _describe(
        self,
        verdict: Verdict,
        system: CodeSystem | None,
        concept: Concept | None,
        member: Member | None,
        prefix: str,
    ) -> None:
        if member is not None:
            verdict.version = member.version
        elif system is not None:
            verdict.version = system.version
        if concept is None and member is None:
            return
        display = member.display if member is not None else concept.display if concept is not None else None
        row = {} if member is None else member.row
        spoken = in_language(list(displays_of(system, concept, row)), self.languages)
        verdict.display = display if spoken is None else spoken.text
        if concept is not None:
            note_case(verdict, system, concept, prefix)
            note_inactive(verdict, concept, prefix)

    def _allowed(self, verdict: Verdict, member: Member, prefix: str) -> bool:
        """Whether a member may be used: not when only active codes are wanted, or abstract ones refused."""
        if self.values.flag("activeOnly") and member.inactive:
            self._not_active(verdict, prefix)
            return False
        if not self.values.flag("abstract", True) and member.abstract:
            not_abstract(verdict, prefix)
            return False
        return True

    def _not_active(self, verdict: Verdict, prefix: str) -> None:
        text = f"The concept '{verdict.code}' is valid but is not active"
        verdict.add("error", "business-rule", "code-rule", text, place(prefix, "code"))

    def _not_in(self, verdict: Verdict, coding: Resource, prefix: str, of_many: bool) -> None:
        version = f"|{coding['version']}" if coding.get("version") else ""
        display = f" ('{coding['display']}')" if coding.get("display") else ""
        named = f"{verdict.system or ''}{version}#{verdict.code}{display}"
        text = f"The provided code '{named}' was not found in the value set '{self.name}'"
        assert self.value_set is not None
        if verdict.inactive and not self.value_set.inactive:
            self._not_active(verdict, prefix)
        if of_many:
            verdict.add("information", "code-invalid", "this-code-not-in-vs", text, place(prefix, "code"))
        else:
            verdict.add("error", "code-invalid", "not-in-vs", text, place(prefix, "code"))

    def _unknown(self, verdict: Verdict, system: CodeSystem | None, coding: Resource, prefix: str) -> None:
        url = str(verdict.system)
        if system is not None:
            unknown_code(verdict, system, prefix)
            return
        if self.holdings.find_value_set(url) is not None:
            text = f"The Coding references a value set, not a code system ('{url}')"
            verdict.add("error", "invalid", "invalid-data", text, place(prefix, "system"))
            return
        if ":" not in url:
            text = "Coding.system must be an absolute reference, not a local reference"
            verdict.add("error", "invalid", "invalid-data", text, place(prefix, "system"))
        unknown = self.holdings.unknown_system(url, coding.get("version"))
        verdict.unknown = ("x-unknown-system", url)
        verdict.add("error", "not-found", "not-found", str(unknown), place(prefix, "system"))
