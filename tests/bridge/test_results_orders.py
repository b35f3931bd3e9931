"""Orders that others place, change and cancel, and what fillers say of ours."""

from __future__ import annotations

from typing import Any

import pytest

from hl7_bridge.mapping.draft import Held
from hl7_bridge.mapping.messages.orders import MAPPINGS
from hl7_bridge.mapping.tables.results import ORDER_CONTROL, ORDER_STATUS
from tests.bridge.results_parts import Server, all_of
from tests.bridge.results_parts import told as told_with
from tests.conftest import StartServer

AUTHORITY = "https://osler.health/fhir/hl7v2/authority/"


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    client = await start_server(store="memory:")
    patient = {
        "resourceType": "Patient",
        "id": "anna",
        "identifier": [{"system": AUTHORITY + "NORTH", "value": "MRN-1"}],
    }
    await client.put_json("/Patient/anna", patient)
    return Server(client)


async def told(server: Server, text: str, **more: Any) -> Any:
    return await told_with(server, text, maps=MAPPINGS, **more)


ORM = """MSH|^~\\&|HIS|NORTH|LAB|NORTH|20260301101500+0000||{type}|5|P|2.5.1
PID|1||MRN-1^^^NORTH^MR||EXAMPLE^ANNA
ORC|{control}|P-1^HIS|{filler}||{state}||||20260301100000+0000|||77^Smith^John^^^^^^NORTH
OBR|1|P-1^HIS|{filler}|24323-8^Panel^LN|||20260301080000
NTE|1||fasting
DG1|1||E11.9^Diabetes^I10"""


def orm(control: str = "NW", state: str = "", filler: str = "", type: str = "ORM^O01^ORM_O01") -> str:
    return ORM.format(control=control, state=state, filler=filler, type=type)


async def only(server: Server, type: str = "ServiceRequest") -> dict[str, Any]:
    found = await all_of(server.client, type)
    assert len(found) == 1, found
    return found[0]


async def test_new_order_is_an_active_request_of_the_patient(server: Server) -> None:
    await told(server, orm())
    order = await only(server)
    assert (order["status"], order["intent"]) == ("active", "order")
    assert order["subject"] == {"reference": "Patient/anna"}
    assert order["code"]["coding"][0]["code"] == "24323-8"
    assert order["authoredOn"] == "2026-03-01T10:00:00+00:00"
    assert order["requester"]["identifier"]["value"] == "77"
    assert order["note"] == [{"text": "fasting"}]
    assert order["reasonCode"][0]["coding"][0]["code"] == "E11.9"
    assert order["identifier"][1]["type"]["coding"][0]["code"] == "PLAC"


@pytest.mark.parametrize("control", sorted(ORDER_CONTROL))
async def test_every_control_code_has_an_outcome(server: Server, control: str) -> None:
    draft = await told(server, orm(control))
    assert draft.problems == []
    assert (await only(server))["status"] == (ORDER_CONTROL[control] or "active")


@pytest.mark.parametrize("state", sorted(ORDER_STATUS))
async def test_every_state_of_an_order_has_an_outcome(server: Server, state: str) -> None:
    await told(server, orm())
    await told(server, orm("SC", state))
    assert (await only(server))["status"] == ORDER_STATUS[state]


async def test_control_code_that_is_in_no_table_is_told(server: Server) -> None:
    assert [(one.reason, one.value) for one in (await told(server, orm("QQ"))).problems] == [
        ("unreadable-value", "QQ")
    ]


async def test_cancelled_order_is_not_opened_by_the_late_message_that_it_is_new(server: Server) -> None:
    await told(server, orm("CA"))
    await told(server, orm("NW"))
    assert (await only(server))["status"] == "revoked"


async def test_changed_order_is_the_same_order(server: Server) -> None:
    await told(server, orm())
    await told(server, orm("XO").replace("fasting", "not fasting"))
    order = await only(server)
    assert (order["status"], order["note"]) == ("active", [{"text": "not fasting"}])


async def test_order_may_be_cancelled_without_saying_what_it_is(server: Server) -> None:
    await told(server, orm())
    await told(server, "\n".join(orm("CA").split("\n")[:3]))
    order = await only(server)
    assert (order["status"], order["code"]["coding"][0]["code"]) == ("revoked", "24323-8")


async def test_several_orders_under_one_number_stay_several(server: Server) -> None:
    second = "\nORC|NW|P-1^HIS\nOBR|2|P-1^HIS||2345-7^Glucose^LN"
    await told(server, orm() + second)
    await told(server, orm() + second)
    found = await all_of(server.client, "ServiceRequest")
    assert sorted(one["code"]["coding"][0]["code"] for one in found) == ["2345-7", "24323-8"]


async def test_laboratory_order_brings_its_specimen_and_answers(server: Server) -> None:
    text = orm(type="OML^O21^OML_O21") + (
        "\nOBX|1|ST|49541-6^Fasting^LN||Yes||||||F\nSPM|1|T-1||SER^Serum^HL70487|||||||P"
    )
    await told(server, text)
    order, specimen = await only(server), await only(server, "Specimen")
    assert order["specimen"] == [{"reference": f"Specimen/{specimen['id']}"}]
    observation = await only(server, "Observation")
    assert order["supportingInfo"] == [{"reference": f"Observation/{observation['id']}"}]
    assert observation["valueString"] == "Yes"


O33 = """MSH|^~\\&|LIS|NORTH|AN|NORTH|20260301101500+0000||OML^O33^OML_O33|5|P|2.5.1
PID|1||MRN-1^^^NORTH^MR||EXAMPLE^ANNA
SPM|1|T-{n}||SER^Serum^HL70487|||||||P
SAC|||T-{n}
ORC|NW|A-{n}
TQ1|1||||||||S^Stat^HL70485
OBR|1|A-{n}||2345-7^Glucose^LN"""


async def test_order_by_specimen_has_its_specimen_and_priority(server: Server) -> None:
    await told(server, O33.format(n=1))
    order, specimen = await only(server), await only(server, "Specimen")
    assert order["specimen"] == [{"reference": f"Specimen/{specimen['id']}"}]
    assert order["priority"] == "stat"


async def test_order_of_medication_is_put_aside_whole(server: Server) -> None:
    text = "\n".join(orm().split("\n")[:3]) + "\nRXO|1^Aspirin^L"
    with pytest.raises(Held) as held:
        await told(server, text)
    assert held.value.problem.reason == "dead-letter"
    assert await all_of(server.client, "ServiceRequest") == []


async def test_order_of_nobody_waits(server: Server) -> None:
    with pytest.raises(Held) as held:
        await told(server, orm().replace("MRN-1", "MRN-2"))
    assert held.value.problem.reason == "unmatched-patient"


ANSWER = """MSH|^~\\&|AN|LAB|LIS|LAB|20260301101600+0000||{type}|9|P|2.5.1
MSA|{code}|5|{why}
SPM|1|T-1||SER
ORC|{control}|O-1|{filler}
OBR|1|O-1|{filler}|2345-7^Glucose^LN"""


def answer(
    control: str, code: str = "AA", why: str = "", filler: str = "LAB-9", type: str = "ORL^O34^ORL_O34"
) -> str:
    return ANSWER.format(control=control, code=code, why=why, filler=filler, type=type)


@pytest.fixture
async def ours(server: Server) -> Server:
    order = {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "identifier": [{"system": "urn:orders", "value": "O-1"}],
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
        "subject": {"reference": "Patient/anna"},
    }
    await server.client.put_json("/ServiceRequest/o1", order)
    task = {
        "resourceType": "Task",
        "id": "t1",
        "status": "requested",
        "intent": "order",
        "focus": {"reference": "ServiceRequest/o1"},
    }
    await server.client.put_json("/Task/t1", task)
    return server


async def state(server: Server) -> tuple[str, str]:
    return (await only(server))["status"], (await only(server, "Task"))["status"]


@pytest.mark.parametrize("type", ["ORL^O34^ORL_O34", "ORL^O22^ORL_O22", "ORL^O36^ORL_O36", "ORR^O02^ORR_O02"])
async def test_order_that_is_taken_stays_active_and_has_the_fillers_number(ours: Server, type: str) -> None:
    draft = await told(ours, answer("OK", type=type))
    assert draft.problems == []
    assert await state(ours) == ("active", "accepted")
    assert "LAB-9" in [one["value"] for one in (await only(ours))["identifier"]]


async def test_order_that_is_refused_is_on_hold_with_the_reason(ours: Server) -> None:
    await told(ours, answer("UA", "AE", "no reagent"))
    assert await state(ours) == ("on-hold", "rejected")
    assert (await only(ours))["note"] == [{"text": "no reagent"}]
    assert (await only(ours, "Task"))["statusReason"] == {"text": "no reagent"}


async def test_order_that_is_cancelled_as_asked_is_revoked(ours: Server) -> None:
    await told(ours, answer("CR"))
    assert await state(ours) == ("revoked", "rejected")


async def test_answer_to_there_is_no_work_asks_nobody_for_anything(server: Server) -> None:
    said = (
        answer("CR", filler="").replace("ORC|CR|O-1|", "ORC|CR").replace("OBR|1|O-1||2345-7^Glucose^LN", "")
    )
    assert (await told(server, said)).problems == []


async def test_answer_about_an_order_that_nobody_placed_is_told(server: Server) -> None:
    draft = await told(server, answer("OK"))
    assert [(one.reason, one.value) for one in draft.problems] == [
        ("unmatched-specimen", AUTHORITY + "lab|O-1")
    ]
