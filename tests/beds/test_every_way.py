"""The rules of beds hold on every way to write: PATCH, criteria, batches, transactions, imports, the past of a resource."""

from __future__ import annotations

import pytest

from fhir_server.bulk.files import Item
from fhir_server.bulk.imports import Loader
from tests.beds.ward import at, bed, build, call, diagnostics, read, state, stay, tasks
from tests.conftest import Client, on_each_store
from tests.rest.resources import ask, bundle, put

pytestmark = on_each_store


@pytest.fixture
async def ward(client: Client) -> Client:
    await build(client)
    await client.put_json("/Encounter/e1", stay("e1", "p1", at("b1")))
    return client


async def test_a_patch_does_not_free_an_occupied_bed(ward: Client) -> None:
    patch = [{"op": "replace", "path": "/operationalStatus/code", "value": "U"}]
    answer = await ward.patch(
        "/Location/b1", json=patch, headers={"content-type": "application/json-patch+json"}
    )
    assert answer.status_code == 422, answer.text
    assert "Encounter/e1" in diagnostics(answer)


async def test_a_patch_discharges_and_frees(ward: Client) -> None:
    patch = [{"op": "replace", "path": "/status", "value": "finished"}]
    answer = await ward.patch(
        "/Encounter/e1", json=patch, headers={"content-type": "application/json-patch+json"}
    )
    assert answer.status_code == 200, answer.text
    assert await state(ward, "b1") == "H"
    assert len(await tasks(ward, "b1")) == 1


async def test_a_conditional_delete_does_not_remove_a_live_stay(ward: Client) -> None:
    assert (await ward.delete("/Encounter?subject=Patient/p1")).status_code == 422
    assert (await ward.get("/Encounter/e1")).status_code == 200


async def test_an_entry_of_a_batch_is_refused_by_itself(ward: Client) -> None:
    entries = [put(stay("e2", "p2", at("b1"))), put(stay("e3", "p3", at("b2"))), ask("DELETE", "Location/b1")]
    answer = (await ward.post_json("", bundle("batch", *entries))).json()
    assert [e["response"]["status"][:3] for e in answer["entry"]] == ["409", "201", "422"]


async def test_a_transaction_that_discharges_admits_and_deletes_is_one_step(ward: Client) -> None:
    entries = [
        put(stay("e1", "p1", at("b1"), status="finished")),
        put(stay("e2", "p1", at("b2"))),
        ask("DELETE", "Location/b3"),
    ]
    answer = await ward.post_json("", bundle("transaction", *entries))
    assert answer.status_code == 200, answer.text
    assert (await state(ward, "b1"), await state(ward, "b2")) == ("H", "O")
    assert (await ward.get("/Location/b3")).status_code == 410


async def test_a_bed_may_be_handed_over_within_a_transaction(ward: Client) -> None:
    entries = [put(stay("e2", "p2", at("b1"))), put(stay("e1", "p1", at("b1"), status="finished"))]
    answer = await ward.post_json("", bundle("transaction", *entries))
    assert answer.status_code == 200, answer.text
    assert await state(ward, "b1") == "O"
    assert await tasks(ward, "b1") == []


async def test_an_import_is_refused_what_a_put_is_refused(ward: Client) -> None:
    async def no_bundles(resource: dict) -> dict:
        raise AssertionError

    items = [
        Item("file", "1", stay("e2", "p2", at("b1"))),
        Item("file", "2", bed("b1", "r1", "U")),
        Item("file", "3", stay("e3", "p3", at("b2"))),
    ]
    tally = await Loader(ward.app.services, no_bundles).load(items)
    assert (tally.created, tally.refused) == (1, 2)
    assert (await state(ward, "b1"), await state(ward, "b2")) == ("O", "O")


async def test_an_old_version_of_a_stay_that_is_put_again_is_judged_anew(ward: Client) -> None:
    old = await read(ward, "Encounter/e1")
    await call(ward, "Encounter/e1/$transfer", bed="Location/b2")
    await ward.put_json("/Encounter/e2", stay("e2", "p2", at("b3")))
    gone = await call(ward, "Encounter/e1/$discharge")
    assert (await ward.put_json("/Encounter/e1", old)).status_code == 422
    assert (await ward.put_json("/Encounter/e1", gone)).status_code == 200


async def test_a_bed_that_is_moved_to_another_room_keeps_its_patient(ward: Client) -> None:
    assert (await ward.put_json("/Location/b1", bed("b1", "r3", "O"))).status_code == 200
    assert await state(ward, "b1") == "O"
