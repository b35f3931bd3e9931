"""Moving a store into another: all versions as they are, found by the same searches, with the same claims."""

import pytest
from typer.testing import CliRunner

from fhir_r4.errors import InvalidRequest
from fhir_server.bulk.migration import migrate, prove
from fhir_server.cli import app
from fhir_server.search.entries import Entries
from fhir_server.search.tree import SearchQuery, TokenIs
from fhir_server.store.mongo.store import MongoStore
from fhir_server.store.protocol import ClaimRefused
from fhir_server.store.records import Body, Claim, NewestIs, WriteOp
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import Clock, delete

BED = Claim("bed")


def extract(resource):
    return Entries(tokens=[("code", "", resource["code"])])


def claims_of(resource):
    return (Claim(resource["claims"]),) if "claims" in resource else ()


def put(id, code="a", claims=None, type="Patient"):
    claimed = "" if claims is None else f',"claims":"{claims}"'
    text = f'{{"resourceType":"{type}","id":"{id}","code":"{code}","value":1.10e0{claimed},"meta":{{'
    entries = Entries(tokens=[("code", "", code)])
    return WriteOp(
        "PUT", type, id, Body(text.encode(), b"}}"), entries, () if claims is None else (Claim(claims),)
    )


@pytest.fixture
async def source(tmp_path):
    clock = Clock()
    store = SqliteStore(tmp_path / "source.db", clock, readers=1)
    await store.open()
    for n in range(20):
        clock.now += 1_234_000
        await store.transact([put(str(n), claims="bed" if n == 3 else None), put("g", f"c{n}", type="Group")])
    await store.transact([delete("5"), put("6", "b")])
    await store.transact([put("5", "c"), delete("7")])
    await store.set_fingerprints({"Patient.code": "1"})
    yield store
    await store.close()


@pytest.fixture
async def target(mongo_address):
    store = MongoStore(mongo_address, Clock())
    await store.open()
    yield store
    await store.close()


async def versions_of(store):
    return [stored async for stored in store.changes()]


async def found(store, code):
    page = await store.search(SearchQuery(("Patient",), TokenIs("code", None, code), count=100))
    return [stored.id for stored in page.matches]


async def test_there_and_back_nothing_has_changed(source, target, tmp_path):
    proof = await migrate(source, target, extract, claims_of)
    assert proof.versions == 44
    assert proof.resources == {"Patient": 19, "Group": 1}
    back = SqliteStore(tmp_path / "back.db", Clock(), readers=1)
    await back.open()
    assert await migrate(target, back, extract, claims_of) == proof
    wanted = await versions_of(source)
    for store in (target, back):
        assert await versions_of(store) == wanted
        assert await found(store, "a") == await found(source, "a")
        assert await found(store, "c") == ["5"]
        assert (await store.read("Patient", "7")).deleted
        assert await store.last_sequence("Group") == await source.last_sequence("Group")
        assert await store.indexed_fingerprints() == {"Patient.code": "1"}
        with pytest.raises(ClaimRefused) as refused:
            await store.transact([put("x", claims="bed")])
        assert refused.value.holders == (("Patient", "3"),)
        (written,) = await store.transact([put("new")], [NewestIs("SearchParameter", 0)])
        assert (written.version, written.sequence) == (1, 45)
        assert written.updated >= wanted[-1].updated
    await back.close()


async def test_a_migration_goes_on_where_it_was_left_off(source, target, monkeypatch):
    monkeypatch.setattr("fhir_server.bulk.migration.STRETCH", 10)
    reached = []

    def stop(sequence):
        reached.append(sequence)
        if len(reached) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await migrate(source, target, extract, claims_of, stop)
    assert await target.last_sequence() == 20
    await migrate(source, target, extract, claims_of, reached.append)
    assert reached == [10, 20, 30, 40, 44]
    assert await versions_of(target) == await versions_of(source)
    await source.transact([put("later")])
    await migrate(source, target, extract, claims_of)
    assert (await target.read("Patient", "later")).sequence == 45


async def test_a_store_that_has_something_else_is_refused_and_left_alone(source, target):
    await target.transact([put("other")])
    before = await versions_of(target)
    with pytest.raises(InvalidRequest, match="not those of the other"):
        await migrate(source, target, extract, claims_of)
    assert await versions_of(target) == before


async def test_the_proof_finds_a_changed_byte(source, target, mongo_address):
    await migrate(source, target, extract, claims_of)
    versions = target._open.connection.versions
    await versions.update_one({"_id": 9}, {"$set": {"b": b"{}"}})
    with pytest.raises(InvalidRequest, match="differ"):
        await prove(source, target)


def test_the_command_copies_what_was_loaded_and_check_finds_nothing_wrong(tmp_path, mongo_address):
    file = tmp_path / "patients.ndjson"
    system = "http://osler.test/mrn"
    file.write_text(
        "".join(
            f'{{"resourceType":"Patient","id":"{n}","identifier":[{{"system":"{system}","value":"{n}"}}]}}\n'
            for n in range(30)
        )
    )
    run = CliRunner(env={"OSLER_UNIQUE_IDENTIFIERS": f'["{system}"]'}).invoke
    first, last = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/last.db"
    loaded = run(app, ["load", str(file), "--store", first])
    assert loaded.exit_code == 0, loaded.output
    shas = set()
    for source, target in ((first, mongo_address), (mongo_address, last)):
        done = run(app, ["migrate", "--from", source, "--to", target])
        assert done.exit_code == 0, done.output
        assert "30  Patient" in done.output
        shas.add(done.output.splitlines()[-1])
        checked = run(app, ["check", "--store", target])
        assert checked.exit_code == 0, checked.output
        assert "30 claims: all agree" in checked.output
    assert len(shas) == 1
    same = run(app, ["migrate", "--from", first, "--to", first])
    assert same.exit_code == 2


def test_a_store_that_was_moved_still_gives_nobody_the_same_bed_or_time(tmp_path, mongo_address):
    lines = [
        '{"resourceType":"Location","id":"b","physicalType":{"coding":[{"code":"bd"}]}}',
        '{"resourceType":"Encounter","id":"e","status":"in-progress","class":{"code":"IMP"},'
        '"subject":{"reference":"Patient/p"},"location":[{"location":{"reference":"Location/b"},"status":"active"}]}',
        '{"resourceType":"Schedule","id":"s","actor":[{"reference":"Practitioner/d"}]}',
        '{"resourceType":"Appointment","id":"a","status":"booked","start":"2091-03-05T09:00:00Z",'
        '"end":"2091-03-05T09:30:00Z","participant":[{"actor":{"reference":"Practitioner/d"},"status":"accepted"}]}',
    ]
    (tmp_path / "first.ndjson").write_text("\n".join(lines) + "\n")
    second = [line.replace('"id":"e"', '"id":"e2"').replace('"id":"a"', '"id":"a2"') for line in lines[1::2]]
    (tmp_path / "second.ndjson").write_text("\n".join(second) + "\n")
    run = CliRunner().invoke
    first = f"sqlite:///{tmp_path}/first.db"
    assert run(app, ["load", str(tmp_path / "first.ndjson"), "--store", first]).exit_code == 0
    assert run(app, ["migrate", "--from", first, "--to", mongo_address]).exit_code == 0
    for store in (first, mongo_address):
        checked = run(app, ["check", "--store", store])
        assert checked.exit_code == 0, checked.output
        loaded = run(app, ["load", str(tmp_path / "second.ndjson"), "--store", store])
        assert "2 refused" in loaded.output, loaded.output
