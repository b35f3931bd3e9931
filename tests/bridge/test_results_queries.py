"""What devices ask for and what they are told: IHE LAW, orders in the response, QRY and DSR, bedside queries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from hl7_bridge.devices.loading import shipped
from hl7_bridge.devices.profile import Profile, Test
from hl7_bridge.explaining import validate
from hl7_bridge.mapping.records import Context, Receipt
from hl7_bridge.message import Message, parse
from hl7_bridge.queries import Replies, replies
from tests.bridge.results_parts import NOW, Server, all_of, message_of
from tests.conftest import StartServer

PATIENT = {
    "resourceType": "Patient",
    "id": "anna",
    "identifier": [{"system": "urn:mrn", "value": "MRN-1"}],
    "name": [{"family": "Example", "given": ["Anna"]}],
    "gender": "female",
    "birthDate": "1970-02-03",
}


def order_of(id: str, loinc: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "identifier": [{"system": "urn:orders", "value": f"O-{id}"}],
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": "Patient/anna"},
        "specimen": [{"reference": "Specimen/s1"}],
        **more,
    }


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    client = await start_server(store="memory:")
    await client.put_json("/Patient/anna", PATIENT)
    specimen = {
        "resourceType": "Specimen",
        "id": "s1",
        "identifier": [{"system": "urn:tubes", "value": "T-1"}],
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0487", "code": "SER"}]},
        "subject": {"reference": "Patient/anna"},
    }
    await client.put_json("/Specimen/s1", specimen)
    await client.put_json("/ServiceRequest/glu", order_of("glu", "14749-6", priority="stat"))
    await client.put_json("/ServiceRequest/alt", order_of("alt", "1742-6"))
    await client.put_json("/ServiceRequest/tsh", order_of("tsh", "3016-3"))
    await client.put_json("/ServiceRequest/old", order_of("old", "1920-8", status="completed"))
    return Server(client)


async def asked(server: Server, text: str, profile: Profile) -> Replies:
    raw = message_of(text)
    return await replies(parse(raw), server, Context(profile, Receipt("r" * 40, "an", NOW, raw), UTC))


def parsed(raw: bytes | None) -> Message:
    assert raw is not None
    return parse(raw)


LAW = """MSH|^~\\&|AN1|LAB|LIS|LAB|20260308080000+0000||QBP^Q11^QBP_Q11|L27-1|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-27^IHE
QPD|WOS^Work Order Step^IHE_LABTF|TAG-1|{number}
RCP|I||R"""


async def test_law_query_is_acknowledged_and_the_orders_are_sent(server: Server) -> None:
    found = await asked(server, LAW.format(number="T-1"), shipped("law-analyser"))
    answer = parsed(found.answer)
    assert (answer.type, answer.trigger) == ("RSP", "K11")
    assert [answer.get(path) for path in ("MSA-1", "MSA-2", "QAK-1", "QAK-2", "QPD-3")] == [
        "AA",
        "L27-1",
        "TAG-1",
        "OK",
        "T-1",
    ]
    assert answer.first("ORC") is None
    assert answer.get("MSH-5") == "AN1"
    (sent,) = map(parse, found.messages)
    assert (sent.type, sent.trigger, sent.get("MSH-15"), sent.get("MSH-16")) == ("OML", "O33", "NE", "AL")
    assert sent.get("SPM-2") == sent.get("SAC-3") == "T-1"
    assert list(sent.each("ORC-1")) == ["NW", "NW", "NW"]
    assert sorted(sent.each("OBR-4")) == ["14749-6", "1742-6", "3016-3"]
    assert sorted(sent.each("OBR-2")) == ["O-alt", "O-glu", "O-tsh"]
    assert "S" in set(sent.each("TQ1-9"))


async def test_law_query_without_work_is_told_so_by_dc(server: Server) -> None:
    found = await asked(server, LAW.format(number="T-404"), shipped("law-analyser"))
    assert parsed(found.answer).get("QAK-2") == "OK"
    (sent,) = map(parse, found.messages)
    assert (sent.get("ORC-1"), sent.get("SPM-2"), sent.first("OBR")) == ("DC", "T-404", None)


@pytest.mark.parametrize("number", ["T-1", "T-404"])
async def test_messages_of_law_are_valid_by_the_strict_tables(server: Server, number: str) -> None:
    # of several orders the tables' reader takes the second for an earlier result, so here is one
    profile = replace(shipped("law-analyser"), tests=(Test("TSH", loinc="3016-3"),))
    found = await asked(server, LAW.format(number=number), profile)
    assert found.answer is not None
    assert [validate(raw) for raw in (found.answer, *found.messages)] == [[], []]


async def test_work_of_a_patient_without_a_name_is_valid_by_the_strict_tables(server: Server) -> None:
    nameless = {name: member for name, member in PATIENT.items() if name != "name"}
    await server.client.put_json("/Patient/anna", nameless)
    profile = replace(shipped("law-analyser"), tests=(Test("TSH", loinc="3016-3"),))
    found = await asked(server, LAW.format(number="T-1"), profile)
    assert [validate(raw) for raw in found.messages] == [[]]
    assert parse(found.messages[0]).get("PID-5.7") == "U"


async def test_device_is_told_of_its_own_tests_in_its_own_codes(server: Server) -> None:
    profile = replace(shipped("mindray-bs"), orders="law")
    found = await asked(server, LAW.format(number="T-1"), profile)
    assert sorted(parse(found.messages[0]).each("OBR-4")) == ["ALT", "Glu-G"]


async def test_same_query_of_one_receipt_gives_the_same_bytes(server: Server) -> None:
    first = await asked(server, LAW.format(number="T-1"), shipped("law-analyser"))
    assert await asked(server, LAW.format(number="T-1"), shipped("law-analyser")) == first


async def test_query_changes_nothing(server: Server) -> None:
    before = await all_of(server.client, "ServiceRequest")
    await asked(server, LAW.format(number="T-1"), shipped("law-analyser"))
    assert await all_of(server.client, "ServiceRequest") == before


async def test_older_device_gets_the_orders_in_the_response(server: Server) -> None:
    profile = replace(shipped("mindray-bs"), orders="rsp-k11")
    found = await asked(server, LAW.format(number="T-1"), profile)
    answer = parsed(found.answer)
    assert found.messages == ()
    assert [answer.get(path) for path in ("QAK-2", "PID-3", "SPM-2")] == ["OK", "MRN-1", "T-1"]
    assert sorted(answer.each("OBR-4")) == ["ALT", "Glu-G"]
    none = parsed((await asked(server, LAW.format(number="T-404"), profile)).answer)
    assert (none.get("QAK-2"), none.first("OBR")) == ("NF", None)


QRY = """MSH|^~\\&|Mindray|BS-480|||20260308101500||QRY^{trigger}|7|P|2.3.1||||||ASCII
QRD|20260308101500|R|D|1|||RD|{number}|OTH|||T
QRF|BS-480|20260308101500|20260308101500|||RCT|COR|ALL"""


async def test_display_query_is_taken_and_then_shown_line_by_line(server: Server) -> None:
    found = await asked(server, QRY.format(trigger="Q02", number="T-1"), shipped("mindray-bs"))
    answer = parsed(found.answer)
    assert (answer.type, answer.trigger, answer.get("QAK-2"), answer.get("MSA-2")) == (
        "QCK",
        "Q02",
        "OK",
        "7",
    )
    assert "+" not in answer.get("MSH-7")
    (sent,) = map(parse, found.messages)
    assert (sent.type, sent.trigger, sent.get("QRD-8")) == ("DSR", "Q03", "T-1")
    lines = {segment.text(1): segment.value(3) for segment in sent.all("DSP")}
    assert [lines[n].text(1) for n in ("1", "3", "4", "5", "21", "24")] == [
        "MRN-1",
        "Anna Example",
        "19700203000000",
        "F",
        "T-1",
        "N",
    ]
    assert sorted(lines[n].text(1) for n in lines if int(n) >= 29) == ["ALT", "Glu-G"]
    assert sent.segments[-1].name == "DSC"


async def test_display_query_without_work_is_told_so(server: Server) -> None:
    found = await asked(server, QRY.format(trigger="Q02", number="T-404"), shipped("mindray-bs"))
    assert (parsed(found.answer).get("QAK-2"), found.messages) == ("NF", ())


async def test_query_of_an_a1000_is_answered_at_once(server: Server) -> None:
    found = await asked(
        server, QRY.format(trigger="Q01", number="T-1"), replace(shipped("autobio-a1000"), tests=())
    )
    answer = parsed(found.answer)
    assert (answer.type, answer.trigger, found.messages) == ("DSR", "Q01", ())
    assert len(answer.all("DSP")) == 31


BEDSIDE = """MSH|^~\\&|ICU^GeneXpert^1.0||LIS||20260308100245||QBP^{trigger}^QBP_{trigger}|GX2|P|2.5
QPD|{trigger}^HOST QUERY|T2|{patient}|{number}|
RCP|I"""


async def test_bedside_query_is_answered_with_the_orders_of_the_specimen(server: Server) -> None:
    virus = order_of("cov", "94500-6", specimen=[{"reference": "Specimen/s1"}])
    await server.client.put_json("/ServiceRequest/cov", virus)
    profile = shipped("cepheid-genexpert")
    one = await asked(server, BEDSIDE.format(trigger="Z03", patient="P1", number="T-1"), profile)
    every = await asked(server, BEDSIDE.format(trigger="Z01", patient="ALL", number=""), profile)
    for found in (one, every):
        answer = parsed(found.answer)
        assert (answer.type, answer.trigger, answer.get("QAK-1"), answer.get("QAK-2")) == (
            "RSP",
            "Z02",
            "T2",
            "OK",
        )
        assert [answer.get(path) for path in ("ORC-1", "OBR-4", "SPM-2")] == ["NW", "SARS", "T-1"]


async def test_counter_that_asks_by_an_order_is_answered_by_orr(server: Server) -> None:
    await server.client.put_json("/ServiceRequest/wbc", order_of("wbc", "6690-2"))
    text = "MSH|^~\\&|BC-5380|Mindray|||20260308||ORM^O01|4|P|2.3.1\nORC|RF||{number}||IP\nOBR|1||{number}"
    profile = shipped("mindray-bc")
    answer = parsed((await asked(server, text.format(number="T-1"), profile)).answer)
    assert [answer.get(path) for path in ("MSH-9.2", "MSA-1", "PID-3", "ORC-1", "ORC-2", "OBR-4")] == [
        "O02",
        "AA",
        "MRN-1",
        "AF",
        "T-1",
        "WBC",
    ]
    none = parsed((await asked(server, text.format(number="T-404"), profile)).answer)
    assert (none.get("MSA-1"), none.get("MSA-6")) == ("AR", "204")


async def test_end_of_a_query_needs_no_more_than_its_acknowledgement(server: Server) -> None:
    text = "MSH|^~\\&|ICU^GeneXpert^1.0||LIS||20260308||QCN^J01^QCN_J01|GX3|P|2.5|||AL|NE\nQID|T1|N/D"
    assert await asked(server, text, shipped("cepheid-genexpert")) == Replies()
