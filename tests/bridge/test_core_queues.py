"""People resolve what waits: by Task/$resolve, and what waited is mapped in order, once; on both stores."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.bridge.awaited import Awaited
from hl7_bridge.reasons import REASON_SYSTEM, REASONS
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
