"""The outbox: what changes in a real server reaches another system over a real socket, once, in order, or waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from fhir_server.bridge.metrics import BridgeCollector, of_wire
from fhir_server.bridge.outbox import Outbox, Pace
from fhir_server.bridge.sent import Sent, figures_of
from hl7_bridge.config import Address, Destination
from hl7_bridge.figures import WireFigures
from hl7_bridge.framing import Frame, framing, wrap
from hl7_bridge.message import Message, parse
from hl7_bridge.tallies import Tallies
from tests.bridge.core import until
from tests.bridge.people import Hospital, message
from tests.bridge.test_people_adt import PID, adt, pv1
from tests.conftest import StartServer

QUICK = Pace(first=0.02, longest=0.05, lease=0.4)
Answer = Callable[[Message, int], bytes | None]


def acknowledged(code: str, told: Message, control_id: str = "") -> bytes:
    told_id = control_id or told.control_id
    return f"MSH|^~\\&|LIS|LAB|OSLER||20260301||ACK|1|P|2.5.1\rMSA|{code}|{told_id}|because\r".encode()


class Receiver:
    """Another system: keeps what it gets and answers as it is told to."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.answer: Answer = lambda told, n: acknowledged("AA", told)
        self.news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = framing("mllp")
        try:
            while data := await reader.read(65536):
                for one in frames.feed(data):
                    if isinstance(one, Frame):
                        told = parse(one.payload)
                        self.got.append(told)
                        self.news.set()
                        answer = self.answer(told, len(self.got))
                        if answer is not None:
                            writer.write(wrap("mllp", answer))
                            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def until(self, number: int) -> list[Message]:
        async with asyncio.timeout(20):
            while len(self.got) < number:
                self.news.clear()
                await self.news.wait()
        return self.got

    @property
    def triggers(self) -> list[str]:
        return [one.trigger for one in self.got]


@asynccontextmanager
async def listening(receiver: Receiver, port: int = 0) -> AsyncIterator[int]:
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def hospital(start_server: StartServer) -> Hospital:
    made = Hospital(await start_server())
    await made.has_ward("W1", "A", "B", "C")
    return made


@asynccontextmanager
async def outbox(hospital: Hospital, port: int, owner: str = "me", **options: Any) -> AsyncIterator[Outbox]:
    messages = options.pop("messages", ())
    options.setdefault("answer_seconds", 0.3)
    to = Destination("lis", Address("127.0.0.1", port), messages, None, options)
    made = Outbox(hospital.client.app.services, [to], owner, QUICK)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def admit(hospital: Hospital, bed: str = "W1-A", patient: str = "p1") -> str:
    resource = {
        "resourceType": "Patient",
        "id": patient,
        "identifier": [{"system": "urn:oid:1.2.3.4", "value": patient}],
        "name": [{"family": "Doe"}],
    }
    await hospital.client.put_json(f"/Patient/{patient}", resource)
    answer = await operation(
        hospital,
        "Encounter/$admit",
        ("patient", "Reference", {"reference": f"Patient/{patient}"}),
        ("bed", "Reference", {"reference": f"Location/{bed}"}),
    )
    return str(answer["id"])


async def operation(hospital: Hospital, path: str, *parameters: tuple[str, str, Any]) -> dict[str, Any]:
    """Call an operation; what it answers."""
    import uuid

    told = [{"name": name, f"value{type}": value} for name, type, value in parameters]
    told.append({"name": "request-id", "valueUri": f"urn:uuid:{uuid.uuid4()}"})
    body = {"resourceType": "Parameters", "parameter": told}
    answer = await hospital.client.post_json(f"/{path}", body)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def eventually(hospital: Hospital, check: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds; looked at whenever something was written."""
    async with asyncio.timeout(20), aclosing(hospital.client.app.services.store.watch(0)) as written:
        async for _ in written:
            if await check():
                return


async def statuses(hospital: Hospital) -> list[str]:
    found = await hospital.all("Communication", _sort="_lastUpdated")
    found.sort(key=lambda one: one["identifier"][0]["value"])
    return [one["status"] for one in found]


async def test_a_stay_is_told_from_admission_to_discharge(hospital: Hospital) -> None:
    receiver = Receiver()
    bed = {"reference": "Location/W1-B"}
    reason = ("reason", "CodeableConcept", {"text": "mistake"})
    async with listening(receiver) as port, outbox(hospital, port):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$transfer", ("bed", "Reference", bed))
        await operation(hospital, f"Encounter/{id}/$discharge")
        await operation(hospital, f"Encounter/{id}/$cancel-discharge", reason)
        await operation(hospital, f"Encounter/{id}/$cancel-admit", reason)
        told = await receiver.until(5)
        await eventually(hospital, lambda: _all(hospital, "completed"))
    assert [one.trigger for one in told] == ["A01", "A02", "A03", "A13", "A11"]
    assert [one.get("PV1-3.3") for one in told] == ["A", "B", "B", "B", "B"]
    assert told[1].get("PV1-6.3") == "A"
    assert len({one.control_id for one in told}) == 5


async def _all(hospital: Hospital, status: str) -> bool:
    found = await statuses(hospital)
    return bool(found) and set(found) == {status}


async def test_what_was_there_before_the_destination_is_not_told(hospital: Hospital) -> None:
    id = await admit(hospital)
    receiver = Receiver()
    async with listening(receiver) as port, outbox(hospital, port):
        await operation(hospital, f"Encounter/{id}/$discharge")
        await receiver.until(1)
    assert receiver.triggers == ["A03"]


async def test_a_message_without_an_answer_is_sent_again_with_the_same_control_id(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: None if n < 3 else acknowledged("AA", told)
    async with listening(receiver) as port, outbox(hospital, port):
        await admit(hospital)
        told = await receiver.until(3)
        await eventually(hospital, lambda: _all(hospital, "completed"))
    assert len({one.control_id for one in told}) == 1
    assert len({one.raw for one in told}) == 1


async def test_an_answer_to_another_message_is_no_answer(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: (
        acknowledged("AA", told, "SOMETHING") if n == 1 else acknowledged("AA", told)
    )
    async with listening(receiver) as port, outbox(hospital, port):
        await admit(hospital)
        await receiver.until(2)
        await eventually(hospital, lambda: _all(hospital, "completed"))
    assert receiver.triggers == ["A01", "A01"]


async def test_nothing_is_lost_while_the_destination_is_down(hospital: Hospital) -> None:
    receiver = Receiver()
    async with listening(receiver) as port:
        pass
    async with outbox(hospital, port):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$discharge")
        await eventually(hospital, lambda: _all(hospital, "preparation"))
        async with listening(receiver, port):
            await receiver.until(2)
            await eventually(hospital, lambda: _all(hospital, "completed"))
    assert receiver.triggers == ["A01", "A03"]


async def test_a_server_that_begins_anew_goes_on_where_the_last_one_was(hospital: Hospital) -> None:
    receiver = Receiver()
    async with listening(receiver) as port:
        async with outbox(hospital, port):
            id = await admit(hospital)
            await receiver.until(1)
            await eventually(hospital, lambda: _all(hospital, "completed"))
        await operation(hospital, f"Encounter/{id}/$discharge")
        async with outbox(hospital, port, owner="another"):
            await receiver.until(2)
            await eventually(hospital, lambda: _all(hospital, "completed"))
    assert receiver.triggers == ["A01", "A03"]


async def test_an_error_holds_the_messages_of_this_patient_alone(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: acknowledged("AE" if told.get("PID-3.1") == "p1" else "AA", told)
    async with listening(receiver) as port, outbox(hospital, port):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$discharge")
        await admit(hospital, "W1-B", "p2")
        await receiver.until(2)
        await eventually(hospital, lambda: _is(hospital, ["on-hold", "on-hold", "completed"]))
        assert [(one.get("PID-3.1"), one.trigger) for one in receiver.got] == [("p1", "A01"), ("p2", "A01")]
        task = await hospital.one("Task", code="not-taken")
        assert task["status"] == "requested"
        # the other side is mended, and somebody sends the held message again
        receiver.answer = lambda told, n: acknowledged("AA", told)
        held = await hospital.one("Communication", _id=task["id"])
        await hospital.client.put_json(f"/Communication/{held['id']}", {**held, "status": "preparation"})
        await receiver.until(4)
        await eventually(hospital, lambda: _all(hospital, "completed"))
        await eventually(hospital, lambda: _done(hospital, task["id"]))
    assert receiver.triggers == ["A01", "A01", "A01", "A03"]
    first, again = receiver.got[0], receiver.got[2]
    assert first.control_id != again.control_id
    assert first.segments[1:][0].line == again.segments[1:][0].line


async def _is(hospital: Hospital, wanted: list[str]) -> bool:
    return await statuses(hospital) == wanted


async def _done(hospital: Hospital, task: str) -> bool:
    return (await hospital.one("Task", _id=task))["status"] == "completed"


async def test_a_rejected_message_is_a_dead_letter_and_the_next_goes_on(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: acknowledged("AR" if n == 1 else "AA", told)
    async with listening(receiver) as port, outbox(hospital, port):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$discharge")
        await receiver.until(2)
        await eventually(hospital, lambda: _is(hospital, ["not-done", "completed"]))
    task = await hospital.one("Task", code="rejected")
    assert task["focus"]["reference"].startswith("Communication/")
    assert task["code"]["text"] == "because"


async def test_resolving_the_task_sends_the_message_again(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: acknowledged("AR" if n == 1 else "AA", told)
    async with listening(receiver) as port, outbox(hospital, port):
        await admit(hospital)
        await eventually(hospital, lambda: _is(hospital, ["not-done"]))
        task = await hospital.one("Task", code="rejected")
        await operation(hospital, f"Task/{task['id']}/$resolve", ("action", "Code", "replay"))
        await eventually(hospital, lambda: _all(hospital, "completed"))
        await eventually(hospital, lambda: _done(hospital, task["id"]))
    assert receiver.triggers == ["A01", "A01"]
    assert receiver.got[0].control_id != receiver.got[1].control_id


async def test_discarding_a_held_message_lets_the_next_one_go(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: acknowledged("AE" if n == 1 else "AA", told)
    async with listening(receiver) as port, outbox(hospital, port):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$discharge")
        await eventually(hospital, lambda: _is(hospital, ["on-hold", "on-hold"]))
        task = await hospital.one("Task", code="not-taken")
        why = ("reason", "String", "they know by telephone")
        await operation(hospital, f"Task/{task['id']}/$resolve", ("action", "Code", "discard"), why)
        await eventually(hospital, lambda: _is(hospital, ["not-done", "completed"]))
    assert receiver.triggers == ["A01", "A03"]


async def test_what_comes_from_the_destination_is_not_told_to_it(hospital: Hospital) -> None:
    receiver = Receiver()
    hospital.connection = "lis"
    async with listening(receiver) as port, outbox(hospital, port):
        await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
        await admit(hospital, "W1-B", "p2")
        await receiver.until(1)
    assert [one.get("PID-3.1") for one in receiver.got] == ["p2"]


async def test_messages_of_other_systems_are_passed_on(hospital: Hospital) -> None:
    receiver = Receiver()
    other = PID.replace("4711", "4700")
    async with listening(receiver) as port, outbox(hospital, port):
        await hospital.hears(adt("A01", "20260301090000", PID, pv1()))
        await hospital.hears(adt("A02", "20260301100000", PID, pv1("B")))
        await hospital.hears(adt("A12", "20260301103000", PID, pv1("A")))
        await hospital.hears(
            adt("A08", "20260301110000", PID + "|cath", pv1("A", kind="I", rest="||||||||||||||||||||||||||"))
        )
        await hospital.hears(adt("A28", "20260301110000", other))
        await hospital.hears(message("ADT^A40", "EVN|A40|20260301120000", other, "MRG|4711^^^HOSP^MR"))
        await receiver.until(4)
        await eventually(hospital, lambda: _all(hospital, "completed"))
    assert receiver.triggers[:3] == ["A01", "A02", "A12"]
    assert "A40" in receiver.triggers
    merge = next(one for one in receiver.got if one.trigger == "A40")
    assert (merge.get("PID-3.1"), merge.get("MRG-1.1")) == ("4700", "4711")


async def test_a_destination_is_told_only_what_it_wants(hospital: Hospital) -> None:
    receiver = Receiver()
    async with listening(receiver) as port, outbox(hospital, port, messages=("ADT^A03",)):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$discharge")
        await receiver.until(1)
    assert receiver.triggers == ["A03"]


async def test_a_filter_is_a_search(hospital: Hospital) -> None:
    receiver = Receiver()
    only = {"Encounter": "location=Location/W1-B"}
    async with listening(receiver) as port, outbox(hospital, port, filter=only):
        await admit(hospital)
        await admit(hospital, "W1-B", "p2")
        await receiver.until(1)
    assert [one.get("PID-3.1") for one in receiver.got] == ["p2"]


async def test_two_servers_send_each_message_once(hospital: Hospital) -> None:
    receiver = Receiver()
    async with listening(receiver) as port, outbox(hospital, port), outbox(hospital, port, owner="other"):
        id = await admit(hospital)
        await operation(hospital, f"Encounter/{id}/$discharge")
        await receiver.until(2)
        await eventually(hospital, lambda: _all(hospital, "completed"))
    assert receiver.triggers == ["A01", "A03"]


async def test_results_orders_charges_documents_and_appointments_are_told(hospital: Hospital) -> None:
    receiver = Receiver()
    subject = {"reference": "Patient/p1"}
    code = {"coding": [{"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}]}
    lab = [{"coding": [{"system": "http://snomed.info/sct", "code": "108252007"}]}]
    async with (
        listening(receiver) as port,
        outbox(hospital, port, messages=("ORU", "OML^O21", "OML^O33", "DFT", "MDM", "SIU")),
    ):
        await admit(hospital)

        async def put(kind: str, id: str, **rest: Any) -> None:
            resource = {"resourceType": kind, "id": id, **rest}
            answer = await hospital.client.put_json(f"/{kind}/{id}", resource)
            assert answer.status_code in (200, 201), answer.text

        await put("Specimen", "s1", subject=subject, type={"text": "blood"})
        order = {"intent": "order", "code": code, "subject": subject, "category": lab}
        await put("ServiceRequest", "o1", status="active", specimen=[{"reference": "Specimen/s1"}], **order)
        result = {"code": code, "subject": subject, "valueString": "high"}
        await put("Observation", "b1", status="final", **result)
        report = {"code": code, "subject": subject, "result": [{"reference": "Observation/b1"}]}
        await put(
            "DiagnosticReport", "r1", status="final", basedOn=[{"reference": "ServiceRequest/o1"}], **report
        )
        await put("Observation", "b1", status="corrected", **{**result, "valueString": "low"})
        await put(
            "DiagnosticReport",
            "r1",
            status="corrected",
            basedOn=[{"reference": "ServiceRequest/o1"}],
            **report,
        )
        await put("ServiceRequest", "o1", status="revoked", **order)
        await put("ChargeItem", "c1", status="billable", code=code, subject=subject)
        content = [{"attachment": {"contentType": "text/plain", "data": "aGk="}}]
        await put(
            "DocumentReference", "d1", status="current", docStatus="final", subject=subject, content=content
        )
        times = {"start": "2030-03-01T09:00:00Z", "end": "2030-03-01T09:20:00Z"}
        who = [{"actor": subject, "status": "accepted"}]
        await put("Appointment", "a1", status="booked", participant=who, **times)
        moved = {"start": "2030-03-02T09:00:00Z", "end": "2030-03-02T09:20:00Z"}
        await put("Appointment", "a1", status="booked", participant=who, **moved)
        await put("Appointment", "a1", status="cancelled", participant=who, **moved)
        told = await receiver.until(10)
    assert [f"{one.type}^{one.trigger}" for one in told] == [
        "OML^O21",
        "OML^O33",
        "ORU^R01",
        "ORU^R01",
        "OML^O21",
        "DFT^P03",
        "MDM^T02",
        "SIU^S12",
        "SIU^S13",
        "SIU^S15",
    ]
    assert [one.get("OBX-11") for one in told[2:4]] == ["F", "C"]
    assert [one.get("OBX-5") for one in told[2:4]] == ["high", "low"]
    assert told[2].get("OBR-2.1") == "o1"
    assert told[4].get("ORC-1") == "CA"
    assert told[6].get("OBX-5.5") == "aGk="


async def test_figures_tell_what_became_of_the_messages_to_a_destination(hospital: Hospital) -> None:
    receiver = Receiver()
    receiver.answer = lambda told, n: acknowledged("AA" if n == 1 else "AR", told)
    services = hospital.client.app.services
    async with listening(receiver) as port, outbox(hospital, port):
        assert (await figures_of(services, ["lis"]))["lis"] == Sent(
            {"waiting": 0, "held": 0, "dead": 0, "acknowledged": 0}, None
        )
        await admit(hospital)
        await receiver.until(1)
        await admit(hospital, "W1-B", "p2")
        await receiver.until(2)

        async def states() -> dict[str, int]:
            return (await figures_of(services))["lis"].states

        await until(states, lambda found: found["dead"] == 1 and found["acknowledged"] == 1)
        sent = await figures_of(services)
        assert sent["lis"].last is not None
        collector = BridgeCollector(Tallies())
        collector.sent, collector.wires = sent, {"hl7": of_wire(WireFigures(open=2, bytes=7))}
        told = {
            (one.name, *one.labels.values()): one.value
            for each in collector.collect()
            for one in each.samples
        }
        assert told["osler_hl7_outbound", "lis", "dead"] == 1
        assert told["osler_hl7_outbound", "lis", "waiting"] == 0
        assert told["osler_hl7_outbound_acknowledged_seconds", "lis"] == sent["lis"].last / 1e6
        assert (told["osler_hl7_sockets", "hl7"], told["osler_hl7_bytes_total", "hl7"]) == (2, 7)
