"""Which messages a change of the record leads to, and what they are built of. docs/bridge.md

An invariant to keep: a change is judged by the version before it and by what else was recorded then, so looking at it again gives
the same messages.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fhir_r4.jsonio import decode_object
from fhir_server.context import Resource, Services
from fhir_server.interactions.references import references
from fhir_server.search.tree import Expression, RefersTo, TokenIs, all_of, any_of
from fhir_server.store.records import Stored
from hl7_bridge.building import adt, dft, mdm, oml, oru, siu
from hl7_bridge.building.chart import Chart
from hl7_bridge.building.people import pid
from hl7_bridge.outgoing import Outgoing

TYPES = frozenset(
    (
        "Appointment",
        "ChargeItem",
        "DiagnosticReport",
        "DocumentReference",
        "Encounter",
        "Patient",
        "ServiceRequest",
    )
)
LABORATORY = frozenset(("108252007", "laboratory", "LAB", "15220000"))
# references are followed so far: an order of a report, the place that a bed is in
DEPTH = 6
MOST = 300


class Telling:
    """Gives the messages of a change. `stored` is the version that the change made."""

    def __init__(self, services: Services, stored: Stored) -> None:
        self._services = services
        self._stored = stored

    async def messages(self) -> list[Outgoing]:
        """The messages of the change, in order; none for what is nobody's business."""
        stored = self._stored
        if stored.type not in TYPES or stored.deleted:
            return []
        now = decode_object(stored.body)
        was = await self._before(stored)
        recorded = now["meta"]["lastUpdated"]
        tell = {
            "Appointment": self._appointment,
            "ChargeItem": self._charge,
            "DiagnosticReport": self._report,
            "DocumentReference": self._document,
            "Encounter": self._encounter,
            "Patient": self._patient,
            "ServiceRequest": self._order,
        }[stored.type]
        return await tell(was, now, recorded)

    async def _before(self, stored: Stored) -> Resource | None:
        if stored.created or stored.version == 1:
            return None
        found = await self._services.store.read_version(stored.type, stored.id, stored.version - 1)
        return None if found is None or found.deleted else decode_object(found.body)

    # one for each type

    async def _encounter(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        trigger = adt.trigger_of(was, now)
        if trigger is None:
            return []
        chart = await self._chart(now, now)
        if chart is None:
            return []
        segments = adt.visit_message(chart, recorded, adt.occurred(trigger, now))
        return [_made(("ADT", trigger, adt.STRUCTURES[trigger]), segments, chart, now)]

    async def _patient(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        if was is None:
            return []
        replaced = _replacement(now)
        if replaced is not None and _replacement(was) != replaced:
            stays = await self._read({"reference": replaced})
            if stays is None:
                return []
            segments = adt.merge_message(now, stays, recorded)
            return [Outgoing(("ADT", "A40", adt.STRUCTURES["A40"]), segments, replaced, _reference(now))]
        if str(pid(was).fields) == str(pid(now).fields) or now.get("active") is False:
            return []
        present = any_of(TokenIs("status", None, status) for status in sorted(adt.PRESENT))
        of_patient = RefersTo("subject", "Patient", now["id"])
        visits = await self._find("Encounter", all_of([of_patient, present]))
        chart = Chart(now, visits[0] if visits else None, await self._known(visits[:1]))
        segments = adt.visit_message(chart, recorded)
        return [_made(("ADT", "A08", adt.STRUCTURES["A08"]), segments, chart, now)]

    async def _appointment(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        trigger = siu.trigger_of(was, now)
        if trigger is None:
            return []
        actors = [one.get("actor", {}) for one in now.get("participant", [])]
        patients = [one for one in actors if siu.type_of(one) == "Patient"]
        patient = await self._read(patients[0]) if patients else None
        chart = Chart(patient or {}, None, await self._known([now]))
        segments = siu.message(trigger, now, chart)
        return [_made(("SIU", trigger, siu.STRUCTURE), segments, chart, now)]

    async def _charge(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        chart = await self._chart(now, await self._read(now.get("context")))
        if dft.trigger_of(was, now) is None or chart is None:
            return []
        return [_made(("DFT", "P03", dft.STRUCTURE), dft.message(now, chart, recorded), chart, now)]

    async def _document(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        if mdm.trigger_of(was, now) is None:
            return []
        visits = now.get("context", {}).get("encounter", [])
        chart = await self._chart(now, await self._read(visits[0]) if visits else None)
        if chart is None:
            return []
        contents = [await self._content(one["attachment"]) for one in now.get("content", [])]
        segments = mdm.message(now, chart, recorded, [one for one in contents if one is not None])
        return [_made(("MDM", "T02", mdm.STRUCTURE), segments, chart, now)]

    async def _content(self, attachment: Mapping[str, Any]) -> tuple[str, str] | None:
        """(media type, Base64); None for what is not in this server."""
        media = attachment.get("contentType", "application/octet-stream")
        if "data" in attachment:
            return media, attachment["data"]
        found = await self._read({"reference": attachment.get("url", "")})
        if found is None or found["resourceType"] != "Binary":
            address = attachment.get("url") or attachment.get("title") or ""
            return ("text/plain", base64.b64encode(address.encode()).decode()) if address else None
        return found.get("contentType", media), found.get("data", "")

    async def _report(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        if oru.trigger_of(was, now) is None:
            return []
        chart = await self._chart(now, await self._read(now.get("encounter")))
        if chart is None:
            return []
        results = [await self._read(one) for one in now.get("result", [])]
        segments = oru.message(now, [one for one in results if one is not None], chart)
        return [_made(("ORU", "R01", oru.STRUCTURE), segments, chart, now)]

    async def _order(self, was: Resource | None, now: Resource, recorded: str) -> list[Outgoing]:
        control = oml.trigger_of(was, now)
        if control is None or not (_is_laboratory(now) or "specimen" in now):
            return []
        chart = await self._chart(now, await self._read(now.get("encounter")))
        if chart is None:
            return []
        specimens = [one for one in [await self._read(ref) for ref in now.get("specimen", [])] if one]
        made = [_made(("OML", "O21", "OML_O21"), oml.o21(now, specimens, chart, control), chart, now)]
        for specimen in specimens:
            segments = oml.o33(specimen, [now], chart, control)
            made.append(_made(("OML", "O33", "OML_O33"), segments, chart, now))
        return made

    # what is referred to

    async def _chart(self, resource: Resource, visit: Resource | None) -> Chart | None:
        """What messages about a resource are built of; None when it is about no patient of this server."""
        patient = await self._read(resource.get("subject"))
        if patient is None or patient["resourceType"] != "Patient":
            return None
        whole = [resource] if visit is None else [resource, visit]
        return Chart(patient, visit, await self._known(whole))

    async def _known(self, resources: Iterable[Resource]) -> dict[str, Resource]:
        """The resources that these refer to, and what those refer to."""
        known: dict[str, Resource] = {}
        asked = {text for one in resources for text in references(one)}
        for _ in range(DEPTH):
            keys = {key for text in asked - known.keys() if (key := _key(text)) is not None}
            if not keys or len(known) > MOST:
                break
            found = await self._services.store.read_many(sorted(keys))
            asked = set()
            for (type, id), newest in found.items():
                resource = await self._then(newest)
                if resource is None:
                    continue
                known[f"{type}/{id}"] = resource
                asked |= _followed(resource)
        return known

    async def _read(self, reference: Mapping[str, Any] | None) -> Resource | None:
        key = _key((reference or {}).get("reference", ""))
        if key is None:
            return None
        newest = await self._services.store.read(*key)
        return None if newest is None else await self._then(newest)

    async def _then(self, version: Stored) -> Resource | None:
        """A resource as it was when the change was made; as it was first, when it came later."""
        while version.sequence > self._stored.sequence and version.version > 1:
            before = await self._services.store.read_version(version.type, version.id, version.version - 1)
            if before is None:
                break
            version = before
        return None if version.deleted else decode_object(version.body)

    async def _find(self, type: str, where: Expression) -> list[Resource]:
        ids = await self._services.store.matching_ids(type, where, 10)
        found = await self._services.store.read_many([(type, id) for id in ids])
        return [decode_object(found[type, id].body) for id in ids if (type, id) in found]


# what is told of these is in what they refer to: a bed lies in a room, a role is somebody's
_FOLLOWED = ("partOf", "practitioner", "requester")


def _followed(resource: Resource) -> set[str]:
    return {resource[name].get("reference", "") for name in _FOLLOWED if isinstance(resource.get(name), dict)}


def _key(reference: str) -> tuple[str, str] | None:
    """(type, id) of a reference to a resource of this server."""
    type, slash, id = reference.partition("/")
    if not slash or not type.isalpha() or not id or "/" in id.split("/_history/")[0]:
        return None
    return type, id.split("/_history/")[0]


def _made(type: tuple[str, str, str], segments: Sequence[Any], chart: Chart, about: Resource) -> Outgoing:
    subject = _reference(chart.patient) if chart.patient else ""
    return Outgoing(type, segments, subject, _reference(about))


def _reference(resource: Mapping[str, Any]) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _replacement(patient: Resource) -> str | None:
    links = [one["other"].get("reference") for one in patient.get("link", []) if one["type"] == "replaced-by"]
    return links[0] if links else None


def _is_laboratory(request: Resource) -> bool:
    codings = [coding for one in request.get("category", []) for coding in one.get("coding", [])]
    return any(one.get("code") in LABORATORY for one in codings)
