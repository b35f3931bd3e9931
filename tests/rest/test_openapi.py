"""The OpenAPI document describes what the server does, and nothing else. https://spec.openapis.org/oas/v3.1.0"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from jsonschema import Draft202012Validator

from fhir_r4.definitions import is_resource_type, resource_types
from fhir_r4.errors import ERRORS
from fhir_server.demo.generate import generate
from fhir_server.http.examples import EXAMPLES
from fhir_server.http.json_schemas import schemas_of
from fhir_server.http.openapi import DEFAULT_TYPES
from fhir_server.http.openapi_interactions import INTERACTIONS, Interaction
from profiles.structure import StructuralValidator
from tests.conftest import Client, StartServer

ADDRESS = "http://osler.test/openapi.json"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
async def server(start_server: StartServer) -> Client:
    return await start_server(store="memory:")


@pytest.fixture
async def document(server: Client) -> dict[str, Any]:
    answer = await server.get(ADDRESS)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for below in value.values():
            yield from nodes(below)
    elif isinstance(value, list):
        for below in value:
            yield from nodes(below)


def resolve(document: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in item:
        return item
    found: Any = document
    for key in item["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    assert isinstance(found, dict)
    return found


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    references = [n for n in nodes(document) if isinstance(n.get("$ref"), str)]
    assert len(references) > 1000
    for node in references:
        resolve(document, node)


def test_document_has_the_members_that_openapi_demands(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} <= document["info"].keys()
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert len({tag["name"] for tag in document["tags"]}) == len(document["tags"])
    for path, method, operation in operations(document):
        assert path.startswith("/")
        assert method in METHODS
        assert operation["responses"]
        for answer in operation["responses"].values():
            assert resolve(document, answer)["description"]
    for kind in document["components"].values():
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in kind)


def test_parameters_of_an_address_are_those_of_its_template(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        parameters = [resolve(document, p) for p in operation.get("parameters", ())]
        places = [(p["in"], p["name"]) for p in parameters]
        assert len(places) == len(set(places)), (path, method)
        in_path = {name for where, name in places if where == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), (path, method)
        assert all(p["required"] for p in parameters if p["in"] == "path")


async def test_hospital_types_have_addresses_and_schemas_of_their_own(document: dict[str, Any]) -> None:
    assert all(is_resource_type(name) for name in DEFAULT_TYPES)
    for name in DEFAULT_TYPES:
        assert {"get", "post"} <= document["paths"][f"/fhir/{name}"].keys()
        assert name in document["components"]["schemas"]


async def test_search_parameters_are_those_of_the_capability_statement(
    server: Client, document: dict[str, Any]
) -> None:
    statement = (await server.get("/metadata")).json()
    told = {r["type"]: {p["name"] for p in r["searchParam"]} for r in statement["rest"][0]["resource"]}
    for name in DEFAULT_TYPES:
        parameters = [resolve(document, p) for p in document["paths"][f"/fhir/{name}"]["get"]["parameters"]]
        names = {p["name"] for p in parameters if p["in"] == "query"}
        assert told[name] <= names
        assert "criteria" not in names


@pytest.mark.parametrize(
    ("name", "modifiers"),
    [
        ("Patient-active", ":missing, :not"),
        ("Patient-identifier", ":missing, :not, :text, :of-type"),
        ("Patient-gender", ":missing, :not, :in, :not-in, :above, :below"),
        ("Patient-name", ":missing, :exact, :contains"),
        ("Patient-organization", ":missing, :identifier, :above, :below"),
        ("Resource-_id", None),
        ("Resource-_tag", ":missing, :not, :text, :in, :not-in, :above, :below"),
    ],
)
async def test_a_parameter_has_the_modifiers_that_make_sense_for_it(
    server: Client, document: dict[str, Any], name: str, modifiers: str | None
) -> None:
    said = document["components"]["parameters"][name]["description"]
    assert said.partition(" (modifiers ")[2] == ("" if modifiers is None else f"{modifiers})")


async def test_operations_are_those_of_the_server(server: Client, document: dict[str, Any]) -> None:
    told = {path.rpartition("/$")[2] for path in document["paths"] if "/$" in path}
    assert told == set(server.app.services.operations)
    lookup = document["paths"]["/fhir/CodeSystem/$lookup"]["get"]
    assert {"code", "system"} <= {p.get("name") for p in lookup["parameters"]}


def test_every_error_stands_at_its_status(document: dict[str, Any]) -> None:
    own = {id: e for id, e in ERRORS.items() if not e.__module__.startswith("tests")}
    for id, error in own.items():
        assert f"`{id}`" in document["components"]["responses"][str(error.status)]["description"]


async def test_types_can_be_chosen(server: Client) -> None:
    chosen = (await server.get(ADDRESS, params={"types": "Slot,Patient"})).json()
    tags = {tag["name"] for tag in chosen["tags"]}
    assert tags == {"system", "any type", "Patient", "Slot"}
    everything = (await server.get(ADDRESS, params={"types": "*"})).json()
    assert {f"/fhir/{name}" for name in resource_types()} <= everything["paths"].keys()


async def test_unknown_type_is_refused(server: Client) -> None:
    answer = await server.get(ADDRESS, params={"types": "Patent"})
    assert answer.status_code == 404
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "unknown-type"


async def test_document_is_compressed_when_the_client_takes_it(server: Client) -> None:
    plain = await server.get(ADDRESS, headers={"accept-encoding": "identity"})
    packed = await server.get(ADDRESS, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()


@pytest.mark.parametrize(
    ("base_url", "servers", "path"),
    [
        ("", None, "/fhir/Patient"),
        ("https://hospital.example/fhir", [{"url": "https://hospital.example"}], "/fhir/Patient"),
        ("https://fhir.hospital.example", [{"url": "https://fhir.hospital.example"}], "/Patient"),
    ],
)
async def test_addresses_are_those_that_clients_see(
    start_server: StartServer, base_url: str, servers: list[dict[str, str]] | None, path: str
) -> None:
    server = await start_server(store="memory:", base_url=base_url)
    document = (await server.get(ADDRESS)).json()
    assert document.get("servers") == servers
    assert path in document["paths"]


def ask(server: Client, row: Interaction) -> httpx.Request:
    """A request of the row, with a body of the kind that it takes."""
    values = {"type": "Patient", "id": "a", "vid": "1", "member": "Observation"}
    address = row.path.format(**values)
    if "criteria" in row.parameters:
        kind = "_type=Patient&" if "_type" in row.parameters else ""
        address += f"?{kind}identifier={quote('urn:x|1')}"
    patient = {"resourceType": "Patient"} | ({"id": "a"} if "{id}" in row.path else {})
    match row.body:
        case "resource":
            return server.build_request(row.method.upper(), address, json=patient)
        case "bundle":
            return server.build_request("POST", address, json={"resourceType": "Bundle", "type": "batch"})
        case "patch":
            headers = {"content-type": "application/json-patch+json"}
            return server.build_request("PATCH", address, json=[], headers=headers)
        case "form":
            return server.build_request("POST", address, data={"_count": "1"})
        case _:
            return server.build_request(row.method.upper(), address)


@pytest.mark.parametrize("row", INTERACTIONS, ids=lambda row: row.id)
async def test_server_takes_every_interaction_of_the_document(server: Client, row: Interaction) -> None:
    body = {"resourceType": "Patient", "id": "a", "identifier": [{"system": "urn:x", "value": "1"}]}
    await server.put_json("Patient/a", body)
    answer = await server.send(ask(server, row))
    assert answer.status_code in {status for status, _ in row.answers}, answer.text


@pytest.mark.parametrize("name", EXAMPLES)
async def test_examples_are_taken_as_they_are(server: Client, name: str) -> None:
    assert StructuralValidator().check(EXAMPLES[name]) is None
    path = {"Bundle": "", "Parameters": "Patient/$validate"}.get(name, name)
    assert (await server.post_json(path, EXAMPLES[name])).status_code in (200, 201)


def test_schemas_are_json_schemas() -> None:
    for schema in schemas_of(("Bundle", *DEFAULT_TYPES)).values():
        Draft202012Validator.check_schema(schema)


def test_schemas_accept_the_records_of_the_demo_hospital() -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    for bundle in islice(generate(), 40):
        for entry in bundle["entry"]:
            resource = entry["resource"]
            found.setdefault(resource["resourceType"], []).append(resource)
    schemas = schemas_of(found)
    assert len(found) > 15
    for name, resources in found.items():
        validator = Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        )
        for resource in resources[:5]:
            assert [e.message for e in validator.iter_errors(resource)] == []


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Patient", "gender": "unsaid"},
        {"resourceType": "Patient", "naem": []},
        {"resourceType": "Patient", "name": {"family": "Osler"}},
        {"resourceType": "Observation", "status": "final"},
    ],
)
def test_schemas_refuse_what_is_no_such_resource(resource: dict[str, Any]) -> None:
    name = resource["resourceType"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas_of((name,))}}
    assert not Draft202012Validator(schema).is_valid(resource)


def test_schemas_accept_extensions_of_primitives_alone() -> None:
    resource = {
        "resourceType": "Patient",
        "_birthDate": {"extension": [{"url": "urn:x", "valueCode": "unknown"}]},
        "name": [{"given": [None, "W"], "_given": [{"id": "a"}, None]}],
    }
    schema = {"$ref": "#/components/schemas/Patient", "components": {"schemas": schemas_of(("Patient",))}}
    assert Draft202012Validator(schema).is_valid(resource)
