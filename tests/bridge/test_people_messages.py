"""SIU, DFT, BAR and MDM: appointments, charges, accounts and documents by messages, on a real server."""

from __future__ import annotations

import base64

import pytest

from hl7_bridge.delivery import Refused
from hl7_bridge.mapping.draft import Held
from tests.bridge.people import Hospital, message
from tests.conftest import StartServer

PID = "PID|1||4711^^^HOSP^MR||Doe^Jane||19800501|F||||||||||ACC1^^^HOSP^AN"
EVN = "EVN||20260301090000"


@pytest.fixture
async def hospital(start_server: StartServer) -> Hospital:
    return Hospital(await start_server())


def siu(
    trigger: str, start: str = "20300301090000", number: str = "1", state: str = "", at: str = "08"
) -> bytes:
    raw = message(
        f"SIU^{trigger}",
        f"SCH|P1^HIS|F1^SCHED||||ROUTINE|CHECKUP^Check-up^L|NORMAL|20|min|||||||||||||||{state}",
        f"TQ1|1||||||{start}+0100",
        "NTE|1||bring papers",
        PID,
        "RGS|1",
        "AIS|1||V1^Visit^L",
        "AIL|1||W1^1",
        "AIP|1||77^Smith^John^^^^^^HOSP",
        number=number,
    )
    return raw.replace(b"|20260301080000|", f"|20260301{at}0000|".encode(), 1)


async def test_an_appointment_is_booked_moved_and_cancelled(hospital: Hospital) -> None:
    await hospital.hears(siu("S12"))
    booked = await hospital.one("Appointment")
    assert (booked["status"], booked["start"]) == ("booked", "2030-03-01T09:00:00+01:00")
    assert (booked["end"], booked["minutesDuration"]) == ("2030-03-01T08:20:00.000Z", 20)
    assert booked["comment"] == "bring papers"
    actors = [one["actor"].get("display", one["actor"].get("reference", "")) for one in booked["participant"]]
    assert actors[0].startswith("Patient/")
    assert actors[1:] == ["John Smith", "W1 1"]
    await hospital.hears(siu("S13", "20300302090000", at="09"))
    moved = await hospital.one("Appointment")
    assert moved["start"] == "2030-03-02T09:00:00+01:00"
    await hospital.hears(siu("S15", at="10"))
    assert (await hospital.one("Appointment"))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("trigger", "state", "status"),
    [
        ("S12", "Pending", "pending"),
        ("S12", "Booked", "booked"),
        ("S14", "", "booked"),
        ("S15", "Booked", "cancelled"),
        ("S16", "", "cancelled"),
        ("S17", "", "entered-in-error"),
        ("S26", "", "noshow"),
    ],
)
async def test_the_event_says_the_status(hospital: Hospital, trigger: str, state: str, status: str) -> None:
    await hospital.hears(siu(trigger, state=state))
    assert (await hospital.one("Appointment"))["status"] == status


async def test_a_late_move_does_not_undo_a_cancellation(hospital: Hospital) -> None:
    await hospital.hears(siu("S12"))
    await hospital.hears(siu("S15", at="10"))
    await hospital.hears(siu("S13", "20300302090000", at="09"))
    assert (await hospital.one("Appointment"))["status"] == "cancelled"


async def test_a_booking_that_breaks_the_rules_is_refused_as_a_whole(hospital: Hospital) -> None:
    doctor = {
        "resourceType": "Practitioner",
        "id": "d",
        "identifier": [{"system": "https://osler.health/fhir/hl7v2/authority/HOSP", "value": "77"}],
    }
    await hospital.client.put_json("/Practitioner/d", doctor)
    schedule = {
        "resourceType": "Schedule",
        "id": "s",
        "active": True,
        "actor": [{"reference": "Practitioner/d"}],
    }
    await hospital.client.put_json("/Schedule/s", schedule)
    await hospital.hears(siu("S12"))
    other = (
        siu("S12").replace(b"F1^SCHED", b"F2^SCHED").replace(b"P1^HIS", b"P2^HIS").replace(b"4711", b"4712")
    )
    with pytest.raises(Refused) as refused:
        await hospital.hears(other)
    assert refused.value.status == 409
    assert len(await hospital.all("Patient")) == 1


async def test_an_appointment_without_a_time_is_held(hospital: Hospital) -> None:
    with pytest.raises(Held) as held:
        await hospital.hears(message("SIU^S12", "SCH|P1|F1", PID))
    assert held.value.problem.reason == "unreadable-value"


def dft(*charges: str, trigger: str = "P03") -> bytes:
    visit = "PV1|1|O|||||||||||||||||V1^^^HOSP"
    return message(f"DFT^{trigger}", EVN, PID, visit, *charges)


async def test_charges_are_charged_once(hospital: Hospital) -> None:
    charge = "FT1|1|T1^HIS||20260301|20260301|CG|71045^X-ray^C4|||2|100&EUR|50&EUR|RAD^Radiology^L"
    for trigger in ("P03", "P03", "P11"):
        await hospital.hears(dft(charge, trigger=trigger))
    item = await hospital.one("ChargeItem")
    assert item["status"] == "billable"
    assert item["quantity"] == {"value": 2}
    assert item["priceOverride"] == {"value": 100, "currency": "EUR"}
    assert item["account"][0]["reference"] == f"Account/{(await hospital.one('Account'))['id']}"
    visit = await hospital.one("Encounter")
    assert item["context"]["reference"] == f"Encounter/{visit['id']}"
    assert visit["status"] == "unknown"


async def test_charges_without_a_number_are_told_apart_by_what_they_are(hospital: Hospital) -> None:
    one = "FT1|1|||20260301||CG|71045^X-ray^C4"
    other = "FT1|2|||20260301||CG|71046^X-ray^C4"
    await hospital.hears(dft(one, other))
    await hospital.hears(dft(one, other, trigger="P11"))
    assert len(await hospital.all("ChargeItem")) == 2


async def test_a_credit_waits_for_a_person_and_a_payment_is_no_charge(hospital: Hospital) -> None:
    await hospital.hears(
        dft("FT1|1|T1||20260301||CD|71045^X-ray^C4|||2", "FT1|2|T2||20260301||PY|CASH^Cash^L")
    )
    assert await hospital.all("ChargeItem") == []
    assert [(one.reason, one.value) for one in hospital.problems] == [
        ("refused", "T1"),
        ("unmapped-code", "PY"),
    ]


async def test_accounts_come_with_who_pays(hospital: Hospital) -> None:
    insurance = "IN1|1|P1^Plan|INS1^^^HOSP|Insurer||||G1||||20260101|20261231||HMO||SEL"
    for trigger in ("P01", "P05"):
        await hospital.hears(message(f"BAR^{trigger}", EVN, PID, insurance, "DG1|1||I21^MI^I10|||F"))
    account, coverage = await hospital.one("Account"), await hospital.one("Coverage")
    assert account["coverage"] == [{"coverage": {"reference": f"Coverage/{coverage['id']}"}}]
    assert coverage["period"] == {"start": "2026-01-01", "end": "2026-12-31"}
    assert [one["value"] for one in coverage["class"]] == ["P1", "G1"]
    await hospital.one("Condition")


def mdm(trigger: str, number: str, *obx: str, parent: str = "", state: str = "AU", at: str = "08") -> bytes:
    txa = f"TXA|1|DS|TX|20260301|77^Smith^John^^^^^^HOSP|20260301100000|||77^Smith^John^^^^^^HOSP|||{number}|{parent}||||{state}||AV"
    return message(f"MDM^{trigger}", f"EVN||20260301{at}0000", PID, txa, *obx)


async def content(hospital: Hospital, document: dict[str, object]) -> bytes:
    url = document["content"][0]["attachment"]["url"]  # type: ignore[index]
    answer = await hospital.client.get(f"/{url}", headers={"accept": "application/fhir+json"})
    return base64.b64decode(answer.json()["data"])


async def test_a_document_comes_with_its_content(hospital: Hospital) -> None:
    await hospital.hears(
        mdm("T02", "D1", "OBX|1|TX|1^Text^L||first line", "OBX|2|FT|1^Text^L||second\\.br\\line")
    )
    document = await hospital.one("DocumentReference")
    assert (document["status"], document["docStatus"]) == ("current", "final")
    assert document["type"]["coding"][0]["code"] == "18842-5"
    assert document["author"][0]["display"] == "John Smith"
    assert await content(hospital, document) == b"first line\nsecond\nline"


async def test_what_is_attached_is_kept_byte_by_byte(hospital: Hospital) -> None:
    data = base64.b64encode(bytes(range(256))).decode()
    await hospital.hears(mdm("T02", "D1", f"OBX|1|ED|1^File^L||^AP^PDF^Base64^{data}"))
    document = await hospital.one("DocumentReference")
    assert document["content"][0]["attachment"]["contentType"] == "application/pdf"
    assert await content(hospital, document) == bytes(range(256))


async def test_an_addendum_and_a_replacement_lead_to_what_they_change(hospital: Hospital) -> None:
    await hospital.hears(mdm("T02", "D1", "OBX|1|TX|1||one"))
    await hospital.hears(mdm("T06", "D2", "OBX|1|TX|1||more", parent="D1", at="09"))
    await hospital.hears(mdm("T10", "D3", "OBX|1|TX|1||new", parent="D1", at="10"))
    found = {one["masterIdentifier"]["value"]: one for one in await hospital.all("DocumentReference")}
    assert found["D1"]["status"] == "superseded"
    first = {"reference": f"DocumentReference/{found['D1']['id']}"}
    assert found["D2"]["relatesTo"] == [{"code": "appends", "target": first}]
    assert found["D3"]["relatesTo"] == [{"code": "replaces", "target": first}]


async def test_a_document_that_nobody_has_is_named_and_told(hospital: Hospital) -> None:
    await hospital.hears(mdm("T06", "D2", "OBX|1|TX|1||more", parent="D1"))
    document = await hospital.one("DocumentReference")
    assert document["relatesTo"][0]["target"]["identifier"]["value"] == "D1"
    assert [one.reason for one in hospital.problems] == ["unmatched-document"]


async def test_a_signed_document_is_no_draft_again(hospital: Hospital) -> None:
    await hospital.hears(mdm("T02", "D1", "OBX|1|TX|1||one"))
    await hospital.hears(mdm("T04", "D1", "OBX|1|TX|1||one", state="DO", at="09"))
    assert (await hospital.one("DocumentReference"))["docStatus"] == "final"
    await hospital.hears(mdm("T08", "D1", "OBX|1|TX|1||two", at="10"))
    document = await hospital.one("DocumentReference")
    assert document["docStatus"] == "amended"
    assert await content(hospital, document) == b"two"


async def test_a_document_is_withdrawn(hospital: Hospital) -> None:
    await hospital.hears(mdm("T02", "D1", "OBX|1|TX|1||one"))
    await hospital.hears(mdm("T11", "D1", at="09"))
    assert (await hospital.one("DocumentReference"))["status"] == "entered-in-error"
    with pytest.raises(Held):
        await hospital.hears(mdm("T11", "D9"))


@pytest.mark.parametrize(
    ("trigger", "relates"),
    [("T01", None), ("T03", None), ("T05", "appends"), ("T07", None), ("T09", "replaces")],
)
async def test_a_notification_without_content_is_a_document_too(
    hospital: Hospital, trigger: str, relates: str | None
) -> None:
    await hospital.hears(
        message(
            f"MDM^{trigger}",
            EVN,
            PID,
            "TXA|1|DS^Discharge summary^HL70270|TX|20260301080000||||||||D1^^|D0|||||AU^Authenticated",
        )
    )
    made = await hospital.one("DocumentReference")
    assert (made["masterIdentifier"]["value"], made["status"]) == ("D1", "current")
    assert [one["code"] for one in made.get("relatesTo", [])] == ([relates] if relates else [])


async def test_an_appointment_is_based_on_its_orders_and_a_resource_is_a_device_only_when_told_so(
    hospital: Hospital,
) -> None:
    raw = siu("S12").replace(b"||||||||||||||\rTQ1", b"|||||||||||||||P7^HIS|F7^SCHED\rTQ1")
    raw += b"AIG|1||77^White, Charles|D^Doctor\rAIG|2||X1^Scanner|EQUIP\r"
    await hospital.hears(raw)
    made = await hospital.one("Appointment")
    assert [one["identifier"]["value"] for one in made["basedOn"]] == ["P7", "F7"]
    things = {one["actor"].get("display"): one["actor"].get("type") for one in made["participant"]}
    assert (things["White, Charles"], things["Scanner"]) == (None, "Device")
