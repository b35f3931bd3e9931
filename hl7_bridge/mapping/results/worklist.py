"""The work that waits for a specimen: active orders, in the codes of the device that asks.

An invariant to keep: a device is told of what it can do alone; an order for another bench is not its work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.draft import Draft
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results.anchors import find_anchors
from hl7_bridge.mapping.results.codes import LOINC
from hl7_bridge.mapping.results.events import Reported, Results, Sampled, Subject

_PRIORITIES = {"stat": "S", "asap": "A", "urgent": "A"}
_KINDS = "http://terminology.hl7.org/CodeSystem/v2-0487"
# So many orders are told at once to a device that asks for all there are.
MOST = 100


@dataclass(frozen=True, slots=True)
class Work:
    """One order for a device: its number, its test as (code, text, system), its specimen, and its patient."""

    number: str
    code: tuple[str, str, str]
    specimen: str
    kind: str
    kind_name: str
    priority: str
    patient: Resource
    order: Resource


async def find_work(number: str, draft: Draft, context: Context) -> list[Work]:
    """The active orders of the specimen with this number, those that the device can do."""
    sampled = Sampled(number=number)
    report = Reported(specimens=[sampled])
    anchors = await find_anchors(Results(Subject(), [report]), draft, context)
    specimen = anchors.specimen(sampled)
    found = [one for one in anchors.orders_of(report, specimen) if one.get("status") == "active"]
    return await _work(found, number, specimen, draft, context.profile)


async def find_all_work(draft: Draft, context: Context) -> list[Work]:
    """The active orders that the device can do, as far as their specimens are known."""
    codes = sorted({test.loinc for test in context.profile.tests if test.loinc})
    if not codes and context.profile.tests:
        return []
    query = [("status", "active"), ("specimen:missing", "false")]
    if codes:
        query = [("status", "active"), ("code", ",".join(f"{LOINC}|{code}" for code in codes))]
    found: list[Work] = []
    for order in await draft.find("ServiceRequest", query, MOST):
        specimens = [one.get("reference", "") for one in order.get("specimen", [])]
        id = next((one.rpartition("/")[2] for one in specimens if one.startswith("Specimen/")), "")
        specimen = next(iter(await draft.find("Specimen", [("_id", id)], 1)), None) if id else None
        numbers = [one["value"] for one in (specimen or {}).get("identifier", []) if "value" in one]
        if numbers:
            found += await _work([order], numbers[0], specimen, draft, context.profile)
    return found


async def _work(
    orders: Iterable[Resource], number: str, specimen: Resource | None, draft: Draft, profile: Profile
) -> list[Work]:
    found = []
    kind, kind_name = _kind(specimen)
    for order in sorted(orders, key=lambda one: (one.get("authoredOn", ""), one["id"])):
        patient = await _patient(order, draft)
        for code in codes_for(order, profile, kind):
            priority = _PRIORITIES.get(order.get("priority", ""), "R")
            found.append(Work(_number(order), code, number, kind, kind_name, priority, patient, order))
    return found


def codes_for(order: Resource, profile: Profile, specimen: str = "") -> list[tuple[str, str, str]]:
    """The tests of the device for an order; what the order says where the profile lists no tests."""
    codings: list[dict[str, Any]] = order.get("code", {}).get("coding", [])
    if not profile.tests:
        return [_told(codings[0], order)] if codings else []
    told = {coding["code"] for coding in codings if coding.get("system") == LOINC and "code" in coding}
    own = {coding["code"] for coding in codings if coding.get("system") != LOINC and "code" in coding}
    return [
        (test.code, test.display or next(iter(test.aliases), test.code), "L")
        for test in profile.tests
        if (test.loinc in told or test.code in own or own & {*test.aliases})
        and (not test.specimens or not specimen or specimen in test.specimens)
    ]


def _told(coding: dict[str, Any], order: Resource) -> tuple[str, str, str]:
    text = coding.get("display") or order.get("code", {}).get("text", "")
    return coding.get("code", ""), text, "LN" if coding.get("system") == LOINC else "L"


def _number(order: Resource) -> str:
    """The placer's number of the order, else any, else its id."""
    identifiers = [one for one in order.get("identifier", []) if "value" in one]

    def rank(one: dict[str, Any]) -> int:
        codes = {coding.get("code") for coding in one.get("type", {}).get("coding", [])}
        return 0 if "PLAC" in codes else 1

    return str(min(identifiers, key=rank)["value"]) if identifiers else str(order["id"])


def _kind(specimen: Resource | None) -> tuple[str, str]:
    codings = (specimen or {}).get("type", {}).get("coding", [])
    for coding in codings:
        if coding.get("system") == _KINDS:
            return coding.get("code", ""), coding.get("display", "")
    return (codings[0].get("code", ""), codings[0].get("display", "")) if codings else ("", "")


async def _patient(order: Resource, draft: Draft) -> Resource:
    id = order.get("subject", {}).get("reference", "").rpartition("/")[2]
    found = await draft.find("Patient", [("_id", id)], 1) if id else []
    return found[0] if found else {}
