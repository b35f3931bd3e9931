"""What must hold for resources beyond their structure, by resource type.

A rule is a function of the resource, and of what is in force, that raises BusinessRule or InvalidResource; the table is
filled as hospital work is built. Pure: a rule asks no store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_server.context import Services
from fhir_server.resources.scheduling.stating import STATING, check_stated_rules
from fhir_server.resources.search_parameter import check_search_parameter

Rule = Callable[[Mapping[str, Any], Services], None]


RULES: Mapping[str, tuple[Rule, ...]] = {
    "SearchParameter": (check_search_parameter,),
    **dict.fromkeys(STATING, (check_stated_rules,)),
}


def check_rules(resource: Mapping[str, Any], services: Services) -> None:
    """Apply every rule of the resource's type. Raises what the rule raises."""
    for rule in RULES.get(resource["resourceType"], ()):
        rule(resource, services)
