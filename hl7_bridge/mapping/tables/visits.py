"""The code tables of visits: HL7 tables 0004 and those that need no translation.

https://hl7.org/fhir/uv/v2mappings/ (table 0004 to v3-ActEncounterCode).
"""

from __future__ import annotations

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"

# table 0004 -> Encounter.class
CLASSES: dict[str, tuple[str, str, str]] = {
    "B": (ACT, "IMP", "inpatient encounter"),
    "C": (ACT, "AMB", "ambulatory"),
    "E": (ACT, "EMER", "emergency"),
    "I": (ACT, "IMP", "inpatient encounter"),
    "N": (NULL_FLAVOR, "NA", "not applicable"),
    "O": (ACT, "AMB", "ambulatory"),
    "P": (ACT, "PRENC", "pre-admission"),
    "R": (ACT, "AMB", "ambulatory"),
    "U": (NULL_FLAVOR, "UNK", "unknown"),
}

# what PV1 says of people -> ParticipationType
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
PARTICIPANTS = {
    7: ("ATND", "attender"),
    8: ("REF", "referrer"),
    9: ("CON", "consultant"),
    17: ("ADM", "admitter"),
    52: ("PART", "Participation"),
}
