"""What must hold for resources beyond their structure, by resource type.

A rule is a function of the resource that raises BusinessRule or InvalidResource; the table is filled as hospital work
is built. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Mapping[str, Any]], None]


RULES: Mapping[str, tuple[Rule, ...]] = {}


def check_rules(resource: Mapping[str, Any]) -> None:
    """Apply every rule of the resource's type. Raises what the rule raises."""
    for rule in RULES.get(resource["resourceType"], ()):
        rule(resource)
