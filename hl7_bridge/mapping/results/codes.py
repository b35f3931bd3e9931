"""The codes of results: LOINC beside what the device says, by the profile or by what people have mapped.

People map codes into a ConceptMap for each profile, shaped as LIVD (https://hl7.org/fhir/uv/livd/): the code of the test and, as
`dependsOn`, the specimen. An invariant to keep: the device's own code and text always stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.devices.profile import Profile, Test
from hl7_bridge.mapping.draft import Draft

LOINC = "http://loinc.org"
CODES = "https://osler.health/fhir/ConceptMap/hl7-codes-"
UNITS = "https://osler.health/fhir/ConceptMap/hl7-units-"
# Systems that everyone knows; their codes wait for nobody.
_LOCAL = ("https://osler.health/fhir/hl7v2/",)

Coding = dict[str, Any]
# the source of a group that holds for one field alone, other than OBX-3: the path of the field follows
FIELD = "https://osler.health/fhir/hl7v2/field/"


def by_field(told: Resource | None) -> dict[tuple[str, str], Coding]:
    """What a ConceptMap says of the codes of single fields: (PID-8, W) -> Coding."""
    found: dict[tuple[str, str], Coding] = {}
    for group in told.get("group", []) if told is not None else []:
        source = group.get("source", "")
        if not source.startswith(FIELD):
            continue
        for element in group.get("element", []):
            for target in element.get("target", []):
                if "code" in target and target.get("equivalence") not in ("unmatched", "disjoint"):
                    coding = {"system": group.get("target", LOINC), "code": target["code"]}
                    if "display" in target:
                        coding["display"] = target["display"]
                    found.setdefault((source.removeprefix(FIELD), element.get("code", "")), coding)
    return found


def codes_url(profile: Profile) -> str:
    """The address of the ConceptMap of a profile's codes."""
    return CODES + profile.name


def units_url(profile: Profile) -> str:
    """The address of the ConceptMap of a profile's units: from what the device writes to UCUM."""
    return UNITS + profile.name


async def concept_map(url: str, draft: Draft) -> Resource | None:
    """The ConceptMap at an address; None when nobody has mapped anything yet."""
    found = await draft.find("ConceptMap", [("url", url)], 1)
    return found[0] if found else None


def mapped(told: Resource | None, code: str, system: str = "", specimen: str = "") -> list[Coding]:
    """What a ConceptMap says of a code, of the specimen's type before any; equivalence and wideness as it is."""
    found: list[Coding] = []
    general: list[Coding] = []
    for group in told.get("group", []) if told is not None else []:
        source = group.get("source")
        if source is not None and (source.startswith(FIELD) or (system and source != system)):
            continue
        for element in group.get("element", []):
            if element.get("code") != code:
                continue
            for target in element.get("target", []):
                if "code" not in target or target.get("equivalence") in ("unmatched", "disjoint"):
                    continue
                coding = {"system": group.get("target", LOINC), "code": target["code"]}
                if "display" in target:
                    coding["display"] = target["display"]
                needs = [one.get("value") for one in target.get("dependsOn", [])]
                if not needs:
                    general.append(coding)
                elif specimen and specimen in needs:
                    found.append(coding)
    return found or general


def is_local(concept: Mapping[str, Any]) -> bool:
    """Whether all its codes are the sender's own."""
    codings = concept.get("coding", [])
    return all(coding.get("system", "").startswith(_LOCAL) for coding in codings)


def has_loinc(concept: Mapping[str, Any]) -> bool:
    return any(coding.get("system") == LOINC for coding in concept.get("coding", []))


def with_codings(concept: Mapping[str, Any], codings: list[Coding]) -> dict[str, Any]:
    """The concept with codings in front of its own."""
    made = {**concept, "coding": [*codings, *concept.get("coding", [])]}
    if "text" not in made and codings and "display" in codings[0]:
        made["text"] = codings[0]["display"]
    return made


def of_test(test: Test) -> list[Coding]:
    """The LOINC of a profile's row, if it has one."""
    if not test.loinc:
        return []
    coding = {"system": LOINC, "code": test.loinc}
    if test.display:
        coding["display"] = test.display
    return [coding]
