"""EVN, PID, MRG and PV1 of resources. https://hl7.org/fhir/uv/v2mappings/. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.building.chart import Chart
from hl7_bridge.building.fields import code_of, cwe, cx, date, told_identifiers, ts, xad, xpn, xtn
from hl7_bridge.mapping.datatypes.codes import TABLES
from hl7_bridge.serializer import One, Segment

Resource = Mapping[str, Any]

_GENDERS = {"female": "F", "male": "M", "other": "O", "unknown": "U"}
_CLASSES = {
    "ACUTE": "I",
    "AMB": "O",
    "EMER": "E",
    "FLD": "O",
    "HH": "O",
    "IMP": "I",
    "NONAC": "I",
    "OBSENC": "O",
    "PRENC": "P",
    "SS": "O",
    "VR": "O",
}
_MARITAL = {
    "A": "N",
    "C": "C",
    "D": "D",
    "I": "I",
    "L": "E",
    "M": "M",
    "S": "S",
    "T": "P",
    "U": "B",
    "W": "W",
}
# ParticipationType -> field of PV1
_PARTICIPANTS = {"ATND": 7, "REF": 8, "CON": 9, "ADM": 17}


def evn(recorded: str, occurred: str | None = None) -> Segment:
    """EVN of an event that was recorded and took place at these instants."""
    return Segment("EVN", {2: ts(recorded), 6: ts(occurred)})


def pid(patient: Resource) -> Segment:
    """PID of a Patient."""
    names = patient.get("name", [])
    telecom = patient.get("telecom", [])
    marital = code_of(patient.get("maritalStatus"), "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus")
    languages = [one["language"] for one in patient.get("communication", []) if one.get("preferred")]
    deceased = patient.get("deceasedDateTime")
    dead = deceased is not None or patient.get("deceasedBoolean")
    return Segment(
        "PID",
        {
            1: "1",
            3: [cx(one) for one in told_identifiers(patient)] or _own(patient),
            5: [xpn(one) for one in names] or [(None, None, None, None, None, None, "U")],
            7: date(patient.get("birthDate")),
            8: _GENDERS.get(patient.get("gender", "")),
            11: [xad(one) for one in patient.get("address", [])],
            13: _telecom(telecom, "home", "mobile", "temp", None),
            14: _telecom(telecom, "work"),
            15: cwe(languages[0]) if languages else None,
            16: _MARITAL.get(marital or ""),
            24: {True: "Y", False: "N"}.get(patient.get("multipleBirthBoolean", "")),
            25: str(patient["multipleBirthInteger"]) if "multipleBirthInteger" in patient else None,
            29: ts(deceased),
            30: "Y" if dead else None,
        },
    )


def _own(patient: Resource) -> list[One]:
    """The logical id of a Patient that has no other number."""
    return [(str(patient.get("id")), None, None, ("OSLER", None, None), "PI")]


def _telecom(telecom: list[Resource], *uses: str | None) -> list[One]:
    found = [xtn(one) for one in telecom if one.get("use") in uses]
    return [one for one in found if one is not None]


def mrg(patient: Resource) -> Segment:
    """MRG of the Patient that is given up."""
    return Segment(
        "MRG",
        {
            1: [cx(one) for one in told_identifiers(patient)] or _own(patient),
            7: [xpn(one) for one in patient.get("name", [])][:1],
        },
    )


def pv1(chart: Chart) -> Segment:
    """PV1 of the visit; of none when there is none."""
    visit = chart.encounter
    if visit is None:
        return Segment("PV1", {1: "1", 2: "N"})
    stay = visit.get("hospitalization", {})
    period = visit.get("period", {})
    fields: dict[int, Any] = {
        1: "1",
        2: patient_class(visit),
        3: chart.place(here(visit)),
        4: _from_table([*visit.get("type", [])], "0007"),
        5: cx(stay["preAdmissionIdentifier"]) if "value" in stay.get("preAdmissionIdentifier", {}) else None,
        6: chart.place(before(visit)),
        10: _from_table([visit.get("serviceType")], "0069"),
        14: _from_table([stay.get("admitSource")], "0023"),
        18: _from_table([*visit.get("type", [])], "0018"),
        19: next((cx(one) for one in told_identifiers(visit)), _visit(visit)),
        36: _from_table([stay.get("dischargeDisposition")], "0112"),
        44: ts(period.get("start")),
        45: [ts(period.get("end"))] if "end" in period else None,
    }
    for code, field in _PARTICIPANTS.items():
        fields[field] = chart.people(
            [
                one["individual"]
                for one in visit.get("participant", [])
                if "individual" in one and any(code_of(kind) == code for kind in one.get("type", []))
            ]
        )
    return Segment("PV1", fields)


def _visit(visit: Resource) -> One:
    return (str(visit.get("id")), None, None, ("OSLER", None, None), "VN")


def patient_class(visit: Resource) -> str:
    """PV1-2."""
    return _CLASSES.get(visit.get("class", {}).get("code", ""), "U")


def here(visit: Resource) -> Resource | None:
    """The reference to the place where the patient is; to the last one of a visit that is over."""
    entries = visit.get("location", [])
    active = [one for one in entries if one.get("status", "active") in ("active", "planned", "reserved")]
    last = (active or entries)[-1:]
    return last[0]["location"] if last else None


def before(visit: Resource) -> Resource | None:
    """The reference to the place where the patient was before."""
    entries = visit.get("location", [])
    if not any(one.get("status") == "active" for one in entries):
        entries = entries[:-1]
    over = [one for one in entries if one.get("status") == "completed"]
    return over[-1]["location"] if over else None


def _from_table(several: list[Resource | None], table: str) -> str | None:
    """The code of an HL7 table, where one is known."""
    return next((code for one in several if (code := code_of(one, TABLES + table)) is not None), None)
