"""Twenty at once within one process, on each store."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.beds.ward import at, build, call, parameters, patient, state, stay
from tests.conftest import Client, on_each_store

pytestmark = on_each_store


async def test_of_20_admissions_to_a_bed_one_gets_it(client: Client) -> None:
    await build(client, *(patient(f"q{n}") for n in range(20)))
    answers = await asyncio.gather(
        *(
            client.post_json(
                "/Encounter/$admit",
                parameters(patient=f"Patient/q{n}", bed="Location/b1", request_id=f"urn:{n}"),
            )
            for n in range(20)
        )
    )
    assert Counter(a.status_code for a in answers) == {200: 1, 409: 19}
    assert await state(client, "b1") == "O"
    assert (await client.get("/Account?_summary=count")).json()["total"] == 1


async def test_one_patient_gets_one_of_two_beds(client: Client) -> None:
    await build(client)
    answers = await asyncio.gather(
        *(client.put_json(f"/Encounter/e{n}", stay(f"e{n}", "p1", at(f"b{n}"))) for n in (1, 2))
    )
    assert Counter(a.status_code for a in answers) == {201: 1, 409: 1}
    assert sorted([str(await state(client, b)) for b in ("b1", "b2")]) == ["None", "O"]


async def test_crossing_transfers_are_both_refused(client: Client) -> None:
    await build(client)
    stays = [
        await call(client, "Encounter/$admit", patient=f"Patient/p{n}", bed=f"Location/b{n}") for n in (1, 2)
    ]
    answers = await asyncio.gather(
        *(
            client.post_json(
                f"/Encounter/{s['id']}/$transfer",
                parameters(bed=f"Location/b{2 - n}", request_id=f"urn:t{n}"),
            )
            for n, s in enumerate(stays)
        )
    )
    assert [a.status_code for a in answers] == [409, 409]
    assert [await state(client, b) for b in ("b1", "b2")] == ["O", "O"]
