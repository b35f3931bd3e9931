"""ADT: what messages about people and visits make of the record of a real server."""

from __future__ import annotations

import itertools

import pytest

from hl7_bridge.delivery import Refused
from hl7_bridge.mapping.draft import Held
from hl7_bridge.mapping.merging import PAGE
from tests.bridge.people import MRN, Hospital, message
from tests.conftest import StartServer

PID = "PID|1||4711^^^HOSP^MR||Doe^Jane^Ann^^Dr.^^L||19800501|F|||Main St 1^^Berlin^^10115^DE^H||030123^PRN^PH||de|M"


def pv1(bed: str = "A", visit: str = "V1", kind: str = "I", rest: str = "") -> str:
    place = f"W1^1^{bed}" if bed else ""
    return f"PV1|1|{kind}|{place}|R|||77^Smith^John^^^Dr.^^^HOSP||||||||||||{visit}^^^HOSP{rest}"


def adt(trigger: str, at: str, *segments: str, number: str = "1") -> bytes:
    return message(f"ADT^{trigger}", f"EVN|{trigger}|{at}", *segments, number=number)


@pytest.fixture
async def hospital(start_server: StartServer) -> Hospital:
    made = Hospital(await start_server())
    await made.has_ward("W1", "A", "B", "C")
    return made


async def bed_states(hospital: Hospital) -> dict[str, str]:
    found = await hospital.all("Location")
    return {one["name"]: one.get("operationalStatus", {}).get("code", "U") for one in found}


async def test_an_admission_makes_patient_and_visit_and_takes_the_bed(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    patient = await hospital.one("Patient", identifier=f"{MRN}|4711")
    assert patient["name"] == [
        {"use": "official", "family": "Doe", "given": ["Jane", "Ann"], "prefix": ["Dr."]}
    ]
    assert (patient["gender"], patient["birthDate"]) == ("female", "1980-05-01")
    assert patient["meta"]["source"] == "urn:osler:hl7:adt"
    visit = await hospital.one("Encounter")
    assert visit["status"] == "in-progress"
    assert visit["class"]["code"] == "IMP"
    assert visit["subject"]["reference"] == f"Patient/{patient['id']}"
    assert visit["location"][0]["location"]["reference"] == "Location/W1-A"
    assert visit["period"] == {"start": "2026-03-01T09:00:00+01:00"}
    assert (await bed_states(hospital))["A"] == "O"


async def test_a_bed_that_is_taken_refuses_the_whole_message(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    other = PID.replace("4711", "4712")
    with pytest.raises(Refused) as refused:
        await hospital.hears(adt("A01", "20260301093000", other, pv1(visit="V2")))
    assert refused.value.status in (409, 422)
    assert await hospital.all("Patient", identifier=f"{MRN}|4712") == []


async def test_what_is_not_told_stays_and_two_quotes_delete(hospital: Hospital) -> None:
    await hospital.hears(adt("A28", "20260301090000", PID))
    await hospital.hears(adt("A31", "20260301100000", "PID|1||4711^^^HOSP^MR||||||||Side St 2^^Bonn"))
    patient = await hospital.one("Patient")
    assert patient["address"] == [{"line": ["Side St 2"], "city": "Bonn"}]
    assert patient["birthDate"] == "1980-05-01"
    await hospital.hears(adt("A31", "20260301110000", 'PID|1||4711^^^HOSP^MR||||""||||""||""'))
    patient = await hospital.one("Patient")
    assert not {"birthDate", "address", "telecom"} & patient.keys()
    assert patient["name"][0]["family"] == "Doe"


async def test_a_visit_goes_through_transfer_and_discharge(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    await hospital.hears(adt("A02", "20260301100000", PID, pv1("B")))
    await hospital.hears(adt("A03", "20260302100000", PID, pv1("B", rest="|" * 17 + "01")))
    visit = await hospital.one("Encounter")
    assert visit["status"] == "finished"
    assert [one["location"]["reference"] for one in visit["location"]] == ["Location/W1-A", "Location/W1-B"]
    assert [one["status"] for one in visit["location"]] == ["completed", "completed"]
    assert visit["period"]["end"] == "2026-03-02T10:00:00+01:00"
    assert visit["hospitalization"]["dischargeDisposition"]["coding"][0]["code"] == "01"
    assert (await bed_states(hospital))["B"] == "H"


async def test_a_cancelled_transfer_brings_the_patient_back(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    before = await hospital.one("Encounter")
    await hospital.hears(adt("A02", "20260301100000", PID, pv1("B")))
    await hospital.hears(adt("A12", "20260301103000", PID, pv1("A")))
    visit = await hospital.one("Encounter")
    assert visit["location"] == before["location"]
    assert visit["status"] == "in-progress"
    states = await bed_states(hospital)
    assert (states["A"], states["B"]) == ("O", "H")


async def test_a_cancelled_discharge_brings_the_visit_back(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    before = await hospital.one("Encounter")
    await hospital.hears(adt("A03", "20260302100000", PID, pv1()))
    await hospital.hears(adt("A13", "20260302110000", PID, pv1()))
    visit = await hospital.one("Encounter")
    assert visit["location"] == before["location"]
    assert visit["period"] == before["period"]
    assert visit["status"] == "in-progress"


async def test_a_cancelled_admission_of_a_planned_visit_leaves_it_planned(hospital: Hospital) -> None:
    await hospital.hears(adt("A05", "20260228090000", PID, pv1()))
    assert (await hospital.one("Encounter"))["location"][0]["status"] == "planned"
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    assert (await hospital.one("Encounter"))["status"] == "in-progress"
    await hospital.hears(adt("A11", "20260301100000", PID, pv1()))
    assert (await hospital.one("Encounter"))["status"] == "planned"
    assert (await bed_states(hospital))["A"] == "H"


async def test_a_cancelled_admission_cancels_the_visit(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    await hospital.hears(adt("A11", "20260301100000", PID, pv1()))
    assert (await hospital.one("Encounter"))["status"] == "cancelled"


STAY = (
    ("A01", "20260301090000", "A"),
    ("A02", "20260301100000", "B"),
    ("A02", "20260301110000", "C"),
    ("A03", "20260302100000", "C"),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_events_in_any_order_end_with_the_same_visit(
    hospital: Hospital, order: tuple[int, ...]
) -> None:
    for n in order:
        trigger, at, bed = STAY[n]
        await hospital.hears(adt(trigger, at, PID, pv1(bed), number=str(n)))
    visit = await hospital.one("Encounter")
    assert visit["status"] == "finished"
    assert visit["period"] == {"start": "2026-03-01T09:00:00+01:00", "end": "2026-03-02T10:00:00+01:00"}
    places = [one["location"]["reference"] for one in visit["location"]]
    assert places == ["Location/W1-A", "Location/W1-B", "Location/W1-C"]
    assert {one["status"] for one in visit["location"]} == {"completed"}


RETURN = (
    ("A01", "20260301090000", "A"),
    ("A02", "20260301100000", "B"),
    ("A02", "20260301110000", "A"),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_a_patient_who_returned_is_where_the_last_transfer_says(
    hospital: Hospital, order: tuple[int, ...]
) -> None:
    for n in order:
        trigger, at, bed = RETURN[n]
        await hospital.hears(adt(trigger, at, PID, pv1(bed), number=str(n)))
    visit = await hospital.one("Encounter")
    places = [(one["location"]["reference"], one["status"]) for one in visit["location"]]
    assert places == [
        ("Location/W1-A", "completed"),
        ("Location/W1-B", "completed"),
        ("Location/W1-A", "active"),
    ]


async def test_a_cancelled_transfer_that_comes_before_its_transfer_still_cancels_it(
    hospital: Hospital,
) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    await hospital.hears(adt("A12", "20260301103000", PID, pv1("A")))
    await hospital.hears(adt("A02", "20260301100000", PID, pv1("B")))
    visit = await hospital.one("Encounter")
    active = [one["location"]["reference"] for one in visit["location"] if one["status"] == "active"]
    assert active == ["Location/W1-A"]


async def test_a_late_transfer_does_not_move_the_patient_back(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    await hospital.hears(adt("A02", "20260301110000", PID, pv1("C")))
    await hospital.hears(adt("A02", "20260301100000", PID, pv1("B"), number="9"))
    visit = await hospital.one("Encounter")
    active = [one["location"]["reference"] for one in visit["location"] if one["status"] == "active"]
    assert active == ["Location/W1-C"]


async def test_late_demographics_only_add(hospital: Hospital) -> None:
    await hospital.hears(adt("A31", "20260301100000", "PID|1||4711^^^HOSP^MR||New^Name"))
    await hospital.hears(adt("A31", "20260301090000", "PID|1||4711^^^HOSP^MR||Old^Name||19800501"))
    patient = await hospital.one("Patient")
    assert patient["name"][0]["family"] == "New"
    assert patient["birthDate"] == "1980-05-01"


async def test_the_time_of_the_event_counts_before_the_time_of_its_entry(hospital: Hospital) -> None:
    await hospital.hears(message("ADT^A31", "EVN|A31|20260301100000", "PID|1||4711^^^HOSP^MR||New^Name"))
    entered_later = "EVN|A31|20260301120000||||20260301080000"
    await hospital.hears(message("ADT^A31", entered_later, "PID|1||4711^^^HOSP^MR||Old^Name"))
    assert (await hospital.one("Patient"))["name"][0]["family"] == "New"


MORE = (
    "NK1|1|Doe^John|SPO|||030999",
    "AL1|1|DA|P^Penicillin^L|SV|rash~itching",
    "DG1|1||I21.9^Infarction^I10|||A",
    "PR1|1||5-470^Appendectomy^OPS||20260301100000",
    "IN1|1|P1^Plan|INS1^^^HOSP|Insurer||||||||20260101|20261231||HMO||SEL|" + "|" * 18 + "POL1",
    "GT1|1||Doe^John||||||||SPO",
)


async def test_contacts_allergies_diagnoses_and_payers_are_kept_once(hospital: Hospital) -> None:
    pid = PID + "||ACC1^^^HOSP^AN"
    for n, trigger in enumerate(("A01", "A08", "A08")):
        await hospital.hears(adt(trigger, f"2026030109{n}000", pid, pv1(), *MORE))
    visit = await hospital.one("Encounter")
    account = await hospital.one("Account")
    condition = await hospital.one("Condition")
    coverage = await hospital.one("Coverage")
    await hospital.one("AllergyIntolerance")
    await hospital.one("Procedure")
    assert len(await hospital.all("RelatedPerson")) == 2
    assert visit["diagnosis"][0]["condition"]["reference"] == f"Condition/{condition['id']}"
    assert visit["account"] == [{"reference": f"Account/{account['id']}"}]
    assert account["coverage"][0]["coverage"]["reference"] == f"Coverage/{coverage['id']}"
    assert account["guarantor"][0]["party"]["reference"].startswith("RelatedPerson/")
    assert condition["meta"]["versionId"] == "1"


async def test_what_was_measured_at_admission_is_an_observation_of_its_own(hospital: Hospital) -> None:
    weight = "OBX|1|NM|29463-7^Body weight^LN||70.5|kg^kilogram^UCUM|||||F|||20260301085500"
    habit = "OBX|2|ST|72166-2^Tobacco smoking status^LN||never||||||F"
    for number, at in enumerate(("20260301090000", "20260301100000"), 1):
        trigger = "A01" if number == 1 else "A08"
        for _ in range(2):
            await hospital.hears(adt(trigger, at, PID, pv1(), weight, habit, number=str(number)))
    visit = await hospital.one("Encounter")
    measured = await hospital.one("Observation", code="http://loinc.org|29463-7")
    assert measured["valueQuantity"]["value"] == 70.5
    assert measured["valueQuantity"]["code"] == "kg"
    assert measured["effectiveDateTime"] == "2026-03-01T08:55:00+01:00"
    assert measured["encounter"]["reference"] == f"Encounter/{visit['id']}"
    assert measured["subject"] == visit["subject"]
    assert "category" not in measured
    said = await hospital.one("Observation", code="http://loinc.org|72166-2")
    assert said["effectiveDateTime"] == "2026-03-01T10:00:00+01:00"
    assert await hospital.all("DiagnosticReport") == []


async def test_a_late_telling_of_what_was_seen_changes_nothing(hospital: Hospital) -> None:
    said = "OBX|1|ST|72166-2^Tobacco smoking status^LN||{}||||||F"
    await hospital.hears(adt("A08", "20260301100000", PID, pv1(), said.format("former"), number="2"))
    await hospital.hears(adt("A01", "20260301090000", PID, pv1(), said.format("never")))
    assert (await hospital.one("Observation"))["valueString"] == "former"


async def test_a_picture_beside_a_visit_is_told(hospital: Hospital) -> None:
    picture = "OBX|1|ED|PHOTO^Photo^L||^image^jpeg^Base64^/9j/4AAQ||||||F"
    await hospital.hears(adt("A01", "20260301090000", PID, pv1(), picture))
    assert "belongs to no report" in " ".join(problem.text for problem in hospital.problems)


async def test_a_merge_links_the_records_and_moves_what_was_recorded(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    await hospital.hears(adt("A28", "20260301090000", PID.replace("4711", "4700")))
    await hospital.hears(
        message("ADT^A40", "EVN|A40|20260301120000", PID.replace("4711", "4700"), "MRG|4711^^^HOSP^MR")
    )
    patients = {one["identifier"][0]["value"]: one for one in await hospital.all("Patient")}
    gone, stays = patients["4711"], patients["4700"]
    assert gone["active"] is False
    assert gone["link"] == [{"other": {"reference": f"Patient/{stays['id']}"}, "type": "replaced-by"}]
    assert {one["type"] for one in stays["link"]} == {"replaces"}
    assert (await hospital.one("Encounter"))["subject"]["reference"] == f"Patient/{stays['id']}"
    # what still comes with the old number is about the patient who stays
    await hospital.hears(adt("A08", "20260301130000", PID, pv1(), "AL1|1|DA|P^Penicillin^L"))
    allergy = await hospital.one("AllergyIntolerance")
    assert allergy["patient"]["reference"] == f"Patient/{stays['id']}"


async def test_a_merge_moves_all_that_was_recorded_however_much_it_is(hospital: Hospital) -> None:
    await hospital.hears(adt("A28", "20260301080000", PID))
    await hospital.hears(adt("A28", "20260301080000", PID.replace("4711", "4700")))
    (old,) = await hospital.all("Patient", identifier=f"{MRN}|4711")
    (new,) = await hospital.all("Patient", identifier=f"{MRN}|4700")
    results = [
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": str(n)},
            "subject": {"reference": f"Patient/{old['id']}"},
        }
        for n in range(2 * PAGE + 50)
    ]
    entries = [{"resource": one, "request": {"method": "POST", "url": "Observation"}} for one in results]
    told = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert (await hospital.client.post_json("", told)).status_code == 200
    await hospital.hears(
        message("ADT^A40", "EVN|A40|20260301120000", PID.replace("4711", "4700"), "MRG|4711^^^HOSP^MR")
    )
    moved = await hospital.all("Observation", patient=new["id"])
    assert sorted(int(one["code"]["text"]) for one in moved) == list(range(2 * PAGE + 50))
    assert await hospital.all("Observation", patient=old["id"]) == []
    (given_up,) = await hospital.all("Patient", _id=old["id"])
    assert given_up["active"] is False


async def test_a_merge_told_twice_changes_nothing(hospital: Hospital) -> None:
    await hospital.hears(adt("A28", "20260301090000", PID))
    await hospital.hears(adt("A28", "20260301090000", PID.replace("4711", "4700")))
    merge = message("ADT^A40", "EVN|A40|20260301120000", PID.replace("4711", "4700"), "MRG|4711^^^HOSP^MR")
    await hospital.hears(merge)
    versions = {one["id"]: one["meta"]["versionId"] for one in await hospital.all("Patient")}
    await hospital.hears(merge)
    assert {one["id"]: one["meta"]["versionId"] for one in await hospital.all("Patient")} == versions


async def test_a_changed_number_stays_with_the_patient(hospital: Hospital) -> None:
    await hospital.hears(adt("A28", "20260301090000", PID))
    await hospital.hears(
        message("ADT^A47", "EVN|A47|20260301120000", "PID|1||5000^^^HOSP^MR||Doe^Jane", "MRG|4711^^^HOSP^MR")
    )
    patient = await hospital.one("Patient")
    assert {(one["value"], one.get("use")) for one in patient["identifier"]} == {
        ("4711", "old"),
        ("5000", None),
    }


async def test_a_visit_is_moved_to_another_patient(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
    other = PID.replace("4711", "4700")
    await hospital.hears(adt("A28", "20260301090000", other))
    await hospital.hears(
        adt("A45", "20260301120000", other, "MRG|4711^^^HOSP^MR||||V1^^^HOSP", pv1("", visit="V1"))
    )
    stays = await hospital.one("Patient", identifier=f"{MRN}|4700")
    assert (await hospital.one("Encounter"))["subject"]["reference"] == f"Patient/{stays['id']}"


async def test_identifiers_of_two_patients_hold_the_message(hospital: Hospital) -> None:
    await hospital.hears(adt("A28", "20260301090000", PID))
    await hospital.hears(adt("A28", "20260301090000", PID.replace("4711", "4700")))
    with pytest.raises(Held) as held:
        await hospital.hears(adt("A31", "20260301100000", "PID|1||4711^^^HOSP^MR~4700^^^HOSP^MR"))
    assert held.value.problem.reason == "ambiguous-identifier"


async def test_a_patient_without_a_number_is_held(hospital: Hospital) -> None:
    with pytest.raises(Held) as held:
        await hospital.hears(adt("A28", "20260301090000", "PID|1||||Doe^Jane"))
    assert held.value.problem.reason == "unmatched-patient"


async def test_a_place_nobody_knows_is_told_and_kept_as_words(hospital: Hospital) -> None:
    await hospital.hears(adt("A01", "20260301090000", PID, pv1("X")))
    visit = await hospital.one("Encounter")
    assert visit["location"][0]["location"] == {"display": "W1 1 X"}
    assert [one.reason for one in hospital.problems] == ["unmatched-location"]


async def test_the_same_number_of_two_senders_is_two_patients(hospital: Hospital) -> None:
    await hospital.hears(adt("A28", "20260301090000", "PID|1||4711||Doe^Jane"))
    hospital.connection = "other"
    await hospital.hears(adt("A28", "20260301090000", "PID|1||4711||Roe^Mary"))
    assert len(await hospital.all("Patient")) == 2
