"""Which codes a binding admits, as far as the R4 definitions enumerate them.

Source: https://hl7.org/fhir/R4/terminologies.html#strength. None always means: not decided here, because the value set
is open or filtered or belongs to a code system that R4 does not carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fhir_r4 import definitions


@cache
def enumerated_systems(value_set_url: str) -> frozenset[str]:
    """The code systems that a value set takes codes from, nested value sets included."""
    compose = (definitions.value_set(value_set_url) or {}).get("compose", {})
    systems: set[str] = set()
    for include in compose.get("include", ()):
        if "system" in include:
            systems.add(include["system"])
        for address in include.get("valueSet", ()):
            systems |= enumerated_systems(address.split("|")[0])
    return frozenset(systems)


def coding_is_in(coding: Mapping[str, Any], value_set_url: str) -> bool:
    """Whether a Coding is one of an enumerated value set; without a system it is not."""
    code, system = coding.get("code"), coding.get("system")
    if type(code) is not str or type(system) is not str:
        return False
    codes = definitions.enumerated_codes(value_set_url)
    return codes is not None and code in codes and system in enumerated_systems(value_set_url)


def concept_is_in(concept: Mapping[str, Any], value_set_url: str) -> bool:
    """Whether one of the codings of a CodeableConcept is of an enumerated value set."""
    codings = concept.get("coding")
    if type(codings) is not list:
        return False
    return any(type(c) is dict and coding_is_in(c, value_set_url) for c in codings)
