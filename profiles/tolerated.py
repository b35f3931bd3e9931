"""Rules of the definitions that official R4 4.0.1 examples break: `check` lets them pass, `validate` warns.

The examples (hl7.fhir.r4.examples 4.0.1) are data that every R4 server is expected to keep. Each line names the example;
an invariant to keep: nothing is here that no official example needs.
"""

from __future__ import annotations

from collections.abc import Mapping

# element path -> resource types that it may refer to beside those of its definition
EXTRA_TARGETS: Mapping[str, frozenset[str]] = {
    "DeviceMetric.parent": frozenset({"DeviceDefinition"}),  # DeviceMetric/example
    "DeviceUseStatement.reasonReference": frozenset({"Procedure"}),  # DeviceUseStatement/example
    "MedicationRequest.dispenseRequest.performer": frozenset({"Practitioner"}),  # MedicationRequest/medrx0301
    "Observation.performer": frozenset({"Encounter"}),  # Observation/clinical-gender
}

# elements that may be missing although their minimum is 1
MISSING = frozenset({"Questionnaire.item.linkId"})  # Questionnaire/qs1
