"""ORU and OUL: results, solicited or not, of devices and laboratories.

Source: HL7 v2.5.1 chapters 7.3 and 13.3; IHE LAB LAB-29, LAB-3, LAB-32. What they share is more than what parts them, so one mapping
reads them all. An invariant to keep: quality control and calibration write nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from hl7_bridge.mapping.classification import kind_of
from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context, Map
from hl7_bridge.mapping.results.grouping import results_of
from hl7_bridge.mapping.results.writing import write_results
from hl7_bridge.message import Message


async def results(message: Message, draft: Draft, context: Context) -> None:
    """Bring the results of a message into the records."""
    if kind_of(message, context.profile) != "result":
        return
    context = told_in_zone(message, context)
    for event in results_of(message, context.profile):
        await write_results(event, draft, context)


MAPPINGS: Mapping[tuple[str, str], Map] = {
    ("ORU", "R01"): results,
    ("ORU", "R03"): results,
    ("ORU", "R30"): results,
    ("ORU", "R31"): results,
    ("ORU", "R32"): results,
    ("ORU", "R40"): results,
    ("OUL", "R21"): results,
    ("OUL", "R22"): results,
    ("OUL", "R23"): results,
    ("OUL", "R24"): results,
    ("ORU", ""): results,
}
