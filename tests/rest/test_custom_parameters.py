"""SearchParameter resources of one's own: taken in, searched by, indexed again, and told about truthfully."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.app import create_app
from fhir_server.bulk.jobs import JobRunner
from fhir_server.interactions.indexing import begin
from fhir_server.resources.job import Job
from fhir_server.settings import Settings
from tests.conftest import Client, StartServer
from tests.rest.resources import bundle, patient, put

TRUST = "http://example.org/trust"


def parameter(**members: Any) -> dict[str, Any]:
    return {
        "resourceType": "SearchParameter",
        "url": "http://example.org/SearchParameter/trust",
        "name": "Trust",
        "status": "active",
        "description": "How far the patient is trusted",
        "code": "trust",
        "base": ["Patient"],
        "type": "string",
        "expression": f"Patient.extension('{TRUST}').value.as(string)",
        **members,
    }


def trusted(id: str, text: str) -> dict[str, Any]:
    return patient(id=id, extension=[{"url": TRUST, "valueString": text}])


def found(answer: dict[str, Any]) -> list[str]:
    return [e["resource"]["id"] for e in answer.get("entry", []) if e["search"]["mode"] == "match"]


def told(answer: dict[str, Any]) -> list[str]:
    return [
        issue["diagnostics"]
        for e in answer.get("entry", [])
        if e["search"]["mode"] == "outcome"
        for issue in e["resource"]["issue"]
    ]


async def idle(client: Client) -> None:
    runner = client.app.services.jobs
    assert isinstance(runner, JobRunner)
    await runner.idle()


async def states(client: Client, path: str) -> list[dict[str, Any]]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    rows = []
    for row in answer.json()["parameter"]:
        values: dict[str, Any] = {}
        for part in row["part"]:
            value = next(v for k, v in part.items() if k.startswith("value"))
            values[part["name"]] = (
                [*values.get("resource", []), value] if part["name"] == "resource" else value
            )
        rows.append(values)
    return rows


async def test_a_new_parameter_finds_what_is_written_after_it(client: Client) -> None:
    assert (await client.get("/Patient?trust=much")).status_code == 400
    created = await client.post_json("/SearchParameter", parameter())
    assert created.status_code == 201, created.text
    await client.put_json("/Patient/a", trusted("a", "Much"))
    answer = (await client.get("/Patient?trust=much")).json()
    assert found(answer) == ["a"]
    # nothing of the type was there before, so nothing can be missing
    assert told(answer) == []
    (row,) = await states(client, f"/SearchParameter/{created.json()['id']}/$status")
    assert (row["status"], row["resource"]) == ("indexed", ["Patient"])


async def test_until_it_is_indexed_searches_say_so(client: Client) -> None:
    await client.put_json("/Patient/old", trusted("old", "much"))
    id = (await client.post_json("/SearchParameter", parameter())).json()["id"]
    await client.put_json("/Patient/new", trusted("new", "much"))
    for handling in ("strict", "lenient"):
        answer = (await client.get("/Patient?trust=much", headers={"Prefer": f"handling={handling}"})).json()
        assert found(answer) == ["new"]
        (warning,) = told(answer)
        assert "trust of Patient is not fully indexed" in warning
    assert told((await client.get("/Patient?name=x")).json()) == []
    chained = (await client.get("/Observation?subject:Patient.trust=much")).json()
    assert len(told(chained)) == 1
    (row,) = await states(client, f"/SearchParameter/{id}/$status")
    assert row["status"] == "supported"

    started = await client.post(f"/SearchParameter/{id}/$reindex")
    assert started.status_code == 202
    task = started.json()
    assert task["resourceType"] == "Task"
    assert task["focus"]["reference"] == f"SearchParameter/{id}"
    await idle(client)
    done = (await client.get(f"/Task/{task['id']}")).json()
    assert done["status"] == "completed"
    numbers = {o["type"]["coding"][0]["code"]: o for o in done["output"]}
    assert numbers["done"]["valueUnsignedInt"] == numbers["total"]["valueUnsignedInt"] == 2
    assert numbers["changed"]["valueUnsignedInt"] == 1

    answer = (await client.get("/Patient?trust=much")).json()
    assert found(answer) == ["old", "new"]
    assert told(answer) == []
    (row,) = await states(client, f"/SearchParameter/{id}/$status")
    assert row["status"] == "indexed"
    assert (await client.get("/Patient/old")).json()["meta"]["versionId"] == "1"


async def test_conditional_writes_refuse_criteria_that_could_miss_a_match(client: Client) -> None:
    await client.put_json("/Patient/old", trusted("old", "much"))
    await client.post_json("/SearchParameter", parameter())
    answer = await client.post_json("/Patient", trusted("x", "much"), if_none_exist="trust=much")
    assert answer.status_code == 400
    assert "not fully indexed" in answer.text
    await client.post("/$reindex", params={"type": "Patient"})
    await idle(client)
    answer = await client.post_json("/Patient", trusted("x", "much"), if_none_exist="trust=much")
    assert answer.status_code == 200
    assert answer.json()["id"] == "old"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expression": "Patient.trust"}, "trust"),
        ({"expression": "Patient.name.count() > 1"}, "cannot be searched"),
        ({"expression": "Patient.(name"}, "cannot be searched"),
        ({"expression": "Observation.code"}, "names no element of Patient"),
        ({"expression": None}, "no expression"),
        ({"expression": "Patient.name", "type": "quantity"}, "cannot index"),
        ({"expression": "Questionnaire" + ".item" * 30 + ".linkId", "base": ["Questionnaire"]}, "too deep"),
        ({"expression": "(" * 5000 + "Patient.id" + ")" * 5000}, ""),
        (
            {"base": ["Patient", "Observation"], "expression": "Patient.name | Observation.nothing"},
            "Observation",
        ),
        ({"code": "_count"}, "meaning of its own"),
        ({"code": "_id"}, "meaning of its own"),
        ({"code": "a:b"}, "address of a search"),
        ({"code": "name"}, "derivedFrom"),
        (
            {"code": "birthdate", "derivedFrom": "http://hl7.org/fhir/SearchParameter/individual-birthdate"},
            "type date",
        ),
    ],
)
async def test_what_cannot_be_searched_is_refused_with_the_reason(
    start_server: StartServer, changes: dict[str, Any], reason: str
) -> None:
    client = await start_server(store="memory:")
    resource = {k: v for k, v in parameter(**changes).items() if v is not None}
    answer = await client.post_json("/SearchParameter", resource)
    assert answer.status_code == 422, answer.text
    issue = answer.json()["issue"][0]
    assert issue["code"] == "business-rule"
    assert reason in issue["diagnostics"]
    assert issue["expression"][0].startswith("SearchParameter.")
    assert (await client.post_json("/SearchParameter", {**resource, "status": "draft"})).status_code == 201


async def test_a_draft_is_kept_without_effect(client: Client) -> None:
    id = (await client.post_json("/SearchParameter", parameter(status="draft"))).json()["id"]
    assert (await client.get("/Patient?trust=x")).status_code == 400
    (row,) = await states(client, f"/SearchParameter/{id}/$status")
    assert row["status"] == "unsupported"
    assert "draft" in row["reason"]


async def test_a_parameter_goes_with_its_resource(client: Client) -> None:
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    assert (await client.get("/Patient?trust=x")).status_code == 200
    await client.put_json("/SearchParameter/t", parameter(id="t", status="retired"))
    assert (await client.get("/Patient?trust=x")).status_code == 400
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    assert (await client.get("/Patient?trust=x")).status_code == 200
    await client.delete("/SearchParameter/t")
    assert (await client.get("/Patient?trust=x")).status_code == 400


async def test_what_was_written_while_it_was_retired_counts_as_not_indexed(client: Client) -> None:
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    await client.put_json("/Patient/a", trusted("a", "much"))
    await client.put_json("/SearchParameter/t", parameter(id="t", description="The same, better said"))
    assert told((await client.get("/Patient?trust=much")).json()) == []
    await client.put_json("/SearchParameter/t", parameter(id="t", status="retired"))
    await client.put_json("/Patient/b", trusted("b", "much"))
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    answer = (await client.get("/Patient?trust=much")).json()
    assert found(answer) == ["a"]
    assert len(told(answer)) == 1
    await client.post("/SearchParameter/t/$reindex")
    await idle(client)
    answer = (await client.get("/Patient?trust=much")).json()
    assert found(answer) == ["a", "b"]
    assert told(answer) == []


async def test_a_changed_expression_makes_the_index_out_of_date(client: Client) -> None:
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    await client.put_json("/Patient/a", trusted("a", "much"))
    await client.put_json("/SearchParameter/t", parameter(id="t", expression="Patient.name.family"))
    assert len(told((await client.get("/Patient?trust=much")).json())) == 1
    await client.post("/$reindex")
    await idle(client)
    assert found((await client.get("/Patient?trust=much")).json()) == []
    assert found((await client.get("/Patient?trust=osler")).json()) == ["a"]


async def test_two_definitions_cannot_have_one_place(client: Client) -> None:
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    answer = await client.put_json("/SearchParameter/u", parameter(id="u", url="http://example.org/other"))
    assert answer.status_code == 409
    assert "SearchParameter/t" in answer.text
    other = parameter(id="u", base=["Practitioner"], expression="Practitioner.name.family")
    assert (await client.put_json("/SearchParameter/u", other)).status_code == 201


async def test_a_derived_definition_takes_the_place_of_the_standard(client: Client) -> None:
    await client.put_json("/Patient/a", patient(id="a", name=[{"family": "Osler", "given": ["William"]}]))
    derived = parameter(
        id="n",
        code="name",
        expression="Patient.name.family",
        derivedFrom="http://hl7.org/fhir/SearchParameter/Patient-name|4.0.1",
    )
    assert (await client.put_json("/SearchParameter/n", derived)).status_code == 201
    await client.post("/SearchParameter/n/$reindex")
    await idle(client)
    assert found((await client.get("/Patient?name=william")).json()) == []
    assert found((await client.get("/Patient?name=osler")).json()) == ["a"]
    await client.delete("/SearchParameter/n")
    answer = (await client.get("/Patient?name=william")).json()
    assert found(answer) == []
    assert len(told(answer)) == 1


async def test_standard_parameters_can_be_stored_as_resources(client: Client) -> None:
    known = parameter(
        id="Patient-name",
        url="http://hl7.org/fhir/SearchParameter/Patient-name",
        code="name",
        expression="Patient.name",
    )
    await client.put_json("/Patient/a", patient(id="a"))
    assert (await client.put_json("/SearchParameter/Patient-name", known)).status_code == 201
    answer = (await client.get("/Patient?name=osler")).json()
    assert found(answer) == ["a"]
    assert told(answer) == []
    (row,) = await states(client, "/SearchParameter/Patient-name/$status")
    assert row["status"] == "indexed"


async def test_a_parameter_of_a_transaction_works_like_any_other(client: Client) -> None:
    answer = await client.post_json(
        "", bundle("transaction", put(parameter(id="t")), put(trusted("a", "much")))
    )
    assert answer.status_code == 200, answer.text
    # the patient was prepared before the parameter was there
    answer = (await client.get("/Patient?trust=much")).json()
    assert found(answer) == []
    assert len(told(answer)) == 1


async def test_a_parameter_for_all_types(client: Client) -> None:
    general = parameter(
        id="t", base=["DomainResource"], expression=f"DomainResource.extension('{TRUST}').value.as(string)"
    )
    assert (await client.put_json("/SearchParameter/t", general)).status_code == 201
    await client.put_json("/Patient/a", trusted("a", "much"))
    device = {"resourceType": "Device", "id": "d", "extension": [{"url": TRUST, "valueString": "much"}]}
    await client.put_json("/Device/d", device)
    assert found((await client.get("/Device?trust=much")).json()) == ["d"]
    assert found((await client.get("/Patient?trust=much")).json()) == ["a"]


async def test_extensions_of_primitive_elements_are_found(client: Client) -> None:
    address = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
    time = parameter(type="date", expression=f"Patient.birthDate.extension('{address}').value.as(dateTime)")
    assert (await client.post_json("/SearchParameter", time)).status_code == 201
    extended = {"extension": [{"url": address, "valueDateTime": "1849-07-12T10:30:00Z"}]}
    await client.put_json("/Patient/a", patient(id="a", birthDate="1849-07-12", _birthDate=extended))
    await client.put_json("/Patient/b", patient(id="b", birthDate="1849-07-12"))
    assert found((await client.get("/Patient?trust=1849-07-12")).json()) == ["a"]


async def test_the_capability_statement_follows(client: Client) -> None:
    async def listed() -> list[dict[str, Any]]:
        rest = (await client.get("/metadata")).json()["rest"][0]
        (row,) = [r for r in rest["resource"] if r["type"] == "Patient"]
        return [p for p in row["searchParam"] if p["name"] == "trust"]

    assert await listed() == []
    assert "Patient-trust" not in (await client.get("http://osler.test/openapi.json")).text
    await client.put_json("/Patient/a", patient(id="a"))
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    (row,) = await listed()
    assert row["definition"] == "http://example.org/SearchParameter/trust"
    assert "Not fully indexed" in row["documentation"]
    assert "Patient-trust" in (await client.get("http://osler.test/openapi.json")).text
    await client.post("/$reindex")
    await idle(client)
    (row,) = await listed()
    assert "documentation" not in row
    await client.delete("/SearchParameter/t")
    assert await listed() == []


async def test_another_process_notices_at_once(start_server: StartServer, tmp_path: Any) -> None:
    one = await start_server(store=f"sqlite:///{tmp_path}/shared.db")
    other = await start_server(store=f"sqlite:///{tmp_path}/shared.db")
    await other.put_json("/Patient/old", trusted("old", "much"))
    await one.put_json("/SearchParameter/t", parameter(id="t"))
    # a write by the other, which has not been told, is indexed by the new parameter
    await other.put_json("/Patient/a", trusted("a", "much"))
    for client in (one, other):
        answer = (await client.get("/Patient?trust=much")).json()
        assert found(answer) == ["a"]
        assert len(told(answer)) == 1
    await one.post("/$reindex")
    await idle(one)
    for client in (one, other):
        answer = (await client.get("/Patient?trust=much")).json()
        assert sorted(found(answer)) == ["a", "old"]
        assert told(answer) == []
    await one.delete("/SearchParameter/t")
    assert (await other.get("/Patient?trust=much")).status_code == 400
    assert "trust" not in (await other.get("/metadata")).text


async def test_status_tells_all_states_truthfully(client: Client) -> None:
    rows = await states(client, "/SearchParameter/$status?resource=Patient&code=name,family&code=gender")
    assert [r["code"] for r in rows] == ["gender"]
    rows = await states(client, "/SearchParameter/$status?resource=Patient")
    assert {r["code"] for r in rows} >= {"name", "_id", "_tag"}
    parameters = client.app.services.parameters
    for row in await states(client, "/SearchParameter/$status"):
        for type in row["resource"]:
            searchable = parameters.searchable(type, row["code"])
            assert row["status"] == ("indexed" if searchable else "unsupported"), row
    assert (await client.get("/SearchParameter/$status?resource=Nothing")).status_code == 400


async def test_an_unfinished_job_goes_on_where_it_was(start_server: StartServer, tmp_path: Any) -> None:
    store = f"sqlite:///{tmp_path}/resumed.db"
    client = await start_server(store=store)
    ids = [f"p{n:03}" for n in range(120)]
    await client.post_json("", bundle("transaction", *(put(trusted(id, "much")) for id in ids)))
    await client.put_json("/SearchParameter/t", parameter(id="t"))
    in_force = client.app.services.registry.current
    from fhir_server.interactions.indexing import digest

    # the Task that a process has left which died long ago, 50 resources on
    rid = 50
    basis = digest(in_force.fingerprints(("Patient",)))
    job = Job(
        "dead", "reindex", "in-progress", 0, 0, ("Patient",), cursor=rid, done=50, total=120, basis=basis
    )
    await client.put_json("/Task/dead", job.as_task())
    app = create_app(Settings(log_level="error", store=store))
    await app.open()
    try:
        runner = app.services.jobs
        assert isinstance(runner, JobRunner)
        await runner.idle()
        done = (await client.get("/Task/dead")).json()
        assert done["status"] == "completed"
        numbers = {o["type"]["coding"][0]["code"]: o.get("valueUnsignedInt") for o in done["output"]}
        assert (numbers["done"], numbers["changed"]) == (120, 70)
    finally:
        await app.close()


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
async def test_resources_of_an_older_program_are_indexed_anew_at_start(
    start_server: StartServer, tmp_path: Any, kind: str
) -> None:
    store = f"sqlite:///{tmp_path}/old.db" if kind == "sqlite" else "memory:"
    client = await start_server(store=store)
    services = client.app.services
    await client.put_json("/Patient/a", patient(id="a"))
    await services.store.set_fingerprints({"Patient.name": "by rules of long ago"})
    client.app.services.registry.current = await begin(services)
    answer = (await client.get("/Patient?name=osler")).json()
    assert found(answer) == ["a"]
    assert "name of Patient is not fully indexed" in told(answer)[0]
    # standard parameters stay good enough for conditional writes
    again = await client.post_json("/Patient", patient(), if_none_exist="name=osler")
    assert again.status_code == 200
    await client.app.open()
    await idle(client)
    answer = (await client.get("/Patient?name=osler")).json()
    assert told(answer) == []


async def test_reindex_takes_known_types_only(client: Client) -> None:
    assert (await client.post("/$reindex?type=Nothing")).status_code == 400
    assert (await client.get("/$reindex")).status_code == 405
    assert (await client.post("/SearchParameter/absent/$reindex")).status_code == 404
