"""What follows from appointments in its own time: holds end, those who wait get offers, patients are reminded."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fhir_r4.temporal import format_instant, parse_interval
from fhir_server.resources.scheduling.reminding import due_at
from fhir_server.settings import Settings
from fhir_server.subscriptions.channels import MailChannel, Message, WebhookChannel
from fhir_server.subscriptions.worker import Worker
from tests.scheduling.desk import (
    MINUTE,
    NOW,
    Desk,
    appointment,
    at,
    desk_at,
    hold,
    ref,
    schedule,
    slot,
    store_of,
)
from tests.store.making import Clock

DOCTOR = "Practitioner/d1"
HOUR = 60 * MINUTE


async def step(desk: Desk) -> None:
    await Worker(desk.app.services).step()


def waiting(id: str, patient: str, **more: Any) -> dict[str, Any]:
    """Somebody who waits for the doctor."""
    made = appointment(DOCTOR, id=id, status="waitlist", minutesDuration=30, **more)
    made["participant"][0]["actor"] = ref(f"Patient/{patient}")
    return {k: v for k, v in made.items() if k not in ("start", "end")}


async def status_of(desk: Desk, id: str) -> str:
    return (await desk.read(f"Appointment/{id}"))["status"]


async def test_a_hold_that_has_expired_is_cancelled_and_its_slot_free(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    await step(desk)
    assert await status_of(desk, "h1") == "pending"
    desk.clock.now += 10 * MINUTE
    await step(desk)
    assert await status_of(desk, "h1") == "cancelled"
    assert await desk.slot_status() == "free"


async def test_a_hold_that_was_booked_is_not_ended(desk: Desk) -> None:
    await desk.put_ok(hold(id="h1", expires=10 * MINUTE, slots=("s1",)))
    assert (await desk.operate("Appointment/h1/$confirm")).status_code == 200
    desk.clock.now += 20 * MINUTE
    await step(desk)
    assert await status_of(desk, "h1") == "booked"


async def test_time_that_becomes_free_is_offered_to_one_who_waits(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"), waiting("w1", "second"))
    await step(desk)
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    await step(desk)
    offer = await desk.read("Appointment/w1")
    assert (offer["status"], offer["start"], offer["slot"]) == ("pending", at(0), [ref("Slot/s1")])
    assert await desk.slot_status() == "busy-tentative"
    assert (await desk.post_json("Appointment", appointment(slots=("s1",)))).status_code == 409
    found = await desk.read("Communication?recipient=Patient/second")
    assert (
        "Tuesday, 3 March 2026, 09:00 (UTC+00:00)"
        in found["entry"][0]["resource"]["payload"][0]["contentString"]
    )


async def test_an_offer_goes_by_priority_then_by_age(desk: Desk) -> None:
    await desk.put_ok(
        appointment(slots=("s1",), id="a1"),
        waiting("w1", "p2", created="2026-01-02"),
        waiting("w2", "p3", created="2026-01-01"),
        waiting("w3", "p4", created="2026-01-03", priority=1),
    )
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    order = []
    for _ in range(3):
        await step(desk)
        (offer,) = (await desk.read("Appointment?status=pending"))["entry"]
        order.append(offer["resource"]["id"])
        desk.clock.now += 4 * HOUR
    assert order == ["w3", "w2", "w1"]
    await step(desk)
    assert [await status_of(desk, w) for w in ("w1", "w2", "w3")] == ["waitlist"] * 3
    assert await desk.slot_status() == "free"


async def test_an_offer_that_is_accepted_is_booked(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"), waiting("w1", "second"))
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    await step(desk)
    answer = {"actor": ref("Patient/second"), "participantStatus": {"valueCode": "accepted"}}
    assert (await desk.operate("Appointment/w1/$respond", **answer)).status_code == 200
    assert await status_of(desk, "w1") == "booked"
    desk.clock.now += 5 * HOUR
    await step(desk)
    assert await status_of(desk, "w1") == "booked"


async def test_an_offer_that_is_declined_passes_on_at_once(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"), waiting("w1", "p2"), waiting("w2", "p3"))
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    await step(desk)
    answer = {"actor": ref("Patient/p2"), "participantStatus": {"valueCode": "declined"}}
    assert (await desk.operate("Appointment/w1/$respond", **answer)).status_code == 200
    await step(desk)
    assert [await status_of(desk, w) for w in ("w1", "w2")] == ["waitlist", "pending"]


@pytest.mark.parametrize(
    "unfit",
    [
        {"minutesDuration": 45},
        {"requestedPeriod": [{"start": "2026-04-01", "end": "2026-04-30"}]},
        {"serviceType": [{"coding": [{"system": "http://x.test", "code": "other"}]}]},
    ],
)
async def test_what_does_not_fit_is_not_offered(desk: Desk, unfit: dict[str, Any]) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"), {**waiting("w1", "p2"), **unfit})
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    await step(desk)
    assert await status_of(desk, "w1") == "waitlist"


async def test_several_workers_make_one_offer(desk: Desk) -> None:
    await desk.put_ok(appointment(slots=("s1",), id="a1"), waiting("w1", "p2"), waiting("w2", "p3"))
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    await asyncio.gather(*(step(desk) for _ in range(4)))
    assert (await desk.read("Appointment?status=pending&_summary=count"))["total"] == 1
    assert (await desk.read("Communication?_summary=count"))["total"] == 1


@pytest.fixture(params=["sqlite", "memory"])
async def reminding(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """A clinic in Berlin that reminds its patients at six in the evening of the day before."""
    clock = Clock(NOW)
    store = store_of(request.param, tmp_path, clock)
    async with desk_at(store, clock, reminder_time="18:00") as client:
        zone = {"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "Europe/Berlin"}
        await client.put_ok(schedule("d1", DOCTOR, extension=[zone]), slot())
        yield client


async def sent(desk: Desk) -> list[dict[str, Any]]:
    found = await desk.read("Communication?_count=100")
    return [e["resource"] for e in found.get("entry", ())]


async def test_a_reminder_is_due_by_the_clock_of_the_place(reminding: Desk) -> None:
    await reminding.put_ok(appointment(DOCTOR, id="a1"))
    await step(reminding)
    (entry,) = (await reminding.read("CommunicationRequest"))["entry"]
    assert entry["resource"]["occurrenceDateTime"] == "2026-03-02T17:00:00.000Z"
    reminding.clock.now = NOW + 9 * HOUR - 1000
    await step(reminding)
    assert await sent(reminding) == []
    reminding.clock.now += 1000
    await step(reminding)
    (message,) = await sent(reminding)
    assert "Tuesday, 3 March 2026, 10:00 (UTC+01:00)" in message["payload"][0]["contentString"]
    assert message["basedOn"] == [ref(f"CommunicationRequest/{entry['resource']['id']}")]
    await step(reminding)
    assert len(await sent(reminding)) == 1


async def test_a_reminder_follows_a_change_of_time_and_ends_with_the_appointment(reminding: Desk) -> None:
    await reminding.put_ok(appointment(DOCTOR, id="a1"))
    await step(reminding)
    await reminding.put_ok(appointment(DOCTOR, id="a1", start=24 * 60, end=24 * 60 + 30))
    await step(reminding)
    (entry,) = (await reminding.read("CommunicationRequest"))["entry"]
    assert entry["resource"]["occurrenceDateTime"] == "2026-03-03T17:00:00.000Z"
    await reminding.set_status("a1", "cancelled")
    await step(reminding)
    (entry,) = (await reminding.read("CommunicationRequest"))["entry"]
    assert entry["resource"]["status"] == "revoked"
    reminding.clock.now += 72 * HOUR
    await step(reminding)
    assert await sent(reminding) == []


@pytest.mark.parametrize(
    ("start", "time", "due"),
    [
        ("2026-03-30T07:00:00Z", "18:00", "2026-03-29T16:00:00Z"),
        ("2026-03-29T07:00:00Z", "18:00", "2026-03-28T17:00:00Z"),
        ("2026-10-26T08:00:00Z", "18:00", "2026-10-25T17:00:00Z"),
        # the clocks skip the time, and show it twice
        ("2026-03-30T07:00:00Z", "02:30", "2026-03-29T01:00:00Z"),
        ("2026-10-26T08:00:00Z", "02:30", "2026-10-25T00:30:00Z"),
        # half past midnight in Berlin is the evening of the day before in UTC
        ("2026-03-29T22:30:00Z", "18:00", "2026-03-29T16:00:00Z"),
    ],
)
def test_a_reminder_is_due_at_the_same_wall_time_over_changes_of_the_clock(
    start: str, time: str, due: str
) -> None:
    assert due_at(parse_interval(start)[0], time, "Europe/Berlin") == parse_interval(due)[0]


async def test_patients_are_told_times_by_the_clock_of_the_place(reminding: Desk) -> None:
    await reminding.put_ok(appointment(DOCTOR, id="a1"), waiting("w1", "p2"))
    given = {"reason": {"text": "ill"}, "notify": True}
    assert (await reminding.operate("Appointment/a1/$cancel", **given)).status_code == 200
    await step(reminding)
    texts = {
        m["category"][0]["coding"][0]["code"]: m["payload"][0]["contentString"] for m in await sent(reminding)
    }
    assert texts == {
        "cancelled": "Your appointment at Tuesday, 3 March 2026, 10:00 (UTC+01:00) has been cancelled.",
        "offer": "A time has become free for you: Tuesday, 3 March 2026, 10:00 (UTC+01:00)."
        " It is kept for you until Monday, 2 March 2026, 13:00 (UTC+01:00).",
    }


async def test_an_offer_has_a_task_as_long_as_it_stands(desk: Desk) -> None:
    async def tasks() -> list[tuple[str, str]]:
        found = (await desk.read("Task?code=waitlist-offer&_sort=authored-on")).get("entry", ())
        return [(e["resource"]["focus"]["reference"], e["resource"]["status"]) for e in found]

    await desk.put_ok(
        appointment(slots=("s1",), id="a1"), waiting("w1", "p2", priority=1), waiting("w2", "p3")
    )
    await desk.operate("Appointment/a1/$cancel", reason={"text": "weather"})
    await step(desk)
    assert await tasks() == [("Appointment/w1", "requested")]
    task = (await desk.read("Task?code=waitlist-offer"))["entry"][0]["resource"]
    assert task["for"] == ref("Patient/p2")
    assert task["restriction"] == {"period": {"end": "2026-03-02T12:00:00.000Z"}}
    desk.clock.now += 4 * HOUR
    await step(desk)
    assert await tasks() == [("Appointment/w1", "cancelled"), ("Appointment/w2", "requested")]
    assert (await desk.operate("Appointment/w2/$confirm")).status_code == 200
    assert await tasks() == [("Appointment/w1", "cancelled"), ("Appointment/w2", "completed")]


async def test_several_workers_send_a_reminder_once(reminding: Desk) -> None:
    await reminding.put_ok(appointment(DOCTOR, id="a1"))
    await asyncio.gather(*(step(reminding) for _ in range(4)))
    reminding.clock.now = NOW + 9 * HOUR
    await asyncio.gather(*(step(reminding) for _ in range(4)))
    assert len(await sent(reminding)) == 1


async def test_a_reminder_is_written_when_it_is_not_when_it_is_due(reminding: Desk) -> None:
    await reminding.put_ok(appointment(DOCTOR, id="a1"))
    await step(reminding)
    (entry,) = (await reminding.read("CommunicationRequest"))["entry"]
    assert entry["resource"]["authoredOn"] == "2026-03-02T08:00:00.000Z"


class Received(BaseHTTPRequestHandler):
    answer = 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.headers["idempotency-key"], json.loads(body)))
        self.server.signed.append((self.headers["webhook-signature"], body))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def webhook() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Received)
    server.got, server.signed, server.answer = [], [], 204
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_webhook_that_fails_is_tried_again_with_the_same_id_and_then_left_to_people(
    webhook: HTTPServer, tmp_path: Path
) -> None:
    clock = Clock(NOW)
    url = f"http://127.0.0.1:{webhook.server_address[1]}/"
    async with desk_at(
        store_of("memory", tmp_path, clock), clock, reminder_time="18:00", webhook=url
    ) as desk:
        await desk.put_ok(schedule("d1", DOCTOR), appointment(DOCTOR, id="a1"))
        await step(desk)
        webhook.answer = 500
        clock.now = NOW + 10 * HOUR
        await step(desk)
        await step(desk)
        assert len(webhook.got) == 1
        clock.now += 2 * MINUTE
        await step(desk)
        assert len(webhook.got) == 2
        assert len({key for key, _ in webhook.got}) == 1
        for _ in range(5):
            clock.now += 2 * MINUTE
            await step(desk)
        assert len(webhook.got) == 5
        (entry,) = (await desk.read("CommunicationRequest"))["entry"]
        assert entry["resource"]["status"] == "on-hold"
        webhook.answer = 204
        await desk.put_ok({**entry["resource"], "status": "active"})
        await step(desk)
        assert (await desk.read("CommunicationRequest"))["entry"][0]["resource"]["status"] == "completed"
        assert len(await sent(desk)) == 1


async def test_what_is_posted_to_a_webhook_is_signed(webhook: HTTPServer) -> None:
    url = f"http://127.0.0.1:{webhook.server_address[1]}/"
    message = Message("m", "Patient/p1", url, "s", "t")
    await WebhookChannel(url, "secret").send(message)
    await WebhookChannel(url).send(message)
    (signature, body), (unsigned, _) = webhook.signed
    at, given = signature.removeprefix("t=").split(",v1=")
    assert given == hmac.new(b"secret", f"{at}.".encode() + body, "sha256").hexdigest()
    assert unsigned is None


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server that takes every mail, and what it has taken."""
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                taken.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            await writer.drain()
            if verb == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", taken
    finally:
        server.close()
        await server.wait_closed()


def test_somebody_is_reached_at_the_address_they_have_now() -> None:
    channel = MailChannel("smtp://127.0.0.1:25", "clinic@osler.test")
    patient = {
        "telecom": [
            {"system": "email", "value": "old@x.test", "use": "old"},
            {"system": "email", "value": "p@x.test"},
        ]
    }
    assert channel.address_of(patient) == "p@x.test"
    assert channel.address_of({}) is None


async def test_mail_goes_out_by_smtp_and_an_address_that_is_none_stops_nobody_elses(tmp_path: Path) -> None:
    clock = Clock(NOW)
    stated = {"reminder_time": "18:00", "mail_from": "clinic@osler.test"}

    def somebody(id: str, address: str) -> dict[str, Any]:
        return {"resourceType": "Patient", "id": id, "telecom": [{"system": "email", "value": address}]}

    async with (
        mail_server() as (address, taken),
        desk_at(store_of("memory", tmp_path, clock), clock, smtp=address, **stated) as desk,
    ):
        second = appointment("Practitioner/d2", id="a2")
        second["participant"][0]["actor"] = ref("Patient/p2")
        await desk.put_ok(
            somebody("p1", "none\nBcc: all@x.test"),
            somebody("p2", "p2@x.test"),
            appointment(DOCTOR, id="a1"),
            second,
        )
        await step(desk)
        clock.now = NOW + 10 * HOUR
        await step(desk)
        (mail,) = [message_from_bytes(one, policy=default) for one in taken]
        assert (mail["to"], mail["from"]) == ("p2@x.test", "clinic@osler.test")
        assert re.fullmatch(r"<reminder-[0-9a-f]{40}\.20260302180000000\.1@osler\.test>", mail["message-id"])
        assert [mail[name].defects for name in ("message-id", "date", "to")] == [()] * 3
        assert (mail["auto-submitted"], mail["date"].datetime.tzinfo) == ("auto-generated", UTC)
        assert "09:00 (UTC+00:00)" in mail.get_content()
        (told,) = await sent(desk)
        assert told["recipient"] == [ref("Patient/p2")]
        for _ in range(4):
            clock.now += 2 * MINUTE
            await step(desk)
        (kept,) = (await desk.read("CommunicationRequest?status=on-hold"))["entry"]
        assert kept["resource"]["recipient"] == [ref("Patient/p1")]


async def test_a_mail_server_that_is_not_there_is_an_oserror() -> None:
    channel = MailChannel("smtp://127.0.0.1:1", "clinic@osler.test")
    with pytest.raises(OSError):
        await channel.send(Message("m", "Patient/p1", "p@x.test", "s", "t"))


def test_settings_of_the_background_have_safe_defaults() -> None:
    settings = Settings()
    assert (settings.reminder_time, settings.smtp, settings.webhook) == ("", "", "")
    assert format_instant(NOW).endswith("Z")
