"""Roles, services, devices, places and organisations whose rules make no sense are refused, on every way to a write."""

from __future__ import annotations

import pytest

from tests.scheduling.clinic import BERLIN, found, furnish
from tests.scheduling.desk import RULES, Desk, ref

BAD = {"url": RULES, "extension": [{"url": "holidays", "valueCode": "Atlantis"}]}
NOWHERE = {"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "Europe/Nowhere"}


@pytest.mark.parametrize(
    "type", ["PractitionerRole", "HealthcareService", "Device", "Location", "Organization"]
)
@pytest.mark.parametrize("extension", [BAD, NOWHERE])
async def test_rules_that_make_no_sense_are_refused_where_they_are_stated(
    desk: Desk, type: str, extension: dict
):
    resource = {"resourceType": type, "id": "x", "name": "x", "extension": [extension]}
    if type in ("Device", "PractitionerRole"):
        del resource["name"]
    response = await desk.put_json(f"{type}/x", resource)
    assert response.status_code == 422, response.text
    entry = {"resource": resource, "request": {"method": "PUT", "url": f"{type}/x"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert (await desk.post_json("", bundle)).status_code == 422


async def test_rules_that_make_sense_are_accepted(desk: Desk):
    await furnish(desk)
    role = await desk.read("PractitionerRole/ra")
    await desk.put_ok({**role, "extension": [BERLIN]})
    assert len(await found(desk, "2026-03-03", "2026-03-03", schedule=ref("Schedule/sa"))) == 6
