"""A load writes everything that is right, once, and accounts for everything else."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_r4.jsonio import encode
from fhir_server.app import compose
from fhir_server.bulk.files import Item
from fhir_server.bulk.imports import Loader, Stopped
from fhir_server.context import Services
from fhir_server.maintenance import bundle_door
from fhir_server.settings import Settings
from tests.bulk.conftest import Load, body, items_of, patient

Resource = dict[str, Any]
UUID = "urn:uuid:0a8b7c66-1111-4222-8333-944455566677"


def bundle(kind: str, *entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def observation(subject: str, id: str | None = None, **elements: Any) -> Resource:
    named: Resource = {"resourceType": "Observation"} | ({} if id is None else {"id": id})
    return {**named, "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}, **elements}


async def counts(services: Services) -> dict[str, int]:
    return {t: n for t, n in (await services.store.counts()).items() if n}


async def test_resources_are_kept_exactly(load: Load, services: Services, tmp_path: Path) -> None:
    text = '{"resourceType":"Observation","id":"o","status":"final","code":{"text":"é"},"valueQuantity":{"value":1.10}}'
    file = tmp_path / "o.json"
    file.write_text(text, encoding="utf-8")
    tally = await load(file)
    assert (tally.created, tally.refused) == (1, 0)
    stored = await services.store.read("Observation", "o")
    assert stored is not None
    assert b'"value":1.10}' in stored.body


async def test_loading_twice_changes_nothing(load: Load, services: Services, tmp_path: Path) -> None:
    (tmp_path / "p.ndjson").write_bytes(
        b"\n".join(encode(patient(f"p{n}", meta={"tag": [{"code": "x"}]})) for n in range(450))
    )
    (tmp_path / "q.json").write_bytes(encode(patient()))
    (tmp_path / "r.json").write_bytes(
        encode(
            bundle(
                "transaction",
                {"fullUrl": UUID, "resource": patient(), "request": {"method": "POST", "url": "Patient"}},
            )
        )
    )
    first = await load(tmp_path / "p.ndjson", tmp_path / "q.json", tmp_path / "r.json")
    sequence = await services.store.last_sequence()
    second = await load(tmp_path / "p.ndjson", tmp_path / "q.json", tmp_path / "r.json")
    assert (first.created, first.unchanged) == (452, 0)
    assert (second.created, second.updated, second.unchanged) == (0, 0, 452)
    assert await services.store.last_sequence() == sequence


async def test_what_was_exported_with_its_meta_is_unchanged(load: Load, services: Services) -> None:
    await load(
        patient("a", meta={"versionId": "77", "lastUpdated": "2020-01-01T00:00:00Z", "source": "urn:x"})
    )
    stored = await body(services, "Patient", "a")
    assert stored["meta"]["versionId"] == "1"
    assert (await load(stored)).unchanged == 1


async def test_a_changed_resource_becomes_a_new_version(load: Load, services: Services) -> None:
    quantity = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    await load({**quantity, "valueQuantity": {"value": Decimal("1.0")}})
    tally = await load({**quantity, "valueQuantity": {"value": Decimal("1.00")}})
    assert (tally.updated, tally.unchanged) == (1, 0)
    assert (await body(services, "Observation", "o"))["meta"]["versionId"] == "2"


async def test_the_same_resource_twice_in_one_load_ends_with_the_last(load: Load, services: Services) -> None:
    tally = await load(patient("a", gender="male"), patient("a", gender="female"))
    assert (tally.created, tally.updated) == (1, 1)
    assert (await body(services, "Patient", "a"))["gender"] == "female"


async def test_a_bad_resource_does_not_take_its_neighbours_with_it(load: Load, services: Services) -> None:
    tally = await load(*(patient(f"p{n}", gender="no such" if n in (3, 250) else "male") for n in range(300)))
    assert (tally.created, tally.refused) == (298, 2)
    assert [r.resource for r in tally.refusals] == ["Patient/p3", "Patient/p250"]
    assert tally.refusals[0].issues[0].expression == ("Patient.gender",)
    assert await counts(services) == {"Patient": 298}


async def test_refusals_name_file_line_and_entry(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(
        encode(patient("x")) + b"\n{\n" + encode(bundle("collection", {"resource": patient("y", gender=1)}))
    )
    (tmp_path / "b.json").write_text('{"resourceType":"Nothing"}')
    (tmp_path / "c.json").write_text(
        '{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"id":"1"}}]}'
    )
    tally = await load(tmp_path)
    found = {(Path(r.source).name, r.place) for r in tally.refusals}
    assert found == {("a.ndjson", "line 2"), ("a.ndjson", "line 3, entry 1"), ("b.json", ""), ("c.json", "")}
    assert tally.refused == 4


@pytest.mark.parametrize(
    "kind", ["collection", "searchset", "document", "message", "transaction", "batch", "history"]
)
async def test_every_kind_of_bundle_is_a_source(load: Load, services: Services, kind: str) -> None:
    entries = [
        {"fullUrl": UUID, "resource": patient(), "request": {"method": "POST", "url": "Patient"}},
        {"resource": observation(UUID, "o"), "request": {"method": "PUT", "url": "Observation/o"}},
    ]
    tally = await load(bundle(kind, *entries))
    assert (tally.created, tally.refused) == (2, 0)
    stored = await body(services, "Observation", "o")
    assert stored["subject"]["reference"] == f"Patient/{UUID.removeprefix('urn:uuid:')}"
    assert await counts(services) == {"Patient": 1, "Observation": 1}


async def test_a_reference_by_the_full_address_of_an_entry_is_made_local(
    load: Load, services: Services
) -> None:
    address = "http://elsewhere.example/fhir/Patient/p"
    await load(
        bundle(
            "searchset",
            {"fullUrl": address, "resource": patient("p")},
            {"resource": observation(address, "o")},
        )
    )
    assert (await body(services, "Observation", "o"))["subject"]["reference"] == "Patient/p"


async def test_a_history_gives_the_newest_versions_and_nothing_deleted(
    load: Load, services: Services
) -> None:
    def put(resource: Resource) -> Resource:
        url = f"Patient/{resource['id']}"
        return {"fullUrl": f"http://h/{url}", "resource": resource, "request": {"method": "PUT", "url": url}}

    deleted = {"fullUrl": "http://h/Patient/b", "request": {"method": "DELETE", "url": "Patient/b"}}
    tally = await load(
        bundle("history", put(patient("a", gender="male")), deleted, put(patient("b")), put(patient("a")))
    )
    assert tally.created == 1
    assert (await body(services, "Patient", "a"))["gender"] == "male"
    assert await counts(services) == {"Patient": 1}


async def test_a_transaction_is_all_or_nothing(load: Load, services: Services) -> None:
    entries = [
        {"resource": patient(id, **more), "request": {"method": "PUT", "url": f"Patient/{id}"}}
        for id, more in (("a", {}), ("b", {"gender": "no such"}), ("c", {}))
    ]
    tally = await load(patient("before"), bundle("transaction", *entries), patient("after"))
    assert (tally.created, tally.refused) == (2, 3)
    assert {r.place for r in tally.refusals} == {"entry 1", "entry 2", "entry 3"}
    assert await counts(services) == {"Patient": 2}


async def test_a_conditional_transaction_goes_through_the_interaction(load: Load, services: Services) -> None:
    person = patient(identifier=[{"system": "urn:s", "value": "1"}])
    transaction = bundle(
        "transaction",
        {
            "fullUrl": UUID,
            "resource": person,
            "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:s|1"},
        },
        {"resource": observation(UUID), "request": {"method": "POST", "url": "Observation"}},
    )
    assert (await load(transaction)).created == 2
    again = await load(transaction)
    assert (again.created, again.refused) == (0, 0)
    assert await counts(services) == {"Patient": 1, "Observation": 1}


async def test_a_conditional_reference_to_what_is_not_there_is_refused(
    load: Load, services: Services
) -> None:
    entry = {
        "resource": observation("Patient?identifier=urn:s|9"),
        "request": {"method": "POST", "url": "Observation"},
    }
    tally = await load(bundle("transaction", entry))
    assert tally.refused == 1
    assert tally.refusals[0].issues
    assert await counts(services) == {}


async def test_a_batch_tells_which_entries_were_refused(load: Load, services: Services) -> None:
    entries = [
        {"resource": patient("a"), "request": {"method": "PUT", "url": "Patient/a", "ifNoneMatch": "*"}},
        {"resource": patient("b", gender="no such"), "request": {"method": "PUT", "url": "Patient/b"}},
    ]
    tally = await load(bundle("batch", *entries))
    assert (tally.created, tally.refused) == (1, 1)
    assert (tally.refusals[0].place, tally.refusals[0].resource) == ("entry 2", "Patient/b")


async def test_equal_resources_without_ids_are_one(load: Load, services: Services) -> None:
    tally = await load(patient(), patient(), patient(gender="male"))
    assert (tally.created, tally.unchanged) == (2, 1)


async def test_a_resource_that_needs_a_later_one_is_written_after_it(tmp_path: Path) -> None:
    services = compose(Settings(store="memory:", integrity="enforce"))
    await services.store.open()
    resources = [observation("Patient/p", "o"), patient("p"), observation("Patient/never", "x")]
    loader = Loader(services, bundle_door(services), batch=1)
    tally = await loader.load(items_of(resources))
    assert (tally.created, tally.refused) == (2, 1)
    assert tally.refusals[0].resource == "Observation/x"


async def test_a_claim_refuses_only_the_resource_that_clashes() -> None:
    services = compose(Settings(store="memory:", unique_identifiers=("urn:mrn",)))
    await services.store.open()
    people = [patient(f"p{n}", identifier=[{"system": "urn:mrn", "value": str(n % 99)}]) for n in range(100)]
    tally = await Loader(services, bundle_door(services)).load(items_of(people))
    assert (tally.created, tally.refused) == (99, 1)
    assert tally.refusals[0].resource == "Patient/p99"


async def test_a_strict_load_stops_at_the_first_refusal(services: Services) -> None:
    resources = [patient("a"), {"resourceType": "Nothing"}, patient("b")]
    loader = Loader(services, bundle_door(services), strict=True)
    with pytest.raises(Stopped):
        await loader.load(items_of(resources))
    assert loader.tally.refused == 1
    assert await services.store.read("Patient", "b") is None


async def test_refusals_are_told_as_they_happen_and_kept_within_bounds(services: Services) -> None:
    told: list[str] = []
    loader = Loader(services, bundle_door(services), on_refusal=lambda r: told.append(r.place))
    tally = await loader.load(Item("x", f"line {n}", {"resourceType": "No"}) for n in range(1500))
    assert tally.refused == len(told) == 1500
    assert len(tally.refusals) == 1000


@pytest.mark.parametrize(
    "odd",
    [
        {"resourceType": ["Patient"]},
        {"resourceType": "Patient", "id": ["a"]},
        {"resourceType": "Patient", "id": 5},
        {"resourceType": "Bundle", "type": "collection", "entry": {"resource": {}}},
        {"resourceType": "Bundle", "type": "collection", "entry": [None]},
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": []}]},
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": {"resourceType": "Patient", "id": {}}}],
        },
        {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": "PUT"}]},
        {"resourceType": "Bundle", "type": "transaction", "entry": [{"fullUrl": 4, "resource": {}}]},
    ],
    ids=json.dumps,
)
async def test_odd_shapes_are_refused_and_not_fatal(load: Load, odd: Resource) -> None:
    tally = await load(odd, patient("a"))
    assert (tally.created, tally.refused) == (1, 1)
