"""OBR and ORC: what was ordered, by which numbers, and where the order stands.

https://hl7.org/fhir/uv/v2mappings/ (OBR and ORC to DiagnosticReport and ServiceRequest).
"""

from __future__ import annotations

from collections.abc import Set

from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.results.events import EMPTY, Parent, Reported
from hl7_bridge.mapping.rows import maps
from hl7_bridge.message import NULL, Segment, Value

SKIPS = {
    "OBR-1": "The number of the segment says nothing of the order.",
    "OBR-9": "The volume of the collection belongs to the specimen (SPM-12).",
    "OBR-10, OBR-17, OBR-28": "Who collected, why, whom to call and who gets copies is kept in the raw message.",
    "OBR-12, OBR-18..21, OBR-23": "Danger codes, fields for the parties' own use and charges are kept in the raw message.",
    "OBR-30, OBR-35, OBR-37..43": "Transport, transcription and collection logistics are kept in the raw message.",
    "OBR-44, OBR-45, OBR-48..50": "Procedures, modifiers and how results are handled are kept in the raw message.",
    "ORC-10, ORC-25, ORC-29, ORC-31": "Who entered and what modifies or explains the order is kept in the raw message.",
    "ORC-6, ORC-8, ORC-11, ORC-13, ORC-14": "Response flags, parents and who entered it where are kept in the raw message.",
    "ORC-16..20, ORC-22..24, ORC-26..28, ORC-30": "Control reasons and addresses of the parties are kept in the raw message.",
}


_NONE: frozenset[tuple[str, int]] = frozenset()


@maps(
    "OBR-2", "OBR-3", "OBR-4", "OBR-7", "OBR-8", "OBR-16", "OBR-22", "OBR-24", "OBR-25", "OBR-31",
    "OBR-32", "OBR-33", "OBR-34", "ORC-1", "ORC-2", "ORC-3", "ORC-12",
)  # fmt: skip
def report_of(request: Segment | None, order: Segment | None, profile: Profile) -> Reported:
    """The event of an OBR with its ORC, as far as there are any."""
    report = Reported(order=order, request=request)
    taken = (
        {(pick.segment, pick.field) for pick in profile.specimen.paths} if profile.specimen.paths else _NONE
    )
    if order is not None:
        report.control = order.text(1).strip().upper()
        report.placer = told(order, 2, taken)
        report.filler = told(order, 3, taken)
        if order.raw(12):
            report.requesters = order.values(12)
    if request is None:
        return report
    placer, filler = told(request, 2, taken), told(request, 3, taken)
    if order is not None:
        report.beside = report.placer, report.filler
    report.placer = report.placer if placer is EMPTY else placer
    report.filler = report.filler if filler is EMPTY else filler
    report.service = request.value(4)
    report.collected = (_time(request, 7), _time(request, 8))
    if request.raw(16):
        report.requesters = request.values(16) or report.requesters
    report.reported = _time(request, 22)
    report.section = request.text(24).strip()
    report.status = _time(request, 25).upper()
    if request.length > 30:
        report.interpreters = (*request.values(32), *request.values(33))
        report.technicians = request.values(34)
        report.reasons = request.values(31)
    if request.raw(26):
        report.parent = _parent(request, profile)
    return report


@maps("OBR-26", "OBR-29")
def _parent(request: Segment, profile: Profile) -> Parent | None:
    """PRL: code, sub-id and words of the parent result. Its order is told by EIP: the filler's number, else the placer's."""
    result, order = request.value(26), request.value(29)
    code, sub, said = (result.text(n).strip() for n in (1, 2, 3))
    if code in ("", NULL):
        return None
    numbers = {"filler": order.text(2).strip(), "placer": order.text(1).strip()}
    # only what results are kept by leads to the parent; else it is taken for one under the same number
    number = numbers.get(profile.results.key[0], "") if profile.results.key else ""
    return Parent(code, sub, said, number)


def told(segment: Segment, field: int, taken: Set[tuple[str, int]]) -> Value:
    """A number of the order, unless the field holds that of the specimen for this device."""
    if (taken and (segment.name, field) in taken) or segment.text(field).strip() in ("", NULL):
        return EMPTY
    return segment.value(field)


def _time(segment: Segment, field: int) -> str:
    text = segment.text(field).strip()
    return "" if text == NULL else text
