"""What must hold for an active SearchParameter, and what it claims. https://hl7.org/fhir/R4/searchparameter.html

Draft and retired ones are kept as they are: nobody searches by them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Services
from fhir_server.search.custom import definition_of, is_active, problems_of, says_what_is_known
from fhir_server.search.parameters import Parameters
from fhir_server.store.records import Claim


def check_search_parameter(resource: Mapping[str, Any], services: Services) -> None:
    """Refuse a parameter that could not be searched. Raises BusinessRule with every reason."""
    if is_active(resource):
        registry = services.registry
        problems = problems_of(resource, registry.current.custom, registry.standard)
        if problems:
            raise BusinessRule(problems[0].diagnostics, issues=problems)


def parameter_claims(resource: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The places that an active SearchParameter takes: each (base, code) has one definition besides the standard's."""
    if not is_active(resource):
        return ()
    definition = definition_of(resource)
    if says_what_is_known(definition, Parameters()):
        return ()
    return tuple(Claim(f"search-parameter:{base}|{definition.code}") for base in sorted(set(definition.base)))
