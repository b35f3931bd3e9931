"""Results of messages in the records of a server: statuses, corrections, orders of arrival, and who they belong to."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from hl7_bridge.devices.loading import shipped
from hl7_bridge.devices.profile import PatientRule, Profile, ResultRules
from hl7_bridge.mapping.draft import Held
from hl7_bridge.mapping.tables.results import OBSERVATION_STATUS, RANKS, REPORT_STATUS
from tests.bridge.results_parts import Server, all_of, told
from tests.conftest import Client, StartServer

AUTHORITY = "https://osler.health/fhir/hl7v2/authority/NORTH"
LOCAL = "https://osler.health/fhir/hl7v2/authority/lab"


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server(store="memory:")


@pytest.fixture
async def server(client: Client) -> Server:
    await client.put_json(
        "/Patient/anna",
        {"resourceType": "Patient", "id": "anna", "identifier": [{"system": AUTHORITY, "value": "MRN-1"}]},
    )
    return Server(client)


HEADER = "MSH|^~\\&|LAB|NORTH|HIS|NORTH|{sent}+0000||ORU^R01^ORU_R01|5|P|2.5.1\nPID|1||MRN-1^^^NORTH^MR||EXAMPLE^ANNA\n"


def oru(
    status: str = "F",
    value: str = "5.3",
    reported: str = "20260301100000",
    report: str = "F",
    code: str = "2345-7^Glucose^LN",
    filler: str = "F-1",
    flag: str = "",
    sent: str = "20260301101500",
) -> str:
    return (
        HEADER.format(sent=sent)
        + f"ORC|RE|P-1|{filler}\nOBR|1|P-1|{filler}|24323-8^Panel^LN|||20260301080000|||||||||||||||{reported}|||{report}\n"
        + f"OBX|1|NM|{code}||{value}|mmol/L|3.5-5.1|{flag}|||{status}|||20260301080000"
    )


async def only(client: Client, type: str = "Observation") -> dict[str, Any]:
    found = await all_of(client, type)
    assert len(found) == 1, found
    return found[0]


async def test_result_becomes_an_observation_in_a_report_of_the_patient(server: Server) -> None:
    await told(server, oru(flag="H"))
    observation = await only(server.client)
    report = await only(server.client, "DiagnosticReport")
    assert observation["status"] == report["status"] == "final"
    assert observation["subject"] == report["subject"] == {"reference": "Patient/anna"}
    assert str(observation["valueQuantity"]["value"]) == "5.3"
    assert observation["valueQuantity"]["code"] == "mmol/L"
    assert observation["interpretation"][0]["coding"][0]["code"] == "H"
    assert str(observation["referenceRange"][0]["low"]["value"]) == "3.5"
    assert observation["meta"]["source"].startswith("urn:osler:hl7:lab")
    assert report["result"] == [{"reference": f"Observation/{observation['id']}"}]
    assert [one["value"] for one in report["identifier"][1:]] == ["P-1", "F-1"]


P = oru("P", "5.0", "20260301090000", "P")
F = oru("F", "5.3", "20260301100000", "F")
C = oru("C", "6.1", "20260301110000", "C")
F_AGAIN = oru("F", "5.3", "20260301100000", "F", sent="20260301120000")


@pytest.mark.parametrize("order", list(permutations((P, F, C, F_AGAIN))))
async def test_every_order_of_preliminary_final_corrected_and_resent_final_ends_at_corrected(
    server: Server, order: tuple[str, ...]
) -> None:
    for text in order:
        draft = await told(server, text)
        assert draft.problems == []
    observation = await only(server.client)
    assert (observation["status"], str(observation["valueQuantity"]["value"])) == ("corrected", "6.1")
    assert (await only(server.client, "DiagnosticReport"))["status"] == "corrected"


@pytest.mark.parametrize("order", list(permutations((P, F, oru("D", "", "20260301113000", "C")))))
async def test_withdrawn_result_is_entered_in_error_in_every_order(
    server: Server, order: tuple[str, ...]
) -> None:
    for text in order:
        await told(server, text)
    assert (await only(server.client))["status"] == "entered-in-error"


async def test_same_message_twice_writes_nothing_the_second_time(server: Server) -> None:
    await told(server, F)
    again = await told(server, F)
    assert [entry.resource["resourceType"] for entry in again.entries if entry.resource] == []


async def test_newer_final_replaces_an_older_one_and_an_older_one_nothing(server: Server) -> None:
    await told(server, oru(value="5.3", reported="20260301100000"))
    await told(server, oru(value="5.5", reported="20260301103000"))
    await told(server, oru(value="5.1", reported="20260301093000"))
    assert str((await only(server.client))["valueQuantity"]["value"]) == "5.5"


async def test_other_value_of_the_same_time_waits_for_a_person_who_decides(server: Server) -> None:
    await told(server, oru(value="5.3"))
    draft = await told(server, oru(value="5.4"))
    assert [(one.reason, one.path, one.value) for one in draft.problems] == [
        ("held-result", "OBX[1]-5", "5.4")
    ]
    assert str((await only(server.client))["valueQuantity"]["value"]) == "5.3"
    standing = await told(server, oru(value="5.4"), decisions=frozenset({"standing"}))
    assert standing.problems == []
    assert str((await only(server.client))["valueQuantity"]["value"]) == "5.3"
    arrived = await told(server, oru(value="5.4"), decisions=frozenset({"arrived"}))
    assert arrived.problems == []
    assert str((await only(server.client))["valueQuantity"]["value"]) == "5.4"


async def test_rerun_is_held_where_the_profile_says_so_and_kept_apart_where_it_says_that(
    server: Server,
) -> None:
    hold = Profile(results=ResultRules(repeat="hold"))
    await told(server, oru(value="5.3"), hold)
    draft = await told(server, oru(value="5.4", reported="20260301110000"), hold)
    assert [one.reason for one in draft.problems] == ["held-result"]
    each = Profile(results=ResultRules(repeat="each"))
    await told(server, oru(filler="F-9"), each)
    await told(server, oru(filler="F-9", value="7.7").replace("|||20260301080000", "|||20260301081000"), each)
    assert len(await all_of(server.client, "Observation")) == 3


async def test_hundred_results_under_one_control_id_are_hundred_observations(server: Server) -> None:
    for n in range(100):
        await told(server, oru(filler=f"F-{n}"))
    assert len(await all_of(server.client, "Observation")) == 100


@pytest.mark.parametrize("told_status", "CDFINOPRSUWXBV")
async def test_every_status_of_a_result_has_an_outcome(server: Server, told_status: str) -> None:
    draft = await told(server, oru(told_status, report=""))
    assert [one.reason for one in draft.problems if one.path.endswith("11")] == []
    found = [one["status"] for one in await all_of(server.client, "Observation")]
    expected = OBSERVATION_STATUS[told_status]
    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize("told_status", "OISAPCRFXYZMN")
async def test_every_status_of_a_report_has_an_outcome(server: Server, told_status: str) -> None:
    await told(server, oru("", report=told_status))
    assert (await only(server.client, "DiagnosticReport"))["status"] == REPORT_STATUS[told_status]


def test_every_status_has_a_rank() -> None:
    statuses = {*REPORT_STATUS.values(), *OBSERVATION_STATUS.values()} - {None}
    assert statuses <= RANKS.keys()


async def test_status_that_is_in_no_table_is_told(server: Server) -> None:
    draft = await told(server, oru("Q"))
    assert [(one.reason, one.value) for one in draft.problems] == [("unreadable-value", "Q")]
    assert (await only(server.client))["status"] == "unknown"


async def test_final_without_value_after_preliminary_makes_that_final(server: Server) -> None:
    await told(server, oru("P", "5.0", "20260301090000", "P"))
    await told(server, oru("U", "", "20260301100000", "F"))
    observation = await only(server.client)
    assert (observation["status"], str(observation["valueQuantity"]["value"])) == ("final", "5.0")


async def test_cancellation_never_takes_away_a_result_that_holds(server: Server) -> None:
    await told(server, oru("F"))
    draft = await told(server, oru("X", "", "20260301110000", "X"))
    assert [one.reason for one in draft.problems] == ["held-result"]
    assert (await only(server.client))["status"] == "final"


# patients


async def test_result_of_nobody_waits(server: Server) -> None:
    with pytest.raises(Held) as held:
        await told(server, F.replace("MRN-1", "MRN-2"))
    assert held.value.problem.reason == "unmatched-patient"
    assert held.value.problem.value == f"{AUTHORITY}|MRN-2"
    assert await all_of(server.client, "Observation") == []


async def test_sender_of_patients_makes_one(server: Server) -> None:
    profile = Profile(patient=PatientRule(unmatched="create"))
    await told(server, F.replace("MRN-1", "MRN-2"), profile)
    assert len(await all_of(server.client, "Patient")) == 2
    assert (await only(server.client))["subject"]["reference"] != "Patient/anna"


SPECIMEN = {
    "resourceType": "Specimen",
    "identifier": [{"system": "urn:hospital", "value": "BS-880001"}],
    "subject": {"reference": "Patient/anna"},
}
BS = """MSH|^~\\&|Mindray|BS-240|||20260303101500||ORU^R01|3|P|2.3.1||||{what}||ASCII
OBR|1|{specimen}|2|^|N|20260303095302|20260303095240|20260303095240||1^1||||20260303095240|Serum
OBX|1|NM|{code}|Glucose|{value}|mmol/L|-|N|||F||5.1|{at}|||0"""


def bs(
    value: str = "5.1",
    what: str = "0",
    specimen: str = "BS-880001",
    at: str = "20260303101400",
    code: str = "Glu-G",
) -> str:
    return BS.format(value=value, what=what, specimen=specimen, at=at, code=code)


async def test_patient_is_found_by_the_specimen(server: Server) -> None:
    profile = shipped("mindray-bs")
    with pytest.raises(Held) as held:
        await told(server, bs(), profile)
    assert held.value.problem.reason == "unmatched-specimen"
    await server.client.post_json("/Specimen", SPECIMEN)
    await told(server, bs(), profile)
    observation = await only(server.client)
    assert observation["subject"] == {"reference": "Patient/anna"}
    assert observation["code"]["coding"][0] == {
        "system": "http://loinc.org",
        "code": "14749-6",
        "display": "Glucose [Moles/volume] in Serum or Plasma",
    }
    assert observation["code"]["coding"][1]["code"] == "Glu-G"


async def test_specimen_of_another_patient_holds_the_message(server: Server) -> None:
    await server.client.put_json("/Patient/bert", {"resourceType": "Patient", "id": "bert"})
    other = {**SPECIMEN, "subject": {"reference": "Patient/bert"}}
    await server.client.post_json("/Specimen", other)
    text = F + "\nSPM|1|BS-880001||SER"
    with pytest.raises(Held) as held:
        await told(server, text)
    assert held.value.problem.reason == "ambiguous-identifier"


@pytest.mark.parametrize("what", ["1", "2"])
async def test_quality_control_and_calibration_write_nothing(server: Server, what: str) -> None:
    await server.client.post_json("/Specimen", SPECIMEN)
    draft = await told(server, bs(what=what), shipped("mindray-bs"))
    assert (draft.entries, draft.problems) == ([], [])


# codes


async def test_code_that_people_have_mapped_stands_in_front_of_the_local_one(server: Server) -> None:
    draft = await told(server, oru(code="GLU^Glucose^L"))
    assert [(one.reason, one.value) for one in draft.problems] == [("unmapped-code", "GLU")]
    assert (await only(server.client))["code"]["coding"][0]["code"] == "GLU"
    target = {"code": "14749-6", "equivalence": "equivalent"}
    await server.client.post_json(
        "/ConceptMap",
        {
            "resourceType": "ConceptMap",
            "url": "https://osler.health/fhir/ConceptMap/hl7-codes-generic",
            "status": "active",
            "group": [{"target": "http://loinc.org", "element": [{"code": "GLU", "target": [target]}]}],
        },
    )
    again = await told(server, oru(code="GLU^Glucose^L"))
    assert again.problems == []
    assert [one["code"] for one in (await only(server.client))["code"]["coding"]] == ["14749-6", "GLU"]


async def test_unmapped_code_holds_the_message_where_the_profile_says_so(server: Server) -> None:
    with pytest.raises(Held) as held:
        await told(server, oru(code="GLU^Glucose^L"), Profile(results=ResultRules(unmapped="hold")))
    assert (held.value.problem.reason, held.value.problem.value) == ("unmapped-code", "GLU")


# shapes


SPM, NTE = "SPM|1|S-1||SER^Serum^HL70487|||||||P", "NTE|1|L|a note"
PARTS = F.split("\n")


@pytest.mark.parametrize(
    "lines",
    [
        [*PARTS[:2], SPM, *PARTS[2:]],
        [*PARTS, SPM],
        [*PARTS[:4], SPM, *PARTS[4:]],
        [*PARTS[:2], *PARTS[3:], SPM],
        [*PARTS[:2], PARTS[3], PARTS[2], *PARTS[4:], SPM],
    ],
    ids=["specimen first", "specimen last", "result after specimen", "no ORC", "ORC after OBR"],
)
async def test_order_of_segments_makes_no_difference(server: Server, lines: list[str]) -> None:
    await told(server, "\n".join(lines))
    observation, specimen = await only(server.client), await only(server.client, "Specimen")
    assert observation["specimen"] == {"reference": f"Specimen/{specimen['id']}"}
    assert observation["identifier"][0]["value"] == "F-1/2345-7"
    assert specimen["identifier"][0] == {"system": LOCAL, "value": "S-1"}


@pytest.mark.parametrize(
    ("position", "lines"), [("after", [*PARTS, NTE]), ("before", [*PARTS[:4], NTE, *PARTS[4:]])]
)
async def test_note_stands_where_the_profile_says(server: Server, position: Any, lines: list[str]) -> None:
    await told(server, "\n".join(lines), Profile(results=ResultRules(notes=position)))
    assert (await only(server.client))["note"] == [{"text": "a note"}]


async def test_result_without_pid_belongs_to_the_patient_of_its_specimen(server: Server) -> None:
    specimen = {**SPECIMEN, "identifier": [{"value": "S-1"}]}
    await server.client.post_json("/Specimen", specimen)
    await told(server, "\n".join([PARTS[0], *PARTS[2:], SPM]))
    assert (await only(server.client))["subject"] == {"reference": "Patient/anna"}


async def test_lines_of_a_text_are_one_result(server: Server) -> None:
    lines = [f"OBX|{n}|TX|18748-4^Imaging^LN||line {n}||||||F" for n in (1, 2, 3)]
    await told(server, "\n".join([*PARTS[:4], *lines]))
    assert (await only(server.client))["valueString"] == "line 1\nline 2\nline 3"


async def test_document_belongs_to_the_report_and_a_picture_is_media(server: Server) -> None:
    lines = [
        "OBX|1|ED|PDF^Report^L||^AP^PDF^Base64^JVBERi0xLjQ=||||||F",
        "OBX|2|ED|IMG^Picture^L||^Image^BMP^Base64^Qk0=||||||F",
    ]
    await told(server, "\n".join([*PARTS, *lines]))
    await told(server, "\n".join([*PARTS, *lines]))
    report = await only(server.client, "DiagnosticReport")
    assert [(one["contentType"], one["data"]) for one in report["presentedForm"]] == [
        ("application/pdf", "JVBERi0xLjQ=")
    ]
    assert len(report["media"]) == 1
    assert (await only(server.client, "Media"))["content"]["contentType"] == "image/bmp"


async def test_large_document_is_a_binary_once(server: Server) -> None:
    data = "QUJD" * 20_000
    text = "\n".join([*PARTS, f"OBX|2|ED|PDF^Report^L||^AP^PDF^Base64^{data}||||||F"])
    await told(server, text)
    await told(server, text.replace("20260301100000", "20260301103000"))
    report = await only(server.client, "DiagnosticReport")
    assert len(report["presentedForm"]) == 1
    assert report["presentedForm"][0]["url"].startswith("Binary/")
    assert "data" not in report["presentedForm"][0]


# what a result sets going


ORDER = {
    "resourceType": "ServiceRequest",
    "identifier": [{"system": "urn:hospital", "value": "P-1"}],
    "status": "active",
    "intent": "order",
    "code": {"coding": [{"system": "http://loinc.org", "code": "24323-8"}]},
    "subject": {"reference": "Patient/anna"},
}


async def test_final_result_completes_its_order_and_a_preliminary_one_does_not(server: Server) -> None:
    await server.client.post_json("/ServiceRequest", ORDER)
    await told(server, P)
    order = await only(server.client, "ServiceRequest")
    assert order["status"] == "active"
    await told(server, F)
    order = await only(server.client, "ServiceRequest")
    assert order["status"] == "completed"
    link = [{"reference": f"ServiceRequest/{order['id']}"}]
    assert (await only(server.client))["basedOn"] == link
    assert (await only(server.client, "DiagnosticReport"))["basedOn"] == link


async def test_critical_result_asks_once_for_somebody(server: Server) -> None:
    await told(server, oru(flag="HH", value="30"))
    await told(server, oru(flag="HH", value="30", reported="20260301110000"))
    task = await only(server.client, "Task")
    observation = await only(server.client)
    assert (task["status"], task["priority"]) == ("requested", "stat")
    assert task["code"]["coding"][0]["code"] == "acknowledge-critical-result"
    assert task["focus"] == {"reference": f"Observation/{observation['id']}"}
    assert task["for"] == {"reference": "Patient/anna"}


async def test_number_beyond_what_the_profile_calls_critical_asks_too(server: Server) -> None:
    await server.client.post_json("/Specimen", SPECIMEN)
    await told(server, bs("27.5"), shipped("mindray-bs"))
    assert [one["coding"][0]["code"] for one in (await only(server.client))["interpretation"]] == ["N", "HH"]
    assert (await only(server.client, "Task"))["code"]["coding"][0]["code"] == "acknowledge-critical-result"


async def test_corrected_result_is_to_be_reviewed_again(server: Server) -> None:
    await told(server, F)
    await told(server, C)
    await told(server, C)
    task = await only(server.client, "Task")
    assert task["code"]["coding"][0]["code"] == "review-corrected-result"


async def test_specimen_says_how_much_there_is_and_the_result_its_own_number(server: Server) -> None:
    text = F + "|||||||||||||OBS-9^LAB\nSPM|1|S-1||SER^Serum^HL70487||||||||2.5^mL"
    text = text.replace("20260301080000|||||||||||||OBS-9", "20260301080000|||||||OBS-9")
    await told(server, text)
    quantity = (await only(server.client, "Specimen"))["collection"]["quantity"]
    assert (str(quantity["value"]), quantity["code"]) == ("2.5", "mL")
    assert "OBS-9" in [one["value"] for one in (await only(server.client))["identifier"]]


async def test_groups_that_name_no_panel_are_one_report_and_lose_no_result(server: Server) -> None:
    await server.client.post_json("/Specimen", SPECIMEN)
    second = "OBR|2|BS-880001|3|^\nOBX|1|NM|Glu-G|Glucose|6.2|mmol/L|-|N|||F||6.2|20260303101500|||0"
    await told(server, bs() + "\n" + second, shipped("mindray-bs"))
    found = sorted(str(one["valueQuantity"]["value"]) for one in await all_of(server.client, "Observation"))
    assert found == ["5.10", "6.20"]
    assert len((await only(server.client, "DiagnosticReport"))["result"]) == 2


async def test_two_groups_of_one_new_specimen_make_one_specimen(server: Server) -> None:
    specimen = "SPM|1|S-7||SER^Serum^HL70487|||||||P"
    second = "OBR|2||F-2|2160-0^Creatinine^LN\nOBX|1|NM|2160-0^Creatinine^LN||1.1|mg/dL|||||F"
    lines = [*PARTS[:2], specimen, *PARTS[3:], second]
    await told(server, "\n".join(lines))
    await only(server.client, "Specimen")
    assert len(await all_of(server.client, "Observation")) == 2


MIXED = """MSH|^~\\&|AN|LAB|||20260308080000||OUL^R22^OUL_R22|9|P|2.5.1
PID|1||MRN-1^^^NORTH^MR
SPM|1|{first}||SER|||||||{role}
OBR|1|||2345-7^Glucose^LN
OBX|1|NM|2345-7^Glucose^LN||{one}|mg/dL|||||F
SPM|2|{second}||SER|||||||{other}
OBR|2|||2345-7^Glucose^LN
OBX|1|NM|2345-7^Glucose^LN||{two}|mg/dL|||||F"""


@pytest.mark.parametrize("controls_first", [True, False])
async def test_control_among_patients_specimens_writes_nothing(server: Server, controls_first: bool) -> None:
    patient, control = ("S-1", "P", "98"), ("QC-1", "Q", "101")
    a, b = (control, patient) if controls_first else (patient, control)
    text = MIXED.format(first=a[0], role=a[1], one=a[2], second=b[0], other=b[1], two=b[2])
    await told(server, text)
    assert str((await only(server.client))["valueQuantity"]["value"]) == "98"


@pytest.mark.parametrize(
    ("old", "new"), [("|P|2.5.1", "|Q|2.5.1"), ("|P|2.5.1", "|P|2.5.1||||2"), ("|P|2.5.1", "|P|2.5.1||||1")]
)
async def test_marks_of_controls_count_whatever_the_profile_says(server: Server, old: str, new: str) -> None:
    draft = await told(server, F.replace(old, new))
    assert draft.entries == []
