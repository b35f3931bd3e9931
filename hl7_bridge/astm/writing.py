"""Orders as ASTM E1394 (LIS2-A2) records, for devices that ask for them in that language.

Source: CLSI LIS02-A2. Invariant to keep: a message that has no meaning in ASTM, such as an acknowledgement, becomes nothing rather than
something else.
"""

from __future__ import annotations

from hl7_bridge.escapes import escape
from hl7_bridge.message import Delimiters, Message, NotHl7, Segment, parse

_ASTM = Delimiters("|", "^", "\\", "&", "\x00")
# HL7 priority (TQ1-9, OBR-5) -> O-6; everything else is routine
_PRIORITIES = {"S": "S", "A": "A"}


def as_astm(payload: bytes) -> bytes | None:
    """What a message of ours says to a device of ASTM; None when that is nothing. Records are given as they are."""
    if payload[:3] != b"MSH":
        return payload
    try:
        message = parse(payload)
    except NotHl7:
        return payload
    orders = _orders(message)
    asked = message.type == "RSP" or message.first("QAK") is not None
    cancelled = any(code == "DC" for code in message.each("ORC-1"))
    if not orders and not cancelled and message.get("QAK-2") not in ("NF", "AE", "AR"):
        return None
    records = [_header(message)]
    if orders:
        records += _patient(message)
        records += [_order(n, *one, asked=asked) for n, one in enumerate(orders.items(), 1)]
    # N: that is all; I: there is nothing about what was asked for
    records.append(_record("L", "1", "N" if orders else "I"))
    return "".join(record + "\r" for record in records).encode(message.charset, "surrogateescape")


def _header(message: Message) -> str:
    fields = [
        "H",
        "\\^&",
        "",
        "",
        message.get("MSH-3"),
        "",
        "",
        "",
        "",
        message.get("MSH-5"),
        "",
        "P",
        "LIS2-A2",
    ]
    shown = [fields[0], fields[1], *(_text(one) for one in fields[2:]), message.get("MSH-7")[:14]]
    return _ASTM.field.join(shown)


def _patient(message: Message) -> list[str]:
    patient = message.first("PID")
    if patient is None:
        return [_record("P", "1")]
    name = _ASTM.component.join(_text(patient.text(5, n)) for n in (1, 2, 3)).rstrip(_ASTM.component)
    told = ["P", "1", patient.text(3), "", "", "", "", patient.text(7)[:8], patient.text(8)]
    shown = [_text(one) for one in told]
    shown[5] = name
    return [_ASTM.field.join(shown).rstrip(_ASTM.field)]


def _orders(message: Message) -> dict[str, list[Segment]]:
    """The OBR of each specimen that are to be done."""
    found: dict[str, list[Segment]] = {}
    specimen, control = "", ""
    for segment in message.segments:
        if segment.name == "SPM":
            specimen = segment.text(2) or segment.text(2, 2)
        elif segment.name == "SAC":
            specimen = specimen or segment.text(3)
        elif segment.name == "ORC":
            control = segment.text(1)
        elif segment.name == "OBR" and segment.text(4) and control != "DC":
            found.setdefault(specimen or segment.text(3) or segment.text(2), []).append(segment)
    return found


def _order(number: int, specimen: str, tests: list[Segment], *, asked: bool) -> str:
    codes = dict.fromkeys(test.text(4) for test in tests)
    shown = _ASTM.repetition.join(_ASTM.component * 3 + _text(code) for code in codes)
    priority = _PRIORITIES.get(tests[0].text(5).upper(), "R")
    fields = ["O", str(number), _text(specimen), "", shown, priority, "", "", "", "", "", "N"]
    return _ASTM.field.join([*fields, *[""] * 13, "Q" if asked else "O"])


def _record(*fields: str) -> str:
    return _ASTM.field.join(fields)


def _text(text: str) -> str:
    return escape(text, _ASTM)
