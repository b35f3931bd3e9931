"""The code tables of allergies, diagnoses and procedures: HL7 tables 0127, 0128, 0436, 0052, 0206.

https://hl7.org/fhir/uv/v2mappings/ (concept maps).
"""

from __future__ import annotations

# table 0127 -> (AllergyIntolerance.type, AllergyIntolerance.category)
ALLERGY_KINDS: dict[str, tuple[str | None, str | None]] = {
    "AA": ("allergy", None),
    "DA": ("allergy", "medication"),
    "EA": ("allergy", "environment"),
    "FA": ("allergy", "food"),
    "LA": ("allergy", "environment"),
    "MA": (None, None),
    "MC": (None, None),
    "PA": ("allergy", "environment"),
}

# table 0128 -> (AllergyIntolerance.criticality, reaction.severity)
ALLERGY_SEVERITIES: dict[str, tuple[str | None, str | None]] = {
    "MI": ("low", "mild"),
    "MO": ("low", "moderate"),
    "SV": ("high", "severe"),
    "U": ("unable-to-assess", None),
}

# table 0438 -> (clinicalStatus, verificationStatus) of an allergy
ALLERGY_STATES: dict[str, tuple[str | None, str]] = {
    "C": ("active", "confirmed"),
    "D": (None, "refuted"),
    "E": (None, "entered-in-error"),
    "I": ("inactive", "confirmed"),
    "P": ("active", "unconfirmed"),
    "S": ("active", "unconfirmed"),
    "U": ("active", "unconfirmed"),
}

# table 0052 -> the use of a diagnosis in an Encounter
DIAGNOSIS_ROLES = {
    "A": ("AD", "Admission diagnosis"),
    "F": ("DD", "Discharge diagnosis"),
    "W": ("CC", "Chief complaint"),
}
# table 0052 -> verificationStatus
DIAGNOSIS_CERTAINTY = {"A": "provisional", "F": "confirmed", "W": "provisional"}
