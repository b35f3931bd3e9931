"""Whether the samples of a profile become what the profile says: the test that it must pass before it is used.

An invariant to keep: samples are mapped by the very functions that map what devices send; only the records are made up.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from hl7_bridge.delivery import Query, Resource
from hl7_bridge.devices.profile import Profile, Sample
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.draft import Draft, Held
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.mapping.results.codes import LOINC
from hl7_bridge.mapping.results.grouping import results_of
from hl7_bridge.mapping.results.writing import write_results
from hl7_bridge.message import NotHl7, parse

PATIENT = {"resourceType": "Patient", "id": "sample", "meta": {"versionId": "1"}}


class Records:
    """Records that have one patient, to whom every number belongs, and nothing else."""

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        if type == "Patient":
            return [PATIENT]
        if type == "Specimen" and query[0][0] == "identifier":
            numbers = [token.rpartition("|")[2] for token in query[0][1].split(",")]
            return [
                {
                    "resourceType": "Specimen",
                    "id": "sample",
                    "identifier": [{"value": number} for number in numbers],
                    "subject": {"reference": "Patient/sample"},
                }
            ]
        return []

    async def read(self, type: str, id: str) -> Resource | None:
        return None

    async def deliver(self, bundle: Resource) -> Resource:
        raise NotImplementedError("samples are written nowhere")


def mapped(profile: Profile, raw: bytes) -> Draft:
    """The draft of a message's results, with made-up records. Raises Held and NotHl7."""
    message = parse(raw, profile.transport.charsets)
    draft = Draft(Records(), "sample")
    if classify(message, profile).kind == "result":
        context = Context(
            profile, Receipt("sample", "sample", 0, raw), ZoneInfo(profile.zone) if profile.zone else UTC
        )
        for event in results_of(message, profile):
            _run(write_results(event, draft, context))
    return draft


def failures(profile: Profile, sample: Sample) -> list[str]:
    """What a sample did not become that it should have, or did that it should not."""
    return [f"{sample.name}: {told}" for told in _failures(profile, sample)]


def _failures(profile: Profile, sample: Sample) -> Iterator[str]:
    try:
        message = parse(sample.message, profile.transport.charsets)
    except NotHl7 as error:
        yield str(error)
        return
    kind = classify(message, profile).kind
    if kind != sample.kind:
        yield f"it is {kind}, not {sample.kind}"
    if sample.specimen is not None and kind in ("result", "order"):
        events = results_of(message, profile)
        numbers = {one.number for event in events for report in event.reports for one in report.specimens}
        if numbers != {sample.specimen}:
            yield f"the specimen is {sorted(numbers)}, not {sample.specimen!r}"
    try:
        draft = mapped(profile, sample.message)
    except Held as held:
        yield f"it is held: {held.problem.text} ({held.problem.path})"
        return
    found = dict(_observations(draft))
    for code in found.keys() | sample.results.keys():
        if code not in sample.results:
            yield f"{code} is a result that is not expected"
        elif code not in found:
            yield f"{code} is no result"
        else:
            yield from _differences(code, found[code], sample.results[code])
    problems = sorted({problem.reason for problem in draft.problems})
    if problems != sorted(set(sample.problems)):
        texts = "; ".join(f"{one.path}: {one.text}" for one in draft.problems[:3])
        yield f"the problems are {problems}, not {sorted(sample.problems)} ({texts})"


def _observations(draft: Draft) -> Iterator[tuple[str, Resource]]:
    """Observations by the code of the device."""
    for entry in draft.entries:
        resource = entry.resource
        if resource is not None and resource["resourceType"] == "Observation":
            codings = resource["code"].get("coding", [])
            code = codings[-1]["code"] if codings else resource["code"].get("text", "")
            yield code, resource


def summary(observation: Mapping[str, Any]) -> dict[str, Any]:
    """What a sample says of a result, of what it became."""
    told: dict[str, Any] = {"status": observation["status"]}
    for coding in observation["code"].get("coding", []):
        if coding.get("system") == LOINC:
            told["loinc"] = coding["code"]
            break
    quantity = observation.get("valueQuantity")
    if quantity is not None:
        told["value"] = f"{quantity.get('comparator', '')}{quantity['value']}"
        if "unit" in quantity:
            told["unit"] = quantity.get("code", quantity["unit"])
    if "valueString" in observation:
        told["text"] = observation["valueString"]
    if "valueCodeableConcept" in observation:
        concept = observation["valueCodeableConcept"]
        told["word"] = concept["coding"][0]["code"] if concept.get("coding") else concept.get("text", "")
    if "dataAbsentReason" in observation:
        told["absent"] = observation["dataAbsentReason"]["coding"][0]["code"]
    flags = [
        one["coding"][0]["code"] if "coding" in one else one["text"]
        for one in observation.get("interpretation", [])
    ]
    if flags:
        told["flags"] = flags
    if "referenceRange" in observation:
        told["range"] = observation["referenceRange"][0]["text"]
    if "note" in observation:
        told["note"] = "\n".join(one["text"] for one in observation["note"])
    return told


def _differences(code: str, found: Resource, expected: Mapping[str, object]) -> Iterator[str]:
    told = summary(found)
    for name, wanted in expected.items():
        if told.get(name) != wanted:
            yield f"{code}: {name} is {told.get(name)!r}, not {wanted!r}"
    more = {"value", "text", "word", "absent"} & told.keys() - expected.keys()
    if more and {"value", "text", "word", "absent"} & expected.keys():
        yield f"{code}: it also has {sorted(more)}"


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits: made-up records answer at once."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("a sample's mapping waits for something")
