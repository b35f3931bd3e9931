"""What a result belongs to in the records: its specimen, its orders and its patient.

A patient is found by the identifiers of the message, or by the specimen or order that the result names. An invariant to keep:
nothing is matched by a name, and where message and specimen name different patients the message waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hl7_bridge.delivery import Query, Resource
from hl7_bridge.mapping.datatypes.identifiers import SHIPMENT, authority, entity, identifier, type_of
from hl7_bridge.mapping.draft import Draft, Held, Problem, token
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.results.events import Reported, Results, Sampled
from hl7_bridge.mapping.segments.pid import create_patient, find_patient, new_patient, survivor
from hl7_bridge.message import NULL

# Orders that a result can still be for.
OPEN_ORDERS = frozenset({"draft", "active", "on-hold", "completed", "unknown"})


@dataclass(slots=True)
class Anchors:
    """Specimens and orders by number, as far as the server has them."""

    specimens: list[Resource] = field(default_factory=list)
    orders: list[Resource] = field(default_factory=list)

    def specimen(self, sampled: Sampled) -> Resource | None:
        """The specimen of this number. Raises Held when several patients have one."""
        if not self.specimens:
            return None
        numbers = numbers_of(sampled)
        found = [one for one in self.specimens if numbers & specimen_numbers(one)]
        if len(found) > 1 and len({_subject(one) for one in found}) > 1:
            raise Held(
                Problem(
                    "ambiguous-identifier",
                    "Specimens of several patients have this number.",
                    "SPM-2",
                    sampled.number,
                    True,
                )
            )
        return found[0] if found else None

    def orders_of(self, report: Reported, specimen: Resource | None) -> list[Resource]:
        """The orders that a report can be for: by placer or filler number, else those of its specimen."""
        if not self.orders:
            return []
        told = {number for number in (report.placer.text(1).strip(), report.filler.text(1).strip()) if number}
        found = [one for one in self.orders if told & order_numbers(one)]
        if not found:
            numbers = {number for sampled in report.specimens for number in numbers_of(sampled)}
            here = f"Specimen/{specimen['id']}" if specimen is not None else None
            found = [
                one
                for one in self.orders
                if numbers & order_numbers(one)
                or (here is not None and any(s.get("reference") == here for s in one.get("specimen", [])))
            ]
        return [one for one in found if one.get("status") in OPEN_ORDERS]


def numbers_of(sampled: Sampled) -> set[str]:
    """All numbers by which a specimen is told."""
    return {number for number in (sampled.number, *sampled.identifiers) if number}


def specimen_numbers(specimen: Mapping[str, Any]) -> set[str]:
    """All numbers by which a Specimen is known."""
    told = [one for one in specimen.get("identifier", []) if type_of(one) != SHIPMENT]
    if "accessionIdentifier" in specimen:
        told.append(specimen["accessionIdentifier"])
    for container in specimen.get("container", []):
        told += container.get("identifier", [])
    return {one["value"] for one in told if "value" in one}


def order_numbers(order: Mapping[str, Any]) -> set[str]:
    """All numbers by which a ServiceRequest is known."""
    told = [*order.get("identifier", [])]
    if "requisition" in order:
        told.append(order["requisition"])
    return {one["value"] for one in told if "value" in one}


async def find_anchors(event: Results, draft: Draft, context: Context) -> Anchors:
    """The specimens and orders that the reports of an event name."""
    system = context.profile.specimen.system
    anchors = Anchors()
    samples = {n for report in event.reports for one in report.specimens for n in numbers_of(one)}
    orders = {
        number
        for report in event.reports
        for value in (report.placer, report.filler)
        if (number := value.text(1).strip()) not in ("", NULL)
    }
    if samples:
        anchors.specimens = await draft.find("Specimen", _any(sorted(samples), system))
        if not anchors.specimens:
            anchors.specimens = await draft.find("Specimen", _any(sorted(samples), system, "accession"))
    if samples | orders:
        numbers = sorted(samples | orders)
        anchors.orders = await draft.find("ServiceRequest", _any(numbers), 100)
        if not anchors.orders and anchors.specimens:
            here = ",".join(f"Specimen/{one['id']}" for one in anchors.specimens)
            anchors.orders = await draft.find("ServiceRequest", [("specimen", here)], 100)
        if not anchors.orders:
            anchors.orders = await draft.find("ServiceRequest", _any(numbers, "", "requisition"), 100)
    return anchors


async def find_subject(event: Results, anchors: Anchors, draft: Draft, context: Context) -> str:
    """The reference to the patient of an event. Raises Held when nobody, or more than one, is meant."""
    rule = context.profile.patient
    linked = _linked(event, anchors)
    if len(linked) > 1:
        raise Held(
            Problem(
                "ambiguous-identifier",
                "The specimens and orders are those of several patients.",
                "",
                "",
                True,
            )
        )
    if rule.match == "identifier" and rule.paths:
        return await _by_number(event, linked, draft, context)
    person = event.subject.segment
    told = rule.match == "identifier" and any(
        one.text(1).strip() not in ("", NULL) for one in event.subject.identifiers
    )
    if told and person is not None:
        found = await find_patient(person, draft, context)
        if found is not None:
            reference = f"Patient/{found['id']}"
            if linked and not await _same(linked, found, draft):
                raise Held(
                    Problem(
                        "ambiguous-identifier",
                        "The patient of the message is not the patient of the specimen or order.",
                        "PID-3",
                        person.text(3),
                        True,
                    )
                )
            return reference
        if rule.unmatched == "create":
            return create_patient(new_patient(person, draft, context), draft)
        raise Held(_unmatched_patient(event, context))
    if linked:
        return next(iter(linked))
    raise Held(_unmatched(event, context))


async def _by_number(event: Results, linked: set[str], draft: Draft, context: Context) -> str:
    """The patient by the number that the profile tells to look for."""
    number, system = event.subject.number, context.profile.patient.system
    if not number:
        if linked:
            return next(iter(linked))
        raise Held(_unmatched(event, context))
    found = {}
    for one in await draft.find("Patient", _any([number], system), 10):
        surviving = await survivor(one, draft)
        found[surviving["id"]] = surviving
    problem = ""
    if len(found) > 1:
        problem = "Several patients have this number."
    elif found and linked and not await _same(linked, next(iter(found.values())), draft):
        problem = "The patient of the message is not the patient of the specimen or order."
    if problem:
        raise Held(Problem("ambiguous-identifier", problem, "PID-3", number, True))
    if not found:
        value = f"{system or authority('', '', '', context)}|{number}"
        raise Held(
            Problem("unmatched-patient", "No patient has the number of the message.", "PID-3", value, True)
        )
    return f"Patient/{next(iter(found))}"


def _linked(event: Results, anchors: Anchors) -> set[str]:
    """The patients that the specimens and orders belong to."""
    found: set[str] = set()
    if not anchors.specimens and not anchors.orders:
        return found
    for report in event.reports:
        specimens = [one for sampled in report.specimens if (one := anchors.specimen(sampled)) is not None]
        first = specimens[0] if specimens else None
        for one in (*specimens, *anchors.orders_of(report, first)):
            reference = _subject(one)
            if reference.startswith("Patient/"):
                found.add(reference)
    return found


async def _same(linked: set[str], patient: Resource, draft: Draft) -> bool:
    """Whether a specimen's patient is this one, or has been merged into it."""
    (reference,) = linked
    if reference == f"Patient/{patient['id']}":
        return True
    found = await draft.find("Patient", [("_id", reference.rpartition("/")[2])])
    return bool(found) and (await survivor(found[0], draft))["id"] == patient["id"]


def _unmatched_patient(event: Results, context: Context) -> Problem:
    first = next(
        (made for one in event.subject.identifiers if (made := identifier(one, context)) is not None), None
    )
    value = "" if first is None else f"{first['system']}|{first['value']}"
    return Problem("unmatched-patient", "No patient has the identifier of the message.", "PID-3", value, True)


def _unmatched(event: Results, context: Context) -> Problem:
    number = next((one.number for report in event.reports for one in report.specimens if one.number), "")
    if number:
        system = specimen_system(context)
        return Problem(
            "unmatched-specimen",
            "No specimen or order has the number of the message.",
            "SPM-2",
            f"{system}|{number}",
            True,
        )
    for report in event.reports:
        for path, value in (("OBR-2", report.placer), ("OBR-3", report.filler)):
            made = entity(value, context)
            if made is not None:
                text = "No order has the number of the message."
                told = f"{made['system']}|{made['value']}"
                return Problem("unmatched-specimen", text, path, told, True)
    return Problem(
        "unmatched-patient", "The message names neither patient, specimen nor order.", "", "", True
    )


def specimen_system(context: Context) -> str:
    """The identifier system of specimens' numbers: the profile's, else the connection's own."""
    return context.profile.specimen.system or authority("", "", "", context)


def _subject(resource: Mapping[str, Any]) -> str:
    reference: str = resource.get("subject", {}).get("reference", "")
    return reference


def _any(numbers: Iterable[str], system: str = "", parameter: str = "identifier") -> Query:
    """A search for any of these numbers; in any system when none is given."""
    lead = f"{token(system)}|" if system else ""
    return [(parameter, ",".join([f"{lead}{token(number)}" for number in numbers]))]
