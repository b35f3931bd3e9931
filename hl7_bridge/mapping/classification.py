"""What a message is, and the keys within which the order of messages is kept.

An invariant to keep: quality control and calibration are told by the standard's own marks and by what the profile says of the
device, never by what their values look like; and two messages about one patient, or one specimen, share a key.
"""

from __future__ import annotations

from collections.abc import Iterable

from hl7_bridge.devices.conditions import picked
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.records import Classified, Kind
from hl7_bridge.message import NULL, Message, Segment

_KINDS: dict[str, Kind] = {
    "ORU": "result", "OUL": "result", "OPU": "result",
    "ORM": "order", "OML": "order", "OMG": "order", "OMI": "order", "OMP": "order", "ORR": "order", "ORL": "order",
    "ORG": "order", "RDE": "order", "RDS": "order", "RAS": "order", "RGV": "order", "OPL": "order",
    "QBP": "query", "QRY": "query", "QCN": "query",
    "ADT": "patient", "SIU": "patient", "DFT": "patient", "BAR": "patient", "MDM": "patient", "VXU": "patient",
    "PPR": "patient", "REF": "patient",
}  # fmt: skip


# what others answer to queries and messages of ours
ANSWERS = frozenset({"ACK", "ADR", "DSR", "EDR", "ERP", "MCF", "MFK", "MFR", "NMR", "ORF", "OSR", "QCK", "RCI", "RCL"}) | {
    "RDR", "RDY", "RER", "RGR", "ROR", "RPI", "RPL", "RPR", "RRA", "RRD", "RRE", "RRG", "RRI", "RSP", "RTB", "SQR", "SRR", "TBR", "VXR", "VXX",
}  # fmt: skip
_OF_PEOPLE = frozenset({"PID", "OBX", "OBR"})


def kind_of(message: Message, profile: Profile) -> Kind:
    """What a message is for this kind of sender."""
    kind = _KINDS.get(message.type, "administrative")
    if kind == "result":
        roles = {segment.text(11) for segment in message.segments if segment.name == "SPM"}
        header, recognition = message.header, profile.recognition
        wanted = header.text(16)
        if header.text(11) == "Q" or wanted == "2" or roles == {"Q"}:
            return "quality-control"
        if wanted == "1" or roles == {"C"}:
            return "calibration"
        if recognition.quality_control and any(
            rule.of_message(message) for rule in recognition.quality_control
        ):
            return "quality-control"
        if recognition.calibration and any(rule.of_message(message) for rule in recognition.calibration):
            return "calibration"
    if kind == "order" and profile.orders == "orr" and message.get("ORC-1") == "RF":
        return "query"
    return kind


def tells_of_people(message: Message, kind: Kind) -> bool:
    """Whether a message that nothing is made of says something about a person: its type says so, or nobody knows the type."""
    if kind != "administrative":
        return kind in ("result", "order", "patient")
    return message.type not in ANSWERS and any(segment.name in _OF_PEOPLE for segment in message.segments)


def is_control(specimen: Segment, profile: Profile) -> bool:
    """Whether a specimen (SPM) among others is a control or calibrator: by table 0369, or by what the profile says."""
    rules = (*profile.recognition.quality_control, *profile.recognition.calibration)
    return specimen.text(11) in ("Q", "C") or any(
        rule.is_about("SPM") and rule.of(specimen) for rule in rules
    )


def classify(message: Message, profile: Profile) -> Classified:
    """The kind of a message, and its keys, one a line."""
    kind = kind_of(message, profile)
    if kind in ("result", "order"):
        return Classified(kind, _lines(_of_results(message, profile)))
    if kind == "patient":
        return Classified(kind, _lines(_of_patients(message)))
    if kind == "query":
        number = message.get("QRD-8") or message.get("QPD-3") or message.get("QID-1")
        return Classified(kind, f"query {number}" if number not in ("", NULL) else "")
    return Classified(kind, "")


def _lines(keys: Iterable[str]) -> str:
    return "\n".join(dict.fromkeys(key for key in keys if key))


def _of_patients(message: Message) -> list[str]:
    """Every number of PID and MRG: who merges two patients waits for both."""
    keys = [f"patient {number}" for segment in message.all("PID") for number in _numbers(segment, (3, 2, 4))]
    keys += [f"patient {number}" for segment in message.all("MRG") for number in _numbers(segment, (1, 4))]
    return keys


def _numbers(segment: Segment, fields: Iterable[int]) -> Iterable[str]:
    for field in fields:
        for value in segment.values(field):
            number = value.text(1).strip()
            if number not in ("", NULL):
                yield number


_NAMING = frozenset(("SPM", "OBR", "ORC", "SAC", "PID"))


def _of_results(message: Message, profile: Profile) -> list[str]:
    """The numbers of specimens, and of orders; the patient's only where there are none."""
    keys: list[str] = []
    at_hand: dict[str, Segment] = {}
    paths = profile.specimen.paths
    for segment in message.segments:
        name = segment.name
        if name not in _NAMING:
            continue
        at_hand[name] = segment
        if paths and name in ("SPM", "OBR", "SAC"):
            number = picked(paths, at_hand)
            if number:
                keys.append(f"specimen {number}")
        if name in ("OBR", "ORC"):
            keys += [f"order {number}" for number in _numbers(segment, (2, 3))]
        elif name == "SPM":
            keys += [
                f"specimen {one}" for one in (segment.text(2, 1), segment.text(2, 2)) if one not in ("", NULL)
            ]
        elif name == "SAC":
            keys += [f"specimen {number}" for number in _numbers(segment, (3, 4))]
    return keys or _of_patients(message)
