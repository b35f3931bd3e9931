"""What must hold for a resource on which Schedules stand: the rules and hours that it states make sense.

So one role that is written wrong does not take all free times away. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_server.context import Services
from fhir_server.resources.scheduling.rules import RULES, TIMEZONE, schedule_rules

STATING = ("PractitionerRole", "HealthcareService", "Device", "Location", "Organization")
_HOURS = ("availableTime", "notAvailable", "hoursOfOperation")


def check_stated_rules(resource: Mapping[str, Any], services: Services) -> None:
    """Raise BusinessRule when a Schedule that stands on the resource alone would make no sense."""
    stated = any(e.get("url") in (RULES, TIMEZONE) for e in resource.get("extension", ()))
    if not stated and not any(name in resource for name in _HOURS):
        return
    address = f"{resource['resourceType']}/{resource.get('id', '0')}"
    schedule = {"resourceType": "Schedule", "id": "0", "actor": [{"reference": address}]}
    schedule_rules(schedule, {address: dict(resource)}, services.settings.default_timezone)
