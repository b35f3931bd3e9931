"""What was received is mapped in order, once, whatever else fails; on both stores."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from hl7_bridge.config import Address, Connection, Sender
from hl7_bridge.delivery import Resource, Unreachable
from hl7_bridge.devices.profile import Answering, Profile
from hl7_bridge.queues import Queues
from tests.bridge.core import KNOWN, ONE, bridge_of, house, oru, until
from tests.conftest import Client


async def test_a_message_becomes_records_its_state_and_its_provenance_in_one_step(client: Client) -> None:
    async with house(client) as lab:
        (answer,) = await lab.send(oru("S1", "5.0"))
        assert b"MSA|AA|1" in answer
        assert await lab.quiet() == {"mapped": 1}
        assert await lab.values("S1") == ["5.0"]
        (entry,) = (await client.get("Binary", params={"_tag": "mapped"})).json()["entry"]
        tags = {t["system"].rpartition("-")[2]: t["code"] for t in entry["resource"]["meta"]["tag"]}
        assert tags == {"state": "mapped", "connection": "lab", "message": "ORU^R01", "partition": "S1"}
        raw = await client.get(f"Binary/{entry['resource']['id']}", headers={"accept": "*/*"})
        assert raw.content == oru("S1", "5.0")
        (told,) = (await client.get("Provenance")).json()["entry"]
        (written,) = (await client.get("Basic", params={"identifier": "S1"})).json()["entry"]
        (target,) = told["resource"]["target"]
        assert target["reference"] == f"Basic/{written['resource']['id']}"
        assert told["resource"]["entity"][0]["what"]["reference"] == f"Binary/{entry['resource']['id']}"


async def test_the_same_bytes_again_get_the_same_answer_and_do_nothing(client: Client) -> None:
    async with house(client) as lab:
        first = await lab.send(oru("S1", "5.0"))
        await lab.quiet()
        assert await lab.send(oru("S1", "5.0")) == first
        assert await lab.quiet() == {"mapped": 1}
        assert await lab.values("S1") == ["5.0"]
        of = lab.bridge.tallies.of("lab")
        assert (of.received, of.duplicates) == (2, 1)


async def test_a_constant_control_id_is_not_trusted(client: Client) -> None:
    async with house(client) as lab:
        await asyncio.gather(*(lab.send(oru(f"S{n}", "1", control="5")) for n in range(30)))
        assert await lab.quiet() == {"mapped": 30}


async def test_messages_of_a_partition_are_mapped_in_the_order_of_their_receipt(client: Client) -> None:
    async with house(client) as lab:
        for n in range(20):
            await lab.send(oru(f"S{n % 2}", str(n)))
        await lab.quiet()
        assert await lab.values("S0") == [str(n) for n in range(0, 20, 2)]
        assert await lab.values("S1") == [str(n) for n in range(1, 20, 2)]


async def test_what_waits_from_before_is_mapped_first_and_in_order(client: Client) -> None:
    async with house(client, started=False) as lab:
        for n in range(70):
            await lab.send(oru("S0", str(n)))
        assert await lab.states() == {"received": 70}
        lab.bridge.pipeline.start()
        for n in range(70, 80):
            await lab.send(oru("S0", str(n)))
        assert await lab.quiet() == {"mapped": 80}
        assert await lab.values("S0") == [str(n) for n in range(80)]


async def test_a_message_that_cannot_be_mapped_is_put_aside_and_blocks_nobody(client: Client) -> None:
    async with house(client) as lab:
        await lab.send(oru("S0", "1", code="FAULT"))
        await lab.send(oru("S0", "2"))
        await lab.send(oru("S1", "3", code="REFUSED"))
        await lab.send(b"this is no HL7")
        assert await lab.quiet() == {"dead-letter": 3, "mapped": 1}
        assert await lab.values("S0") == ["2"]
        reasons = sorted(t["code"]["coding"][0]["code"] for t in await lab.tasks())
        assert reasons == ["dead-letter", "dead-letter", "refused"]


async def test_unknown_types_are_kept_and_not_mapped(client: Client) -> None:
    async with house(client) as lab:
        for kind in ("ZZZ^Z99", "SSU^U03"):
            (answer,) = await lab.send(oru("S1", "1").replace(b"ORU^R01", kind.encode()))
            assert b"MSA|AA" in answer
        assert await lab.quiet() == {"administrative": 2}


async def test_messages_that_wait_for_the_same_thing_wait_for_one_task(client: Client) -> None:
    async with house(client) as lab:
        for n in range(5):
            await lab.send(oru(f"S{n}", "1", patient="P9"))
        await lab.send(oru("S9", "1", patient="P8"))
        assert await lab.quiet() == {"held": 6}
        tasks = await lab.tasks()
        assert len(tasks) == 2
        assert {t["status"] for t in tasks} == {"requested"}
        assert all(t["focus"]["reference"].startswith("Binary/") for t in tasks)


async def test_what_waits_for_a_task_is_mapped_in_order_and_once_when_it_is_accepted(client: Client) -> None:
    async with house(client) as lab:
        for n in range(12):
            await lab.send(oru(f"S{n % 2}", str(n), patient="P9"))
        await lab.quiet()
        patient = {"resourceType": "Patient", "identifier": [{"system": "urn:osler:test", "value": "P9"}]}
        await client.post_json("Patient", patient)
        (task,) = await lab.tasks()
        await client.put_json(f"Task/{task['id']}", {**task, "status": "accepted"})
        await until(lab.states, lambda states: states == {"mapped": 12})
        assert await lab.values("S0") == [str(n) for n in range(0, 12, 2)]
        assert await lab.values("S1") == [str(n) for n in range(1, 12, 2)]
        await until(lab.tasks, lambda tasks: [t["status"] for t in tasks] == ["completed"])


async def test_a_task_that_did_not_help_is_open_again(client: Client) -> None:
    async with house(client) as lab:
        await lab.send(oru("S0", "1", code="?NEW"))
        await lab.quiet()
        (task,) = await lab.tasks()
        await client.put_json(f"Task/{task['id']}", {**task, "status": "accepted"})

        async def version() -> Any:
            (found,) = await lab.tasks()
            return found["status"], int(found["meta"]["versionId"])

        await until(version, lambda found: found[0] == "requested" and found[1] > 2)
        assert await lab.quiet() == {"held": 1}


async def test_a_server_that_cannot_be_reached_delays_and_loses_nothing(client: Client) -> None:
    bridge = bridge_of(client)
    real, down = bridge.server.deliver, True

    async def deliver(bundle: Resource) -> Resource:
        if down:
            raise Unreachable("down")
        return await real(bundle)

    bridge.server.deliver = deliver  # type: ignore[method-assign]
    bridge.pipeline.start()
    for n in range(30):
        (answer,) = await bridge.arrived(ONE, oru(f"S{n % 3}", str(n)))
        assert b"MSA|AA" in answer
    counts = await bridge.journal.counts()
    assert counts["lab", "received"] == 30
    down = False

    async def mapped() -> int:
        return (await bridge.journal.counts())["lab", "mapped"]

    await until(mapped, lambda count: count == 30)
    await bridge.pipeline.close()
    async with house(client, started=False) as lab:
        assert await lab.values("S2") == [str(n) for n in range(2, 30, 3)]


async def test_the_next_owner_goes_on_where_the_last_one_ended(client: Client) -> None:
    first, second = bridge_of(client), bridge_of(client)
    first.pipeline.start()
    second.pipeline.start()

    async def owners() -> list[bool]:
        return [first.pipeline.owns, second.pipeline.owns]

    assert sum(await until(owners, any)) == 1
    owner, other = (first, second) if first.pipeline.owns else (second, first)
    for n in range(10):
        await other.arrived(ONE, oru("S0", str(n)))
    await owner.pipeline.close()
    for n in range(10, 20):
        await other.arrived(ONE, oru("S0", str(n)))
    async with house(client, started=False) as lab:
        assert await lab.quiet() == {"mapped": 20}
        assert await lab.values("S0") == [str(n) for n in range(20)]
    await other.pipeline.close()


async def test_two_owners_at_once_do_everything_once(client: Client) -> None:
    """A lease may end while its owner still works."""
    first, second = bridge_of(client), bridge_of(client)

    async def always(owner: str, seconds: float) -> bool:
        return True

    first.journal.own = second.journal.own = always  # type: ignore[method-assign]
    first.pipeline.start()
    second.pipeline.start()
    for n in range(40):
        await (first, second)[n % 2].arrived(ONE, oru(f"S{n % 4}", str(n)))
    async with house(client, started=False) as lab:
        assert await lab.quiet() == {"mapped": 40}
        for specimen in range(4):
            values = await lab.values(f"S{specimen}")
            assert sorted(map(int, values)) == list(range(specimen, 40, 4))
    await first.pipeline.close()
    await second.pipeline.close()


async def test_senders_that_share_an_address_are_told_apart_by_their_header(client: Client) -> None:
    port = Address("127.0.0.1", 2575)
    one = Connection("one", port, sender=Sender(application="LAB"))
    other = Connection("other", port, sender=Sender(application="OTHER.*"))
    async with house(client, connections=(one, other)) as lab:
        await lab.send(oru("S1", "1"), (one, other))
        await lab.send(oru("S2", "2").replace(b"|LAB|", b"|OTHER7|"), (one, other))
        (answer,) = await lab.send(oru("S3", "3").replace(b"|LAB|", b"|WHO|"), (one, other))
        assert b"MSA|AA" in answer
        assert await lab.quiet() == {"mapped": 2, "dead-letter": 1}
        (task,) = await lab.tasks()
        assert task["code"]["coding"][0]["code"] == "unregistered-source"
        counts = await lab.bridge.journal.counts()
        assert {name for (name, _), count in counts.items() if count} == {"one", "other", "unregistered-2575"}


async def test_what_was_broken_off_is_kept_and_is_not_taken_for_the_whole(client: Client) -> None:
    async with house(client) as lab:
        await lab.bridge.broken(ONE, oru("S1", "5.0"), "timed-out")
        assert await until(lab.states, lambda states: "received" not in states) == {"incomplete": 1}
        assert await lab.values("S1") == []
        await lab.send(oru("S1", "5.0"))
        assert await lab.quiet() == {"incomplete": 1, "mapped": 1}
        (task,) = await lab.tasks()
        assert task["code"]["coding"][0]["code"] == "incomplete"
        assert "did not come in time" in json.dumps(task)


async def test_bytes_that_come_again_after_the_window_are_a_new_message(start_server: Any) -> None:
    client = await start_server()
    async with house(client, resend_days=1) as lab:
        await lab.send(oru("S1", "5.0"))
        await lab.quiet()
        journal = lab.bridge.journal
        later = client.app.services.clock() + 86_400_000_000 + 1_000_000
        received = await journal.receive("lab", oru("S1", "5.0"), later)
        assert not received.duplicate
        assert received.receipt.id.endswith("-2")


@pytest.mark.parametrize("keys", [("a", "b")])
def test_an_item_of_two_queues_waits_for_both(keys: tuple[str, str]) -> None:
    queues = Queues()
    queues.add("1", ["a"])
    queues.add("2", ["b"])
    queues.add("3", keys)
    queues.add("4", ["a"])
    assert [queues.take(), queues.take(), queues.take()] == ["1", "2", None]
    queues.done("1")
    assert queues.take() is None
    queues.done("2")
    assert queues.take() == "3"
    queues.done("3")
    assert queues.take() == "4"
    queues.done("4")
    assert len(queues) == 0


async def test_each_message_of_a_batch_is_a_message(client: Client) -> None:
    batch = b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + oru("S1", "1") + oru("S2", "2", "2") + b"BTS|2\rFTS|1\r"
    async with house(client) as lab:
        (answer,) = await lab.send(batch)
        assert answer.count(b"MSA|AA") == 2
        assert await lab.quiet() == {"administrative": 1, "mapped": 2}
        assert (await lab.values("S1"), await lab.values("S2")) == (["1"], ["2"])
        await lab.send(oru("S1", "1"))
        assert await lab.quiet() == {"administrative": 1, "mapped": 2}


async def test_a_sender_that_wants_to_know_hears_what_became_of_its_message(start_server: Any) -> None:
    known = replace(KNOWN, profiles={"generic": Profile(answering=Answering(when="mapped"))})
    async with house(await start_server(), known=known) as lab:
        (answer,) = await lab.send(oru("S1", "1"))
        assert b"MSA|AA" in answer
        assert await lab.states() == {"mapped": 1}
        (answer,) = await lab.send(oru("S1", "1", patient="P9"))
        assert b"MSA|AE" in answer
        assert (await lab.send(oru("S1", "1", patient="P9"))) == (answer,)


async def test_what_cannot_be_kept_is_answered_so_and_may_be_sent_again(start_server: Any) -> None:
    async with house(await start_server()) as lab:
        keep = lab.bridge.journal.receive

        async def refuse(*_: Any, **__: Any) -> Any:
            raise Unreachable("the disk is full")

        lab.bridge.journal.receive = refuse  # type: ignore[method-assign]
        (answer,) = await lab.send(oru("S1", "1"))
        assert b"MSA|AE" in answer
        assert lab.bridge.tallies.of("lab").refused == 1
        lab.bridge.journal.receive = keep  # type: ignore[method-assign]
        (answer,) = await lab.send(oru("S1", "1"))
        assert b"MSA|AA" in answer
        assert await lab.quiet() == {"mapped": 1}


async def test_mutated_messages_all_end_in_some_state(start_server: Any) -> None:
    dice = random.Random(5)
    async with house(await start_server()) as lab:
        for n in range(300):
            raw = bytearray(oru(f"S{n % 5}", "1", control=str(n)))
            for _ in range(dice.randrange(1, 12)):
                raw[dice.randrange(len(raw))] = dice.randrange(256)
            for answer in await lab.send(bytes(raw)):
                assert not set(answer) & {0x0B, 0x1C}
        states = await lab.quiet(60)
        tally = list(lab.bridge.tallies.connections.values())
        assert sum(states.values()) == sum(one.received - one.duplicates for one in tally)
