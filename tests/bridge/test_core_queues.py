"""People resolve what waits: by Task/$resolve, and what waited is mapped in order, once; on both stores."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.bridge.awaited import Awaited
from hl7_bridge.bridge import Known
from hl7_bridge.devices.profile import Profile, ResultRules
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.reasons import REASON_SYSTEM, REASONS
from hl7_bridge.work import field_of, input_of
from profiles.ig.conformance import DEFINITIONS, load_definitions
from tests.bridge.core import SYSTEM, House, house, oru, until
from tests.conftest import Client


async def resolve(lab: House, task: dict[str, Any], action: str, **more: Any) -> Any:
    parameters = [{"name": "action", "valueCode": action}]
    parameters += [{"name": name, **value} for name, value in more.items()]
    body = {"resourceType": "Parameters", "parameter": parameters}
    return await lab.client.post_json(f"Task/{task['id']}/$resolve", body)


async def only_task(lab: House) -> dict[str, Any]:
    (task,) = await lab.tasks()
    return task


async def test_linking_a_patient_maps_all_that_waited_in_order_and_once(client: Client) -> None:
    async with house(client) as lab:
        for n in range(10):
            await lab.send(oru("S0", str(n), patient="P9"))
        assert await lab.quiet() == {"held": 10}
        made = await client.post_json("Patient", {"resourceType": "Patient"})
        reference = {"reference": f"Patient/{made.json()['id']}"}
        answer = await resolve(lab, await only_task(lab), "link", reference={"valueReference": reference})
        assert answer.status_code == 200, answer.text
        assert await until(lab.states, lambda states: states == {"mapped": 10}, seconds=5)
        assert await lab.values("S0") == [str(n) for n in range(10)]
        patient = (await client.get(f"Patient/{made.json()['id']}")).json()
        assert patient["identifier"] == [{"system": SYSTEM, "value": "P9"}]
        await until(lab.tasks, lambda tasks: [t["status"] for t in tasks] == ["completed"])
        (told,) = (
            await client.get("Provenance", params={"target": f"Task/{(await only_task(lab))['id']}"})
        ).json()["entry"]
        assert told["resource"]["activity"]["coding"][0]["code"] == "link"
        assert told["resource"]["agent"][0]["who"]["display"] == "anonymous"


async def test_a_patient_who_is_registered_later_has_what_waited(client: Client) -> None:
    async with house(client) as lab:
        awaited = Awaited(client.app.services, "owner-awaited")
        await awaited.start()
        try:
            await lab.send(oru("S0", "1", patient="P9"))
            assert await lab.quiet() == {"held": 1}
            other = {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": "P8"}]}
            await client.post_json("Patient", other)
            mine = {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": "P9"}]}
            await client.post_json("Patient", mine)
            assert await until(lab.states, lambda states: states == {"mapped": 1}, seconds=10)
        finally:
            await awaited.close()
        assert await lab.values("S0") == ["1"]
        (task,) = await until(lab.tasks, lambda tasks: [t["status"] for t in tasks] == ["completed"])
        assert "has the identifier now" in task["statusReason"]["text"]


async def test_a_code_that_is_mapped_is_in_the_map_of_the_profile(client: Client) -> None:
    async with house(client) as lab:
        await lab.send(oru("S0", "1", code="?NEW"))
        await lab.quiet()
        coding = {"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}
        answer = await resolve(lab, await only_task(lab), "map-code", coding={"valueCoding": coding})
        assert answer.status_code == 200, answer.text
        (entry,) = (await client.get("ConceptMap", params={"_id": "hl7-codes-generic"})).json()["entry"]
        (group,) = entry["resource"]["group"]
        assert group["target"] == "http://loinc.org"
        assert [e["code"] for e in group["element"]] == ["?NEW"]


async def test_what_is_discarded_needs_a_reason_and_is_given_up(client: Client) -> None:
    async with house(client) as lab:
        await lab.send(oru("S0", "1", patient="P9"))
        await lab.send(oru("S1", "2", patient="P9"))
        await lab.quiet()
        task = await only_task(lab)
        assert (await resolve(lab, task, "discard")).status_code == 400
        answer = await resolve(lab, task, "discard", reason={"valueString": "A test of the device."})
        assert answer.status_code == 200, answer.text
        assert await until(lab.states, lambda states: states == {"discarded": 2}, seconds=5)
        assert await lab.values("S0") == []
        tasks = await until(lab.tasks, lambda tasks: [t["status"] for t in tasks] == ["completed"])
        assert tasks[0]["statusReason"]["text"] == "A test of the device."


async def test_a_dead_letter_is_mapped_when_its_cause_is_gone(client: Client) -> None:
    async with house(client) as lab:
        await lab.send(oru("S0", "1", code="REFUSED"))
        await lab.quiet()
        task = await only_task(lab)
        assert (await resolve(lab, task, "replay")).status_code == 200

        async def version() -> int:
            return int((await only_task(lab))["meta"]["versionId"])

        await until(version, lambda found: found > 2)
        assert await lab.quiet() == {"dead-letter": 1}
        assert (await only_task(lab))["status"] == "requested"


async def test_a_message_that_is_mapped_is_mapped_again_when_it_is_asked_for(client: Client) -> None:
    async with house(client) as lab:
        await lab.send(oru("S0", "1"))
        await lab.quiet()
        (entry,) = (await client.get("Binary", params={"_tag": "mapped"})).json()["entry"]
        body = {"resourceType": "Parameters"}
        answer = await client.post_json(f"Binary/{entry['resource']['id']}/$replay", body)
        assert answer.status_code == 200, answer.text
        await until(lambda: lab.values("S0"), lambda values: values == ["1", "1"])
        assert await lab.quiet() == {"mapped": 1}


@pytest.mark.parametrize(
    ("action", "more"),
    [
        ("map-code", {"coding": {"valueCoding": {"system": "s", "code": "c"}}}),
        ("link", {"reference": {"valueReference": {"reference": "Observation/1"}}}),
        ("link", {"reference": {"valueReference": {"reference": "Patient/nobody"}}}),
        ("link", {}),
        ("choose", {"choice": {"valueCode": "arrived"}}),
        ("guess", {}),
    ],
)
async def test_what_is_no_answer_to_the_task_is_refused(
    start_server: Any, action: str, more: dict[str, Any]
) -> None:
    client = await start_server()
    async with house(client) as lab:
        await lab.send(oru("S0", "1", patient="P9"))
        await lab.quiet()
        answer = await resolve(lab, await only_task(lab), action, **more)
        assert answer.status_code in (400, 422)
        assert (await only_task(lab))["status"] == "requested"


async def test_other_tasks_cannot_be_resolved(start_server: Any) -> None:
    client = await start_server()
    async with house(client) as lab:
        made = await client.post_json(
            "Task", {"resourceType": "Task", "status": "requested", "intent": "order"}
        )
        answer = await resolve(lab, made.json(), "replay")
        assert answer.status_code == 422
        assert (await resolve(lab, {"id": "nothing"}, "replay")).status_code == 404


def test_the_reasons_of_tasks_are_defined() -> None:
    (system,) = [d for d in load_definitions(DEFINITIONS) if d["url"] == REASON_SYSTEM]
    assert {c["code"]: c["display"] for c in system["concept"]} == {c: w for c, (w, _) in REASONS.items()}
    assert system["count"] == len(REASONS)


GENDER = "http://hl7.org/fhir/administrative-gender"
ASKS = Profile(results=ResultRules(asks=("OBR-4", "OBX-5", "SPM-4")))
ASKED = Known(MAPPINGS, classify, {"generic": ASKS})
PATIENT = "PID|1||P1^^^HOUSE^MR||Doe^Jane||19700203|F"
# (message, the field that is asked about, what it is mapped to, where that stands then)
FIELDS = [
    ("ORU^R01", "OBR-4", "PANEL", ("http://loinc.org", "24323-8"), ("DiagnosticReport", "code")),
    ("ORU^R01", "SPM-4", "XBLOOD", ("http://snomed.info/sct", "119297000"), ("Specimen", "type")),
    (
        "ORU^R01",
        "OBX-5",
        "WORD",
        ("http://snomed.info/sct", "260385009"),
        ("Observation", "valueCodeableConcept"),
    ),
    ("ORM^O01", "OBR-4", "PANEL", ("http://loinc.org", "24323-8"), ("ServiceRequest", "code")),
]
BODIES = {
    "ORU^R01": (
        "OBR|1||F1|PANEL^A panel^L|||||||||||||||||||||F",
        "OBX|1|CE|6690-2^Test^LN||WORD^A word^L||||||F",
        "SPM|1|S1||XBLOOD^Blood^L",
    ),
    "ORM^O01": ("ORC|NW|O1", "OBR|1|O1||PANEL^A panel^L"),
}


def told(kind: str, *segments: str, control: int = 1) -> bytes:
    header = f"MSH|^~\\&|LIS|HOUSE|OSLER|HOUSE|20260102030405||{kind}|{control}|P|2.5.1"
    return "\r".join((header, *segments, "")).encode()


@pytest.mark.parametrize(("kind", "field", "code", "target", "place"), FIELDS)
async def test_codes_of_other_fields_are_mapped_by_people_too(
    client: Client, kind: str, field: str, code: str, target: tuple[str, str], place: tuple[str, str]
) -> None:
    async with house(client, known=ASKED) as lab:
        await lab.send(told("ADT^A28", PATIENT))
        await lab.quiet()
        await lab.send(told(kind, PATIENT, *BODIES[kind]))
        await lab.quiet()
        tasks = await lab.tasks(status="requested")
        (task,) = [t for t in tasks if input_of(t, "value") == code]
        assert field_of(input_of(task, "path")) == field
        coding = {"system": target[0], "code": target[1]}
        answer = await resolve(lab, task, "map-code", coding={"valueCoding": coding})
        assert answer.status_code == 200, answer.text

        async def codings() -> list[dict[str, Any]]:
            (entry,) = (await client.get(place[0])).json()["entry"]
            return entry["resource"][place[1]]["coding"]

        found = await until(codings, lambda codings: codings[0]["code"] == target[1], seconds=5)
        # what was told stays beside it
        assert [one["code"] for one in found] == [target[1], code]

        async def still_asked() -> list[str]:
            return [input_of(t, "value") for t in await lab.tasks(status="requested")]

        await until(still_asked, lambda values: code not in values)
        # the next message is mapped without a question
        await lab.send(told(kind, PATIENT, *BODIES[kind], control=2))
        await lab.quiet()
        assert code not in await still_asked()


async def test_a_sex_that_nobody_knows_is_mapped_by_people(client: Client) -> None:
    async with house(client, known=ASKED) as lab:
        await lab.send(told("ADT^A28", PATIENT.replace("|F", "|W")))
        await lab.quiet()
        task = await only_task(lab)
        wrong = {"system": "http://loinc.org", "code": "2345-7"}
        assert (await resolve(lab, task, "map-code", coding={"valueCoding": wrong})).status_code == 422
        right = {"system": GENDER, "code": "female"}
        assert (await resolve(lab, task, "map-code", coding={"valueCoding": right})).status_code == 200

        async def gender() -> str:
            (entry,) = (await client.get("Patient")).json()["entry"]
            return entry["resource"].get("gender", "")

        assert await until(gender, lambda gender: gender == "female", seconds=5)
        # a result with the same code is another question
        await lab.send(told("ORU^R01", PATIENT, "OBR|1||F1|1-8^x^LN", "OBX|1|NM|W^x^L||1|||||F"))
        await lab.quiet()
        assert [input_of(t, "path") for t in await lab.tasks(status="requested")] == ["OBX[1]-3"]


async def test_a_unit_that_is_mapped_is_in_the_results(client: Client) -> None:
    async with house(client, known=ASKED) as lab:
        await lab.send(told("ADT^A28", PATIENT))
        await lab.quiet()
        for n in range(3):
            body = (f"OBR|1||F{n}|1-8^x^LN", "OBX|1|NM|2345-7^Glucose^LN||5|shovels|||||F")
            await lab.send(told("ORU^R01", PATIENT, *body, control=n))
        await lab.quiet()
        assert (
            await resolve(lab, await only_task(lab), "map-unit", unit={"valueString": "mmol/L"})
        ).status_code == 200

        async def units() -> list[str]:
            found = (await client.get("Observation")).json()["entry"]
            return [one["resource"]["valueQuantity"].get("code", "") for one in found]

        assert await until(units, lambda units: units == ["mmol/L"] * 3, seconds=5)


async def test_a_batch_that_lacks_messages_is_told_to_a_person(client: Client) -> None:
    async with house(client) as lab:
        inside = oru("S0", "1").decode()
        await lab.send(f"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r{inside}BTS|2\rFTS|1\r".encode())
        await lab.quiet()
        assert await until(lambda: lab.values("S0"), lambda values: values == ["1"], seconds=10)
        task = await only_task(lab)
        assert "BTS-1 tells 2, there are 1 messages" in task["code"]["text"]
