"""Messages as old and careless senders write them: what a person would read in them is what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hl7_bridge.devices.profile import Profile
from hl7_bridge.escapes import entities, subcomponents
from hl7_bridge.message import Delimiters, Value, parse
from tests.bridge.people import Hospital
from tests.conftest import StartServer

CREATES = Profile(patient=replace(Profile().patient, unmatched="create"))
PID = "PID|1|7788|7788||O&apos;NEIL^MARY&nbsp;ANN^Q^JR||195512|F||W|10 MAIN ST^^BOSTON^MA^02101||6175550101|||S|CAT|A100"


@pytest.fixture
async def hospital(start_server: StartServer) -> Hospital:
    return Hospital(await start_server(), profile=CREATES)


def told(kind: str, *segments: str, at: str = "20240312100000") -> bytes:
    header = f"MSH|^~\\&|MEDITECH|HOSP|X|X|{at}||{kind}|1|P|2.3"
    return "\r".join((header, *segments, "")).encode()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("O&apos;NEIL", "O'NEIL"),
        ("&lt;0.1", "<0.1"),
        ("a &amp; b &gt; c", "a & b > c"),
        ("&#176;C", "°C"),
        ("&#xB5;g", "µg"),
        ("x&nbsp;y", "x y"),
        ("\\T\\lt;", "&lt;"),
        ("&#0001;", "&#0001;"),
        ("&unknown;", "&unknown;"),
    ],
)
def test_what_is_written_as_in_html_is_what_it_means(written: str, meant: str) -> None:
    assert Value(written, Delimiters()).whole() == meant


def test_html_parts_no_subcomponents_and_others_do() -> None:
    marks = Delimiters()
    assert subcomponents("O&apos;NEIL&VAN", marks) == ["O'NEIL", "VAN"]
    assert Value("X^O&apos;NEIL&VAN", marks).text(2) == "O'NEIL"
    assert Value("LAB&1.2.3&ISO", marks).text(1, 2) == "1.2.3"
    assert entities("&lt;", Delimiters(subcomponent="#")) == "&lt;"


def test_a_message_with_html_is_written_again_byte_for_byte() -> None:
    raw = told("ADT^A01", PID)
    assert parse(raw).encode() == raw


@pytest.mark.parametrize(
    ("kind", "segments", "meant"),
    [
        ("ADT^A01", (), ("ADT", "A01")),
        ("ADT", ("EVN|A04|20240312",), ("ADT", "A04")),
        ("ADT_A08", (), ("ADT", "A08")),
        ("ADT^^ADT_A01", (), ("ADT", "")),
        ("ADT^A03", ("EVN|A01|20240312",), ("ADT", "A03")),
        ("ORU", ("EVN|yes",), ("ORU", "")),
    ],
)
def test_the_event_is_found_where_old_senders_tell_it(
    kind: str, segments: tuple[str, ...], meant: tuple[str, str]
) -> None:
    message = parse(told(kind, *segments))
    assert (message.type, message.trigger) == meant


async def test_an_admission_whose_event_stands_in_evn(hospital: Hospital) -> None:
    await hospital.hears(
        told(
            "ADT",
            "EVN|A01|202403121001||",
            PID,
            "NK1|1|SMITH^JANE|SPOUSE",
            "PV1|1|I|ICU^1^2^HOSP|EM|||1^HOUSE^GREGORY||||||||||||V9001|||||||||||||||||||||||||202403120930",
            "AL1|1|DA|PCN^PENICILLIN|SV|RASH~HIVES|2001",
            "DG1|1|I9|786.50|CHEST PAIN|202403120930|A",
            "GT1|1||SMITH^JOHN||10 MAIN ST^^BOSTON^MA|6175550101|||||SELF",
            "IN1|1|MC^MEDICARE|MC001|MEDICARE||||||||20200101||||SMITH^JOHN|SELF",
            "ZID|1|X",
        )
    )
    patient = await hospital.one("Patient")
    assert (patient["name"][0]["family"], patient["birthDate"]) == ("O'NEIL", "1955-12")
    assert patient["name"][0]["given"] == ["MARY ANN", "Q"]
    visit = await hospital.one("Encounter")
    assert (visit["status"], visit["period"]["start"]) == ("in-progress", "2024-03-12T09:30:00+01:00")
    coverage = await hospital.one("Coverage")
    assert coverage["relationship"]["coding"][0]["code"] == "self"
    assert coverage["subscriber"] == coverage["beneficiary"]
    account = await hospital.one("Account")
    assert account["guarantor"][0]["party"] == coverage["beneficiary"]
    (allergy,) = await hospital.all("AllergyIntolerance")
    assert [one["text"] for one in allergy["reaction"][0]["manifestation"]] == ["RASH", "HIVES"]


ORDER = (
    PID,
    "ORC|NW|ORD5^EPIC|||SC||^^^202403121500^^S||20240312100000|9^CLERK||1^HOUSE^GREGORY|||20240312100000",
    "OBR|1|ORD5^EPIC||71020^CHEST XRAY^L",
)


async def test_an_order_without_its_event_is_wanted_when_its_timing_says(hospital: Hospital) -> None:
    await hospital.hears(told("ORM", *ORDER))
    order = await hospital.one("ServiceRequest")
    assert (order["occurrenceDateTime"], order["priority"]) == ("2024-03-12T15:00:00+01:00", "stat")


CHARGE = "FT1|1|CH-1||20240312150000|20240312160000|CG|71020^CHEST XRAY 2V^CPT4|||1|125.50|125.50|RAD"


async def test_a_price_without_a_currency_does_not_lose_the_charge(hospital: Hospital) -> None:
    await hospital.hears(told("DFT", PID, CHARGE))
    charge = await hospital.one("ChargeItem")
    assert charge["code"]["coding"][0]["system"] == "http://www.ama-assn.org/go/cpt"
    assert "priceOverride" not in charge
    assert [(one.reason, one.path, one.value) for one in hospital.problems] == [
        ("unreadable-value", "FT1-11", "125.50")
    ]


async def test_a_price_without_a_currency_has_that_of_the_house(hospital: Hospital) -> None:
    entry = {
        "url": "https://osler.health/fhir/StructureDefinition/hospital-settings",
        "extension": [
            {"url": "from", "valueDate": "2020-01-01"},
            {"url": "currency", "valueCode": "USD"},
        ],
    }
    code = {
        "coding": [{"system": "https://osler.health/fhir/CodeSystem/billing", "code": "hospital-settings"}]
    }
    settings = {"resourceType": "Basic", "id": "hospital-settings", "code": code, "extension": [entry]}
    answer = await hospital.client.put_json("/Basic/hospital-settings", settings)
    assert answer.status_code in (200, 201), answer.text
    await hospital.hears(told("DFT^P03", PID, CHARGE))
    charge = await hospital.one("ChargeItem")
    assert (str(charge["priceOverride"]["value"]), charge["priceOverride"]["currency"]) == ("125.5", "USD")
    assert hospital.problems == []


async def test_an_address_keeps_what_follows_an_ampersand(hospital: Hospital) -> None:
    await hospital.hears(
        told(
            "ORU",
            PID,
            "OBR|1||F-1|XR^Chest^L|||20240312",
            "OBX|1|RP|IMG^Image^L||https://pacs.example.org/wado?x=1&y=2^PACS^IM^JPEG||||||F",
            "OBX|2|NM|CRP^CRP^L||&lt;5|mg/L|||||F",
        )
    )
    media = await hospital.one("Media")
    assert media["content"]["url"] == "https://pacs.example.org/wado?x=1&y=2"
    (observation,) = await hospital.all("Observation")
    quantity = observation["valueQuantity"]
    assert (quantity["comparator"], quantity["value"]) == ("<", 5)


async def test_a_document_keeps_its_empty_lines_and_its_orders(hospital: Hospital) -> None:
    await hospital.hears(
        told(
            "MDM^T02",
            "EVN|T02|20240312160000",
            PID,
            "TXA|1|RAD|TEXT|20240312155500||||||||DOC-1^PS360||ORD5^EPIC|ACC5^RIS||AU||AV",
            "OBX|1|TX|RAD^Report^L||IMPRESSION:||||||F",
            "OBX|2|TX|RAD^Report^L||||||||F",
            "OBX|3|TX|RAD^Report^L||BP &lt; 120||||||F",
        )
    )
    document = await hospital.one("DocumentReference")
    assert [one["identifier"]["value"] for one in document["context"]["related"]] == ["ORD5", "ACC5"]
    id = document["content"][0]["attachment"]["url"]
    answer = await hospital.client.get(f"/{id}", headers={"accept": "text/plain"})
    assert answer.content.decode() == "IMPRESSION:\n\nBP < 120"
