"""IHE LAW, LAB-27: what an analyser asks for and what the manager answers; a test for each assertion of that transaction."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hl7_bridge.devices.loading import shipped
from hl7_bridge.explaining import validate
from hl7_bridge.message import Message, parse
from hl7_bridge.queries import Replies
from tests.bridge.results_parts import Server
from tests.bridge.test_results_queries import asked, order_of
from tests.conftest import StartServer

PATIENT = {
    "resourceType": "Patient",
    "id": "anna",
    "identifier": [{"system": "urn:mrn", "value": "MRN-1"}],
    "name": [{"family": "Example", "given": ["Anna"]}],
}
NAMES = {
    "WOS": "Work Order Step",
    "WOS_ALL": "Work Order Step All",
    "WOS_BY_RACK": "Work Order Step Rack",
    "WOS_BY_TRAY": "Work Order Step Tray",
    "WOS_BY_ISOLATE": "Work Order Step Isolate",
}


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    """Two tubes with an order each, and one without."""
    client = await start_server(store="memory:")
    await client.put_json("/Patient/anna", PATIENT)
    for n in (1, 2, 3):
        specimen = {
            "resourceType": "Specimen",
            "id": f"s{n}",
            "identifier": [{"system": "urn:tubes", "value": f"T-{n}"}],
            "subject": {"reference": "Patient/anna"},
        }
        await client.put_json(f"/Specimen/s{n}", specimen)
    for n, code in ((1, "2345-7"), (2, "1742-6")):
        order = order_of(f"o{n}", code, specimen=[{"reference": f"Specimen/s{n}"}])
        await client.put_json(f"/ServiceRequest/o{n}", order)
    return Server(client)


async def query(server: Server, name: str, fields: Mapping[int, str] = {}) -> tuple[Message, list[Message]]:
    """The acknowledgement of a query and the broadcasts that follow; `fields` are those of QPD after the tag."""
    told = "|".join(fields.get(n, "") for n in range(3, 10)).rstrip("|")
    text = (
        "MSH|^~\\&|AN1|LAB|LIS|LAB|20260308080000+0000||QBP^Q11^QBP_Q11|L27-1|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-27^IHE\n"
        f"QPD|{name}^{NAMES[name]}^IHE_LABTF|TAG-1|{told}\nRCP|I||R"
    )
    found: Replies = await asked(server, text, shipped("law-analyser"))
    assert found.answer is not None
    return parse(found.answer), [parse(raw) for raw in found.messages]


def acknowledges(answer: Message) -> bool:
    return [answer.get(p) for p in ("MSH-9.1", "MSH-9.2", "MSA-1", "QAK-1", "QAK-2")] == [
        "RSP",
        "K11",
        "AA",
        "TAG-1",
        "OK",
    ]


async def test_lab27_001_each_specimen_that_is_asked_about_is_answered(server: Server) -> None:
    for number in ("T-1", "T-2", "T-3"):
        answer, sent = await query(server, "WOS", {3: number})
        assert acknowledges(answer)
        assert [one.get("SPM-2") for one in sent] == [number]


async def test_lab27_002_the_answer_acknowledges_the_query_and_has_no_order(server: Server) -> None:
    answer, _ = await query(server, "WOS", {3: "T-1"})
    assert acknowledges(answer)
    assert answer.get("MSA-2") == "L27-1"
    assert answer.first("ORC") is None


async def test_lab27_003_the_work_follows_as_a_broadcast(server: Server) -> None:
    _, (sent,) = await query(server, "WOS", {3: "T-1"})
    assert (sent.type, sent.trigger, sent.get("MSH-21")) == ("OML", "O33", "LAB-28")
    assert (sent.get("ORC-1"), sent.get("OBR-4"), sent.get("SAC-3")) == ("NW", "2345-7", "T-1")


async def test_lab27_004_no_work_is_told_by_dc_in_a_broadcast(server: Server) -> None:
    answer, (sent,) = await query(server, "WOS", {3: "T-3"})
    assert acknowledges(answer)
    assert (sent.type, sent.trigger) == ("OML", "O33")
    assert (sent.get("ORC-1"), sent.get("SPM-2"), sent.first("OBR")) == ("DC", "T-3", None)


async def test_lab27_005_a_query_for_all_is_told_of_all_pending_work(server: Server) -> None:
    answer, sent = await query(server, "WOS_ALL")
    assert acknowledges(answer)
    assert sorted((one.get("SPM-2"), one.get("OBR-4")) for one in sent) == [
        ("T-1", "2345-7"),
        ("T-2", "1742-6"),
    ]


async def test_lab27_005_a_query_for_all_without_any_work_is_told_so(start_server: StartServer) -> None:
    client = await start_server(store="memory:")
    _, (sent,) = await query(Server(client), "WOS_ALL")
    assert sent.get("ORC-1") == "DC"


async def test_lab27_006_a_query_by_rack_is_answered_for_that_place(server: Server) -> None:
    answer, (sent,) = await query(server, "WOS_BY_RACK", {4: "RACK-7", 5: "3", 8: "BAY-1"})
    assert acknowledges(answer)
    assert [sent.get(p) for p in ("ORC-1", "SAC-10", "SAC-11", "SAC-15")] == ["DC", "RACK-7", "3", "BAY-1"]


async def test_lab27_007_a_query_by_tray_is_answered_for_that_place(server: Server) -> None:
    answer, (sent,) = await query(server, "WOS_BY_TRAY", {6: "TRAY-2", 7: "5"})
    assert acknowledges(answer)
    assert [sent.get(p) for p in ("ORC-1", "SAC-13", "SAC-14")] == ["DC", "TRAY-2", "5"]


@pytest.mark.parametrize(("third", "ninth"), [("T-2", "T-3"), ("T-3", "T-2")])
async def test_lab27_008_a_query_by_isolate_is_told_of_the_isolate(
    server: Server, third: str, ninth: str
) -> None:
    """Whichever field names the isolate: it is the one that has the other as its parent."""
    isolate = await server.read("Specimen", "s2")
    assert isolate is not None
    await server.client.put_json("/Specimen/s2", {**isolate, "parent": [{"reference": "Specimen/s3"}]})
    answer, (sent,) = await query(server, "WOS_BY_ISOLATE", {3: third, 9: ninth})
    assert acknowledges(answer)
    assert (sent.get("SPM-2"), sent.get("SPM-3"), sent.get("OBR-4")) == ("T-2", "T-3", "1742-6")
    assert (sent.get("SAC-3"), sent.get("SAC-4")) == ("T-2", "T-3")
    assert validate(sent.raw) == []


async def test_lab27_008_an_isolate_that_is_not_known_as_such_is_told_of_its_work(server: Server) -> None:
    """Of two specimens with work, the one that every query names at the same place (QPD-3)."""
    for third, ninth, told in (("T-1", "T-2", "T-1"), ("T-3", "T-2", "T-2"), ("T-3", "T-9", "T-3")):
        _, (sent,) = await query(server, "WOS_BY_ISOLATE", {3: third, 9: ninth})
        assert sent.get("SPM-2") == told
        assert sent.get("ORC-1") == ("DC" if told == "T-3" else "NW")
    _, (sent,) = await query(server, "WOS_BY_ISOLATE", {9: "T-2"})
    assert (sent.get("SPM-2"), sent.get("SAC-4")) == ("T-2", "")
