"""The OperationDefinitions of wards say where the operations are offered, and the extensions that are written are defined."""

from __future__ import annotations

import re
from pathlib import Path

import fhir_server
from fhir_server.resources.beds.wards import violations
from profiles.ig.conformance import DEFINITIONS, load_definitions

SOURCES = [*Path(fhir_server.__file__).parent.glob("*/beds/*.py")]


def test_extensions_that_beds_use_are_defined() -> None:
    defined = {d["id"] for d in load_definitions(DEFINITIONS) if d["resourceType"] == "StructureDefinition"}
    used = {
        name
        for source in SOURCES
        for name in re.findall(r'OSLER \+ "([\w-]+)"', source.read_text(encoding="utf-8"))
    }
    assert len(used) > 10
    assert used <= defined


def test_every_rule_has_a_code() -> None:
    (system,) = [d for d in load_definitions(DEFINITIONS) if d.get("id") == "ward-rule"]
    codes = {concept["code"] for concept in system["concept"]}
    used = {
        rule
        for source in SOURCES
        for rule in re.findall(r'Violation\(\s*"([\w-]+)"', source.read_text(encoding="utf-8"))
    }
    assert used == codes
    assert violations.__module__.endswith("wards")
