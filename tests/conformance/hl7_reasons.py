"""Why what we make of a message is not what another converter makes of it: one row for each reason."""

from __future__ import annotations

import re
from collections import Counter

Fact = tuple[str, str]

# (source, field, value) as patterns -> the reason
REASONS: tuple[tuple[str, str, str, str], ...] = (
    (
        "",
        r"DiagnosticReport\.(code|effective|identifier|status)",
        "",
        "A report stands for an OBR (OBR to DiagnosticReport of the guide); others make one of each OBX with an identifier, or of ORC-4.",
    ),
    (
        "",
        r"Observation\.status",
        "unknown",
        "OBR-25 is the status of results for an order (chapter 7.4.1.25), so an empty OBX-11 is what it says.",
    ),
    (
        "",
        r"Specimen\.(identifier|type)",
        "",
        "SPM-2 is the number of the specimen and SPM-3 that of its parent; ORC-2 and ORC-3 number the order (guide: ServiceRequest.identifier).",
    ),
    (
        "",
        r"ServiceRequest\.identifier",
        "",
        "ORC-4 numbers a group of orders (guide: ServiceRequest.requisition); the numbers of SPM are those of Specimen.identifier.",
    ),
    (
        "",
        r"DocumentReference\.docStatus",
        "preliminary",
        "TXA-17 AU is authenticated (table 0271), which DocumentReference.docStatus calls final.",
    ),
    ("microsoft", r"Condition\.code", "", "PDA (how somebody died) is not mapped."),
    (
        "microsoft",
        r"RelatedPerson\.",
        "",
        "IAM-14 (who reported an allergy) makes no contact of the patient.",
    ),
    (
        "microsoft",
        r"AllergyIntolerance\.code",
        "",
        "IAM-3 is the code; IAM-21 is a second one in versions after 2.5.1.",
    ),
    (
        "microsoft",
        r"Procedure\.code",
        "",
        "PR1 makes a Procedure; what is charged (FT1-25) makes a ChargeItem.",
    ),
    ("microsoft", r"Account\.identifier", "", "An account is one, however many charges it has."),
    (
        "microsoft",
        r"Encounter\.(class|type|serviceType)",
        "",
        "A visit without a number is made by messages about visits alone.",
    ),
    ("microsoft", r"Encounter\.identifier", "^$", "An identifier without a value is none."),
    (
        "microsoft",
        r"Encounter\.end",
        "",
        "PV1-45 of a visit that goes on is no discharge: Encounter.period.end is when it ended.",
    ),
    ("microsoft", r"Patient\.address\.country", "", "PID-11 tells the country once."),
    (
        "CDC",
        r"Observation\.",
        "",
        "The other's bundle is what the message was made of; and knows more than it.",
    ),
    ("CDC", r"Patient\.deceasedDateTime", "", "The zone of MSH-7 holds for times without one."),
    ("CDC", r"Patient\.telecom", "", "The other's bundle has the number more often than the message."),
    ("CDC", r"DiagnosticReport\.issued", "", "The other's bundle is what the message was made of."),
)


def reason_for(fact: Fact, source: str, ours: Counter[Fact], raw: str) -> str | None:
    """The reason of a disagreement; None when there is none."""
    for where, field, value, reason in REASONS:
        if where in source and re.match(field, fact[0]) and re.search(value, fact[1]):
            return reason
    return None
