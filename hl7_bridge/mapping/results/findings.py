"""OBX of messages about a person, a visit or an account: what was seen when they were sent, each an Observation of its own.

https://hl7.org/fhir/uv/v2mappings/ (ADT_A01: OBX to Observation). An invariant to keep: they are no results of a laboratory: no
report, no category and no specimen, and no order is done by them. One that says when it was seen (OBX-14) is found again by that
time; of one that does not the newest telling holds, for each visit.
"""

from __future__ import annotations

from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results.events import Observed, Reported, Results
from hl7_bridge.mapping.results.grouping import results_of
from hl7_bridge.mapping.results.panels import Panel
from hl7_bridge.mapping.results.placing import known_results, make_results, placed, surroundings_of
from hl7_bridge.message import Message


async def write_findings(
    message: Message, subject: str, visit: str, scope: str, draft: Draft, context: Context
) -> None:
    """Bring the OBX of a message into the draft. `scope` is the number of the visit, or of the patient, that they belong to."""
    if message.first("OBX") is None:
        return
    when = _when(message)
    encounter = {"reference": visit} if visit else None
    for event in results_of(message, context.profile):
        around = await surroundings_of(event, draft, context)
        panels = [
            Panel(
                Reported(reported=when, collected=(when, ""), results=results),
                f"{scope} {time}".strip(),
                None,
                [],
                category=(),
            )
            for time, results in _by_time(event).items()
        ]
        used: dict[str, int] = {}
        for panel in panels:
            make_results(panel, {"reference": subject}, encounter, used, around)
        known = await known_results(panels, around)
        for panel in panels:
            beside = await placed(panel, known, around)
            if beside["presentedForm"] or beside["media"]:
                text = "A document or picture in a message about a patient belongs to no report."
                draft.problem("unreadable-value", text, "OBX-5")


def _by_time(event: Results) -> dict[str, list[Observed]]:
    """The results by OBX-14 as it was written."""
    found: dict[str, list[Observed]] = {}
    for report in event.reports:
        for observed in report.results:
            found.setdefault(observed.observed.strip(), []).append(observed)
    return found


def _when(message: Message) -> str:
    """When the message says that it happened: EVN-6, else EVN-2, else MSH-7, as it was written."""
    evn = message.first("EVN")
    told = () if evn is None else (evn.text(6), evn.text(2))
    return next((one for one in (*told, message.header.text(7)) if one and one != '""'), "")
