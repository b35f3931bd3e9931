"""Units of results: the profile's, then UCUM, then known spellings; else the text alone, and a person is told.

https://ucum.org/ucum. An invariant to keep: a code is given only where it is valid UCUM and surely meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from fhir_r4.ucum.conversion import UCUM, conversion

# What UCUM has but cannot convert by a factor.
_WITHOUT_FACTOR = frozenset({"[pH]", "dB", "B", "Np", "[m/s2/Hz^0.5]", "[p'diop]", "%[slope]", "bit_s"})

# Valid UCUM that nobody in a laboratory means by it: kelvin, coulomb, farad, henry, femtotonne, picotonne, petahenry, gauss.
_DOUBTFUL = frozenset(
    {"K/uL", "K/mL", "K/L", "C", "F", "H", "ft", "pt", "PH", "G", "T", "P", "m", "N", "A", "K", "Pt", "R"}
)

# Spellings of laboratories that mean one unit only.
SPELLINGS: Mapping[str, str] = {
    "10^3/uL": "10*3/uL", "10^6/uL": "10*6/uL", "10^9/L": "10*9/L", "10^12/L": "10*12/L",
    "10^3/µL": "10*3/uL", "10^6/µL": "10*6/uL", "x10^3/uL": "10*3/uL", "x10^6/uL": "10*6/uL",
    "x10^9/L": "10*9/L", "x10^12/L": "10*12/L", "x10*9/L": "10*9/L", "x10*12/L": "10*12/L",
    "x10(9)/L": "10*9/L", "x10(12)/L": "10*12/L", "x10(3)/uL": "10*3/uL", "x10(6)/uL": "10*6/uL",
    "10E3/uL": "10*3/uL", "10E6/uL": "10*6/uL", "10e3/uL": "10*3/uL", "10e6/uL": "10*6/uL",
    "10E9/L": "10*9/L", "10E12/L": "10*12/L", "K/uL": "10*3/uL", "M/uL": "10*6/uL", "THOU/uL": "10*3/uL",
    "MIL/uL": "10*6/uL", "K/mcL": "10*3/uL", "M/mcL": "10*6/uL", "K/mm3": "10*3/mm3", "tril/L": "10*12/L",
    "bil/L": "10*9/L", "cells/uL": "{cells}/uL", "cells/µL": "{cells}/uL", "cells/mm3": "{cells}/mm3",
    "copies/mL": "{copies}/mL", "cp/mL": "{copies}/mL",
    "IU/L": "[IU]/L", "IU/mL": "[IU]/mL", "kIU/L": "k[IU]/L", "mIU/L": "m[IU]/L", "mIU/mL": "m[IU]/mL",
    "uIU/mL": "u[IU]/mL", "µIU/mL": "u[IU]/mL", "μIU/mL": "u[IU]/mL", "KIU/L": "k[IU]/L", "KU/L": "kU/L",
    "mmHg": "mm[Hg]", "mm Hg": "mm[Hg]", "mmHG": "mm[Hg]", "cmH2O": "cm[H2O]", "mEq/L": "meq/L", "MEQ/L": "meq/L",
    "mEq/24h": "meq/(24.h)", "sec": "s", "secs": "s", "seconds": "s", "hr": "h", "hrs": "h", "mm/hr": "mm/h",
    "mm/Hr": "mm/h", "yr": "a", "yrs": "a", "years": "a", "gm/dL": "g/dL", "gm/dl": "g/dL", "GM/DL": "g/dL",
    "G/DL": "g/dL", "MG/DL": "mg/dL", "MG/L": "mg/L", "NG/ML": "ng/mL", "PG/ML": "pg/mL", "UG/DL": "ug/dL",
    "MMOL/L": "mmol/L", "UMOL/L": "umol/L", "NMOL/L": "nmol/L", "PMOL/L": "pmol/L", "G/L": "g/L", "FL": "fL",
    "PG": "pg", "mcg/mL": "ug/mL", "mcg/dL": "ug/dL", "mcg/L": "ug/L", "µg/mL": "ug/mL", "µg/dL": "ug/dL",
    "µg/L": "ug/L", "μg/mL": "ug/mL", "μg/dL": "ug/dL", "μg/L": "ug/L", "µmol/L": "umol/L", "μmol/L": "umol/L",
    "µg": "ug", "μg": "ug", "µkat/L": "ukat/L", "μkat/L": "ukat/L", "µL": "uL", "/µL": "/uL", "/μL": "/uL",
    "mcL": "uL", "mL/min/1.73m2": "mL/min/{1.73_m2}", "mL/min/1.73 m2": "mL/min/{1.73_m2}",
    "mL/min/1.73m²": "mL/min/{1.73_m2}", "mOsm/kg": "mosm/kg", "mOsm/L": "mosm/L", "mOsmol/kg": "mosm/kg",
    "/hpf": "/[HPF]", "/HPF": "/[HPF]", "/lpf": "/[LPF]", "/LPF": "/[LPF]", "CFU/mL": "[CFU]/mL",
    "beats/min": "{beats}/min", "bpm": "{beats}/min", "breaths/min": "{breaths}/min", "/minute": "/min",
    "°C": "Cel", "deg C": "Cel", "degC": "Cel", "°F": "[degF]", "deg F": "[degF]", "deg f": "[degF]", "degF": "[degF]",
    "lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]", "inch": "[in_i]", "inches": "[in_i]", "pH": "[pH]",
    "ratio": "{ratio}", "Ratio": "{ratio}", "index": "{index}", "Index": "{index}", "INR": "{INR}", "COI": "{COI}",
    "S/CO": "{S_CO}", "s/co": "{S_CO}", "score": "{score}", "RLU": "{RLU}", "percent": "%", "PERCENT": "%",
}  # fmt: skip


class Unit(Struct, frozen=True, gc=False):
    """A unit as it was told, and its code in UCUM, '' when none is known."""

    text: str
    code: str = ""

    @property
    def unknown(self) -> bool:
        return self.text != "" and self.code == ""

    def members(self) -> dict[str, str]:
        """What a Quantity says of its unit."""
        if self.code:
            return {"unit": self.text or self.code, "system": UCUM, "code": self.code}
        return {"unit": self.text} if self.text else {}


NONE = Unit("")


def read_unit(code: str, text: str = "", system: str = "", known: Mapping[str, str] | None = None) -> Unit:
    """The unit of OBX-6: its code, text and system. `known` is the profile's: spelling -> UCUM, '' for what is no unit."""
    code, text = code.strip(), text.strip()
    shown = text or code
    if known:
        for told in (code, text):
            if told and told in known:
                return Unit(shown if known[told] else "", known[told])
    if not shown:
        return NONE
    if code and system.strip().upper() in ("UCUM", UCUM.upper()) and is_ucum(code):
        return Unit(shown, code)
    for told in (code, text):
        found = _spelled(told)
        if found:
            return Unit(shown, found)
    return Unit(shown)


@lru_cache(4096)
def _spelled(told: str) -> str:
    """The UCUM of a spelling, '' when none is surely meant."""
    if told in SPELLINGS:
        return SPELLINGS[told]
    return told if told and told not in _DOUBTFUL and is_ucum(told) else ""


@lru_cache(4096)
def is_ucum(code: str) -> bool:
    """Whether a code is valid UCUM (case sensitive)."""
    if not 0 < len(code) <= 60 or not code.isascii() or " " in code:
        return False
    return code in _WITHOUT_FACTOR or conversion(code) is not None
