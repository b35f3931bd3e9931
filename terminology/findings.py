"""What a validation found wrong, and the Parameters that say so.

Source: https://hl7.org/fhir/R4/valueset-operation-validate-code.html (result, message, display); `code`, `system`,
`version`, `inactive`, `codeableConcept` and `issues` are those that later versions of the operation and the HL7 validator
add to them. The wording of the texts is what that validator knows. An invariant to keep: `result` is false exactly when
some finding is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from terminology.concepts import Resource
from terminology.parameters import parameter, parameters_of

ISSUE_TYPE = "http://hl7.org/fhir/tools/CodeSystem/tx-issue-type"


@dataclass(frozen=True, slots=True)
class Finding:
    """One issue: `code` is its IssueType, `kind` its tx-issue-type, `place` a FHIRPath or a parameter name."""

    severity: str
    code: str
    kind: str
    text: str
    place: str | None = None

    def as_fhir(self) -> Resource:
        details = {"coding": [{"system": ISSUE_TYPE, "code": self.kind}], "text": self.text}
        issue: Resource = {"severity": self.severity, "code": self.code, "details": details}
        if self.place is not None:
            issue["location"] = [self.place]
            issue["expression"] = [self.place]
        return issue


@dataclass(slots=True)
class Verdict:
    """The outcome for one coding, as it is found out."""

    system: str | None = None
    code: str | None = None
    version: str | None = None
    display: str | None = None
    normalized: str | None = None
    inactive: bool = False
    status: str | None = None
    member: bool = False
    unknown: tuple[str, str] | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(self, severity: str, code: str, kind: str, text: str, place: str | None = None) -> None:
        self.findings.append(Finding(severity, code, kind, text, place))

    @property
    def valid(self) -> bool:
        return not any(f.severity == "error" for f in self.findings)


def answer(verdict: Verdict, concept: Resource | None = None) -> Resource:
    """The Parameters of a verdict; `concept` is the CodeableConcept that was asked about."""
    rows: list[Resource] = [parameter("result", "boolean", verdict.valid)]
    told: list[tuple[str, str, Any]] = [
        ("system", "uri", verdict.system),
        ("code", "code", verdict.code),
        ("normalized-code", "code", verdict.normalized),
        ("version", "string", verdict.version),
        ("display", "string", verdict.display),
        ("inactive", "boolean", verdict.inactive or None),
        ("status", "code", verdict.status if verdict.inactive and verdict.status != "inactive" else None),
        ("codeableConcept", "CodeableConcept", concept),
    ]
    rows += [parameter(name, kind, value) for name, kind, value in told if value is not None]
    if verdict.unknown is not None:
        name, address = verdict.unknown
        rows.append(parameter(name, "canonical", address))
    if verdict.findings:
        text = message(verdict.findings)
        if text:
            rows.append(parameter("message", "string", text))
        issues = [f.as_fhir() for f in verdict.findings]
        rows.append({"name": "issues", "resource": {"resourceType": "OperationOutcome", "issue": issues}})
    return parameters_of(rows)


def message(findings: Iterable[Finding]) -> str:
    """The texts of the findings in one line; notes about the coding's case or a part of a concept are left to the issues."""
    return "; ".join(
        sorted(
            {
                f.text
                for f in findings
                if f.kind not in ("code-rule", "this-code-not-in-vs") or f.severity == "error"
            }
        )
    )
