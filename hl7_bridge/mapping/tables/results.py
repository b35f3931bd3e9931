"""What the codes of results mean: status of OBX-11 and OBR-25, flags of OBX-8, control codes of ORC-1.

Sources: HL7 tables 0085, 0123, 0078, 0119 and 0038, and the concept maps of the v2-to-FHIR implementation guide. An invariant to keep: each
code of these tables has an outcome, and a code that is in none of them is told as a problem.
"""

from __future__ import annotations

from collections.abc import Mapping

# OBX-11 (0085): status of the Observation; None: it is no result and none is written
OBSERVATION_STATUS: Mapping[str, str | None] = {
    "A": "amended",
    "C": "corrected",
    "D": "entered-in-error",
    "F": "final",
    "I": "registered",
    "N": "cancelled",
    "O": None,
    "P": "preliminary",
    "R": "preliminary",
    "S": "preliminary",
    "U": "final",
    "W": "entered-in-error",
    "X": "cancelled",
    "B": "amended",
    "V": "final",
}

# OBR-25 (0123): status of the DiagnosticReport
REPORT_STATUS: Mapping[str, str] = {
    "O": "registered",
    "I": "registered",
    "S": "registered",
    "A": "partial",
    "P": "preliminary",
    "C": "corrected",
    "R": "preliminary",
    "F": "final",
    "X": "cancelled",
    "Y": "unknown",
    "Z": "unknown",
    "M": "preliminary",
    "N": "registered",
}

# What the status of a report says of a result that has none itself.
STATUS_OF_RESULTS: Mapping[str, str] = {
    "registered": "registered",
    "partial": "preliminary",
    "preliminary": "preliminary",
    "corrected": "corrected",
    "final": "final",
    "cancelled": "cancelled",
}

# A lower one never replaces a higher one. A result that could not be had gives way to one that could.
RANKS: Mapping[str, int] = {
    "unknown": 0,
    "registered": 0,
    "partial": 1,
    "preliminary": 1,
    "cancelled": 1,
    "final": 2,
    "amended": 3,
    "corrected": 3,
    "appended": 3,
    "entered-in-error": 4,
}

INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
INTERPRETATIONS: Mapping[str, str] = {
    "N": "Normal",
    "L": "Low",
    "H": "High",
    "LL": "Critical low",
    "HH": "Critical high",
    "A": "Abnormal",
    "AA": "Critical abnormal",
    "<": "Off scale low",
    ">": "Off scale high",
    "S": "Susceptible",
    "R": "Resistant",
    "I": "Intermediate",
    "MS": "moderately susceptible",
    "VS": "very susceptible",
    "NS": "Non-susceptible",
    "SDD": "Susceptible-dose dependent",
    "B": "Better",
    "W": "Worse",
    "U": "Significant change up",
    "D": "Significant change down",
    "POS": "Positive",
    "NEG": "Negative",
    "IND": "Indeterminate",
    "DET": "Detected",
    "ND": "Not detected",
    "RR": "Reactive",
    "NR": "Non-reactive",
    "WR": "Weakly reactive",
    "HX": "above high threshold",
    "LX": "below low threshold",
    "HU": "Significantly high",
    "LU": "Significantly low",
    "E": "Equivocal",
    "EX": "outside threshold",
    "EXP": "Expected",
    "UNE": "Unexpected",
    "AC": "Anti-complementary substances present",
    "TOX": "Cytotoxic substance present",
    "QCF": "Quality control failure",
    "CAR": "Carrier",
}
# Codes of table 0078 that are called otherwise in FHIR.
INTERPRETATION_SPELLINGS: Mapping[str, str] = {
    "LLL": "LL",
    "HHH": "HH",
    "NORMAL": "N",
    "ABNORMAL": "A",
    "HIGH": "H",
    "LOW": "L",
}
CRITICAL = frozenset({"HH", "LL", "AA"})

# ORC-1 (0119) of an order: status of the ServiceRequest; None: as ORC-5 says, or as it was
ORDER_CONTROL: Mapping[str, str | None] = {
    "NW": "active",
    "RO": "active",
    "RF": "active",
    "CH": "active",
    "PA": "active",
    "SN": "active",
    "NA": "active",
    "RU": "revoked",
    "RQ": "revoked",
    "RP": "revoked",
    "PR": "active",
    "RL": "active",
    "OE": "active",
    "OH": "on-hold",
    "HD": "on-hold",
    "CA": "revoked",
    "DC": "revoked",
    "OC": "revoked",
    "OD": "revoked",
    "CR": "revoked",
    "DR": "revoked",
    "DE": None,
    "XO": None,
    "XX": None,
    "XR": None,
    "SC": None,
    "SS": None,
    "SR": None,
    "RE": None,
    "LI": None,
    "UN": None,
    "OK": None,
    "AF": None,
    "DF": None,
    "FU": None,
    "OR": "on-hold",
    "HR": "on-hold",
    "UA": "on-hold",
    "UC": None,
    "UD": None,
    "UF": None,
    "UH": None,
    "UM": None,
    "UR": None,
    "UX": None,
    "RR": None,
    "CN": None,
    "OF": None,
    "OP": None,
    "PY": None,
    "MC": None,
}

# ORC-5 (0038)
ORDER_STATUS: Mapping[str, str] = {
    "A": "active",
    "IP": "active",
    "SC": "active",
    "CM": "completed",
    "CA": "revoked",
    "DC": "revoked",
    "RP": "revoked",
    "HD": "on-hold",
    "ER": "on-hold",
}

# OBR-5, ORC-7.6, TQ1-9 (0485)
PRIORITIES: Mapping[str, str] = {
    "S": "stat",
    "A": "asap",
    "R": "routine",
    "P": "asap",
    "C": "urgent",
    "T": "urgent",
    "CB": "urgent",
    "PRN": "routine",
    "N": "routine",
}
