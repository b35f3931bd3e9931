"""Why what we make of a message is not what another converter makes of it: one row for each reason."""

from __future__ import annotations

import re
from collections import Counter

Fact = tuple[str, str]

# (source, field, value) as patterns -> the reason. "The guide" is the v2-to-FHIR implementation guide
REASONS: tuple[tuple[str, str, str, str], ...] = (
    # reports
    (
        "microsoft",
        r"DiagnosticReport\.(code|effective|identifier|status)",
        "",
        "In the guide's maps of ORU and OUL a report stands for an OBR; the other makes one of each OBX as well.",
    ),
    (
        "CDC",
        r"DiagnosticReport\.status",
        "entered-in-error",
        "OBR-25 C is corrected (the guide's map of table 0123); the other's bundle, of which the message was made, says more.",
    ),
    (
        "CDC",
        r"DiagnosticReport\.status",
        "unknown",
        "An OBR without status, results and notes reports nothing; the guide calls an empty OBR-25 an error.",
    ),
    (
        "CDC",
        r"DiagnosticReport\.code",
        "",
        "OBR-4 is DiagnosticReport.code (guide); the other's bundle, of which the message was made, has the code of a result.",
    ),
    (
        "CDC",
        r"DiagnosticReport\.issued",
        "-",
        "OBR-22 tells a month, which DiagnosticReport.issued, an instant, cannot; MSH-7 stands for it.",
    ),
    (
        "CDC",
        r"DiagnosticReport\.issued|Patient\.deceasedDateTime",
        "",
        "A time without a zone is in that of MSH-7, which holds for the message (chapter 2.15.9.7).",
    ),
    # results
    (
        "microsoft",
        r"Observation\.status",
        "unknown",
        "OBX-11 S is partial results: preliminary. The guide's map of table 0085 has no status for it.",
    ),
    (
        "CDC",
        r"Observation\.status",
        "unknown",
        "OBX-11 is empty, and OBR-25 is the status of the results of the order.",
    ),
    (
        "CDC",
        r"Observation\.issued",
        "",
        "Observation.issued is OBR-22 (R4's mapping to v2), and OBX-19 without it; the other takes OBX-19 first.",
    ),
    # specimens
    (
        "microsoft",
        r"Specimen\.identifier",
        "-PAT-",
        "SPM-3 is the number in Specimen.parent (guide), beside SAC-2 in accessionIdentifier; the other makes a Specimen of the parent as well.",
    ),
    (
        "microsoft",
        r"Specimen\.identifier",
        "",
        "OBR-2, OBR-3 and OBR-53 number the order; the guide takes OBR-2 for an accession only where it is one.",
    ),
    (
        "",
        r"Specimen\.type",
        "",
        "SPM-4 is the type of the specimen; OBR-15 tells it where there is no SPM.",
    ),
    # people, visits and documents
    (
        "microsoft",
        r"DocumentReference\.docStatus",
        "preliminary",
        "TXA-17 AU is authenticated (table 0271), which docStatus calls final.",
    ),
    (
        "microsoft",
        r"Condition\.code",
        "",
        "The guide has no map of PDA: the cause of death is kept in the raw message.",
    ),
    (
        "microsoft",
        r"RelatedPerson\.",
        "",
        "IAM-14 is AllergyIntolerance.recorder, here by name; the guide makes a RelatedPerson, which would be a contact known by a name alone.",
    ),
    (
        "microsoft",
        r"Procedure\.code",
        "",
        "PR1 makes a Procedure; FT1-25 is what was charged, and makes a ChargeItem.",
    ),
    (
        "microsoft",
        r"Account\.identifier",
        "",
        "An account with one number is one; the other's bundle has it twice.",
    ),
    (
        "microsoft",
        r"Encounter\.(class|type|serviceType)",
        "",
        "PV1-19 is empty: only messages about visits make one without a number, or each document would make another.",
    ),
    ("microsoft", r"Encounter\.identifier", "^$", "An identifier without a value is none."),
    (
        "microsoft",
        r"Encounter\.end",
        "",
        "PV2-9 is when the discharge is expected, which the guide tells in an extension, as we do; PV1-45 is empty.",
    ),
    (
        "microsoft",
        r"Patient\.address\.country",
        "",
        "GT1-5 is the address of the guarantor; PID-11 tells one address.",
    ),
)


def reason_for(fact: Fact, source: str, ours: Counter[Fact], raw: str) -> str | None:
    """The reason of a disagreement; None when there is none."""
    for where, field, value, reason in REASONS:
        if where in source and re.match(field, fact[0]) and re.search(value, fact[1]):
            return reason
    return None
