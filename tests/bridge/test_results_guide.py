"""Rows of the v2-to-FHIR implementation guide that a result or an order of real senders fills, in one message each."""

from __future__ import annotations

from typing import Any

import pytest

from hl7_bridge.mapping.table import MAPPINGS
from tests.bridge.results_parts import Server, all_of
from tests.bridge.results_parts import told as told_with
from tests.conftest import StartServer

AUTHORITY = "https://osler.health/fhir/hl7v2/authority/"


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    client = await start_server(store="memory:")
    number = {"system": AUTHORITY + "NORTH", "value": "MRN-1"}
    patient = {"resourceType": "Patient", "id": "anna", "identifier": [number]}
    await client.put_json("/Patient/anna", patient)
    return Server(client)


async def told(server: Server, text: str, **more: Any) -> Any:
    return await told_with(server, text, maps=MAPPINGS, **more)


async def only(server: Server, type: str) -> dict[str, Any]:
    found = await all_of(server.client, type)
    assert len(found) == 1, found
    return found[0]


def kinds(resource: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (one["type"]["coding"][0]["code"], one["value"]) for one in resource["identifier"] if "type" in one
    }


REPORT = """MSH|^~\\&|LAB|NORTH|HIS|NORTH|20260301101500+0000||ORU^R01^ORU_R01|5|P|2.8
PID|1||MRN-1^^^NORTH^MR||EXAMPLE^ANNA
ORC|RE|P-1^HIS|F-1^LAB|G-1&HIS^G-2&LAB|CM
OBR|1|P-9^HIS|F-1^LAB|24323-8^Panel^LN|||20260301080000|||||||||||||||20260301100000||MB|F|||||||\
11&Reader&Rita|12&Second&Sam|13&Tech&Tom
OBX|1|NM|2345-7^Glucose^LN||5.4|mmol/L|||||A
SPM|1|S-1^S-2|PAR-1&HIS^PAR-2&LAB|119297000^Blood^SCT||EDTA^EDTA^HL70371||||||2^mL||Haemolysed~small|||20260301080000|\
20260301083000||Y|||||||TUBE^Tube^L|||ACC-1^^^LAB|OTH-1^^^LAB|SHIP-1^LAB
SPM|2|S-3||122575003^Urine^SCT"""


async def test_report_has_the_numbers_of_its_order_and_of_the_group_it_is_in(server: Server) -> None:
    await told(server, REPORT)
    report = await only(server, "DiagnosticReport")
    assert kinds(report) == {
        ("PLAC", "P-9"),
        ("PLAC", "P-1"),
        ("FILL", "F-1"),
        ("PGN", "G-1"),
        ("FGN", "G-2"),
    }
    systems = {one["value"]: one["system"] for one in report["identifier"]}
    assert (systems["G-1"], systems["G-2"]) == (AUTHORITY + "HIS", AUTHORITY + "LAB")


async def test_who_read_the_report_is_told_apart_from_who_did_the_work(server: Server) -> None:
    await told(server, REPORT)
    report = await only(server, "DiagnosticReport")
    assert [one["display"] for one in report["resultsInterpreter"]] == ["Rita Reader", "Sam Second"]
    assert [one["display"] for one in report["performer"]] == ["Tom Tech"]


async def test_every_specimen_of_a_report_is_kept_with_all_that_is_told_of_it(server: Server) -> None:
    await told(server, REPORT)
    report = await only(server, "DiagnosticReport")
    found = {one["identifier"][0]["value"]: one for one in await all_of(server.client, "Specimen")}
    assert found.keys() == {"S-1", "S-3"}
    assert [one["reference"] for one in report["specimen"]] == [
        f"Specimen/{found[number]['id']}" for number in ("S-1", "S-3")
    ]
    blood = found["S-1"]
    assert blood["parent"] == [
        {"type": "Specimen", "identifier": {"system": AUTHORITY + "HIS", "value": "PAR-1"}}
    ]
    assert blood["accessionIdentifier"]["value"] == "ACC-1"
    assert [one["value"] for one in blood["identifier"]] == ["S-1", "S-2", "OTH-1", "SHIP-1"]
    assert kinds(blood) == {("SHIP", "SHIP-1")}
    assert (blood["status"], blood["note"]) == ("available", [{"text": "Haemolysed"}, {"text": "small"}])
    container = blood["container"][0]
    assert container["type"]["coding"][0]["code"] == "TUBE"
    assert container["additiveCodeableConcept"]["coding"][0]["code"] == "EDTA"
    observation = await only(server, "Observation")
    assert observation["specimen"] == {"reference": f"Specimen/{blood['id']}"}
    assert observation["status"] == "amended"


async def test_the_same_report_twice_leaves_its_specimens_alone(server: Server) -> None:
    await told(server, REPORT)
    draft = await told(server, REPORT)
    assert not draft.entries


async def test_specimens_are_not_found_by_the_number_of_their_shipment(server: Server) -> None:
    await told(server, REPORT)
    await told(server, REPORT.replace("S-1^S-2", "SHIP-1").replace("F-1", "F-2").replace("P-9", "P-8"))
    assert len(await all_of(server.client, "Specimen")) == 3


ORDER = """MSH|^~\\&|HIS|NORTH|LAB|NORTH|20260301101500+0000||OML^O21^OML_O21|5|P|2.8
PID|1||MRN-1^^^NORTH^MR||EXAMPLE^ANNA
ORC|{control}|P-1^HIS|||||||20260301100000|||77^Smith^John|||||||||||||||||||||ALT-1^^^HIS
OBR|1|P-2^HIS||24323-8^Panel^LN|||||||G|||||||||||||||||||||||||||||||||||AM^Morning^L
SPM|1|S-1||119297000^Blood^SCT
SPM|2|S-3||122575003^Urine^SCT"""


async def test_order_keeps_all_its_numbers_specimens_and_details(server: Server) -> None:
    await told(server, ORDER.format(control="NW"))
    order = await only(server, "ServiceRequest")
    assert kinds(order) == {("PLAC", "P-1"), ("PLAC", "P-2"), ("PLAC", "ALT-1")}
    assert (order["intent"], len(order["specimen"])) == ("reflex-order", 2)
    assert order["orderDetail"][0]["text"] == "Morning"


async def test_order_was_authored_when_it_was_new_not_when_it_was_cancelled(server: Server) -> None:
    await told(server, ORDER.format(control="NW"))
    later = ORDER.format(control="CA").replace("20260301100000", "20260305100000")
    await told(server, later.replace("20260301101500", "20260305101500"))
    order = await only(server, "ServiceRequest")
    assert (order["status"], order["authoredOn"]) == ("revoked", "2026-03-01T10:00:00+00:00")


ALLERGY = """MSH|^~\\&|HIS|NORTH|OSLER|NORTH|20260301101500+0000||ADT^A60^ADT_A60|5|P|2.8
EVN|A60|20260301101500
PID|1||MRN-1^^^NORTH^MR||EXAMPLE^ANNA
IAM|1|FA|P^Peanut^L||hives|A||||||||Doe^Rose|SPO||C||||||||||91935009^Allergy to peanuts^SCT"""


async def test_allergy_has_the_clinicians_code_too_and_says_who_reported_it(server: Server) -> None:
    await told(server, ALLERGY)
    allergy = await only(server, "AllergyIntolerance")
    assert [one["code"] for one in allergy["code"]["coding"]] == ["P", "91935009"]
    assert allergy["recorder"] == {"type": "RelatedPerson", "display": "Rose Doe"}


CULTURE = """MSH|^~\\&|MIC|NORTH|HIS|NORTH|20260301101500+0000||ORU^R01|{control}|P|2.4
PID|1||MRN-1^^^NORTH^MR
"""
ORGANISMS = """OBR|1|MB1^EHR|M100^LIS|600-7^Blood culture^LN|||202602280800|||||||||||||||202603011000||MB|P
OBX|1|CE|600-7^Organism^LN|1|3092008^Staphylococcus aureus^SCT||||||P
OBX|2|CE|600-7^Organism^LN|2|112283007^Escherichia coli^SCT||||||P
"""
SUSCEPTIBLE = """OBR|2|MB1^EHR|M100^LIS|29576-6^Susceptibility^LN|||202602280800|||||||||||||||202603011000||MB|P|\
600-7&Organism&LN^1^Staph aureus|||MB1^M100
OBX|1|SN|18993-6^Oxacillin^LN||>=^4|ug/mL||R|||F
OBR|3|MB1^EHR|M100^LIS|29576-6^Susceptibility^LN|||202602280800|||||||||||||||202603011000||MB|P|\
600-7&Organism&LN^2^E coli|||MB1^M100
OBX|1|SN|18993-6^Oxacillin^LN||<=^1|ug/mL||S|||F
"""


async def susceptibilities(server: Server) -> dict[str, dict[str, Any]]:
    """The Observation of oxacillin by the display of what it goes on from."""
    found = [one for one in await all_of(server.client, "Observation") if "derivedFrom" in one]
    return {one["derivedFrom"][0]["display"]: one for one in found}


async def test_susceptibilities_of_two_organisms_are_told_apart_and_lead_to_them(server: Server) -> None:
    await told(server, CULTURE.format(control=1) + ORGANISMS + SUSCEPTIBLE)
    organisms = {
        one["valueCodeableConcept"]["text"]: f"Observation/{one['id']}"
        for one in await all_of(server.client, "Observation")
        if "valueCodeableConcept" in one
    }
    found = await susceptibilities(server)
    assert {
        name: (one["derivedFrom"][0]["reference"], one["interpretation"][0]["coding"][0]["code"])
        for name, one in found.items()
    } == {
        "Staph aureus": (organisms["Staphylococcus aureus"], "R"),
        "E coli": (organisms["Escherichia coli"], "S"),
    }
    assert len(await all_of(server.client, "DiagnosticReport")) == 3


async def test_susceptibilities_that_come_by_themselves_lead_to_the_organism_that_is_known(
    server: Server,
) -> None:
    await told(server, CULTURE.format(control=1) + ORGANISMS)
    await told(server, CULTURE.format(control=2) + SUSCEPTIBLE)
    assert all("reference" in one["derivedFrom"][0] for one in (await susceptibilities(server)).values())
    assert not (await told(server, CULTURE.format(control=3) + SUSCEPTIBLE)).entries


async def test_susceptibilities_of_an_unknown_organism_name_its_number(server: Server) -> None:
    await told(server, CULTURE.format(control=1) + SUSCEPTIBLE)
    found = await susceptibilities(server)
    assert found["E coli"]["derivedFrom"][0]["identifier"]["value"] == "M100/600-7/2"
