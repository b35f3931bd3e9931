"""The code tables of names, addresses, telecommunication and people.

HL7 tables 0001, 0190, 0200, 0201, 0202, 0063; https://hl7.org/fhir/uv/v2mappings/ (concept maps). None: FHIR has nothing for it, the
value is kept beside.
"""

from __future__ import annotations

# table 0001 -> AdministrativeGender
GENDERS = {"F": "female", "M": "male", "O": "other", "A": "other", "N": "other", "U": "unknown", "X": "other"}

# table 0200 -> NameUse
NAME_USES: dict[str, str | None] = {
    "A": None,
    "B": "old",
    "BAD": "old",
    "C": None,
    "D": "usual",
    "F": None,
    "I": None,
    "K": None,
    "L": "official",
    "M": "maiden",
    "MSK": None,
    "N": "nickname",
    "NAV": None,
    "NB": "temp",
    "NOUSE": "old",
    "P": None,
    "R": None,
    "REL": None,
    "S": "anonymous",
    "T": None,
    "TEMP": "temp",
    "U": None,
}

# table 0190 -> (AddressUse, AddressType)
ADDRESS_USES: dict[str, tuple[str | None, str | None]] = {
    "B": ("work", None),
    "BA": ("old", None),
    "BDL": (None, None),
    "BI": ("billing", None),
    "BR": (None, None),
    "C": ("temp", None),
    "F": (None, None),
    "H": ("home", None),
    "L": (None, None),
    "M": (None, "postal"),
    "N": (None, None),
    "O": ("work", None),
    "P": ("home", None),
    "RH": (None, None),
    "S": (None, None),
    "SH": (None, "postal"),
    "TM": (None, "postal"),
    "V": ("temp", None),
}

# table 0201 -> ContactPointUse; NET, BPN and EMR say how, or for what
TELECOM_USES: dict[str, str | None] = {
    "ASN": None,
    "BPN": "work",
    "EMR": None,
    "NET": None,
    "ORN": "home",
    "PRN": "home",
    "PRS": "mobile",
    "VHN": "temp",
    "WPN": "work",
}

# table 0202 -> ContactPointSystem
TELECOM_SYSTEMS: dict[str, str] = {
    "BP": "pager",
    "CP": "phone",
    "FX": "fax",
    "INTERNET": "email",
    "MD": "other",
    "PH": "phone",
    "SAT": "phone",
    "TDD": "other",
    "TTY": "other",
    "X.400": "email",
}

# identifier types (table 0203) of something other than the person
NOT_OF_PERSONS = frozenset(("AN", "ANON", "ANC", "AND", "ANT", "VN", "BC", "BA", "XX", "PLAC", "FILL", "MSK"))
