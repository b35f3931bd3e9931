"""Whatever is sent, the answer is never a 500: general rules over generated requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Client, Settings, start, stop
from tests.rest.resources import bundle, observation, patient, post, put

QUIET = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["Patient", "Patient/p", "urn:uuid:1", "2020-01-01", "male", "$", "..", "a|b", "x,y", "_id", "ge2020"]
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)
names = st.one_of(
    st.sampled_from(
        [
            "resourceType",
            "id",
            "meta",
            "name",
            "subject",
            "reference",
            "extension",
            "valueString",
            "contained",
            "text",
        ]
    ),
    st.text(max_size=6),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
segments = st.one_of(
    st.sampled_from(
        ["Patient", "Observation", "p", "_history", "_search", "1", "$validate", "$everything", "metadata"]
    ),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=6),
)
parameters = st.one_of(
    st.sampled_from(
        [
            "name",
            "birthdate",
            "_id",
            "_sort",
            "_count",
            "_include",
            "_has:Observation:patient:code",
            "general-practitioner.name",
        ]
    ),
    st.sampled_from(
        ["_lastUpdated", "_total", "_summary", "_elements", "_format", "identifier", "gender:not", "_cursor"]
    ),
    st.text(max_size=8),
)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[asyncio.Runner, Client]]:
    with asyncio.Runner() as runner:
        client = runner.run(start(Settings(store="memory:", log_level="error")))
        entries = [put(patient(id="p")), put(observation("Patient/p", id="o"))]
        runner.run(client.post_json("", bundle("transaction", *entries)))
        yield runner, client
        runner.run(stop(client))


def accept(answer: httpx.Response) -> None:
    assert answer.status_code < 500, (answer.request.url, answer.text)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert "OperationOutcome" in answer.text


@QUIET
@given(body=json_values, type=st.sampled_from(["Patient", "Observation", "Bundle", "Parameters", "Binary"]))
def test_any_json_as_a_resource(server: tuple[asyncio.Runner, Client], body: Any, type: str) -> None:
    runner, client = server
    if isinstance(body, dict):
        body = {**body, "resourceType": type}
    accept(runner.run(client.post_json(f"/{type}", body)))
    accept(runner.run(client.put_json(f"/{type}/p", body)))
    accept(runner.run(client.post_json("", body)))
    accept(runner.run(client.post_json(f"/{type}/$validate", body)))


@QUIET
@given(
    mutation=json_values,
    place=st.sampled_from(
        ["name", "extension", "managingOrganization", "contained", "text", "meta", "birthDate", "_birthDate"]
    ),
)
def test_any_value_in_a_place_of_a_resource(
    server: tuple[asyncio.Runner, Client], mutation: Any, place: str
) -> None:
    runner, client = server
    resource = patient(**{place: mutation})
    accept(runner.run(client.post_json("/Patient", resource)))
    accept(runner.run(client.post_json("", bundle("transaction", post(resource)))))
    accept(runner.run(client.post_json("", bundle("batch", post(resource), {"request": mutation}))))


@QUIET
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    path=st.lists(segments, max_size=4),
    query=st.lists(st.tuples(parameters, texts), max_size=3),
    accepted=st.sampled_from(
        ["application/fhir+json", "application/fhir+xml", "*/*", "text/plain", ";;q=x,"]
    ),
)
def test_any_address(
    server: tuple[asyncio.Runner, Client],
    method: str,
    path: list[str],
    query: list[tuple[str, str]],
    accepted: str,
) -> None:
    runner, client = server
    if method == "DELETE":
        path = path[:1]
    url = httpx.URL(
        "http://osler.test/fhir/" + "/".join(httpx.QueryParams({"": s}).__str__()[1:] for s in path)
    )
    request = client.build_request(method, url, params=query or None, headers={"accept": accepted})
    accept(runner.run(client.send(request)))


@QUIET
@given(
    body=st.binary(max_size=60),
    media=st.sampled_from(["application/fhir+json", "application/fhir+xml", "", "x"]),
)
def test_any_bytes(server: tuple[asyncio.Runner, Client], body: bytes, media: str) -> None:
    runner, client = server
    for method, url in (("POST", "/Patient"), ("PUT", "/Patient/p"), ("PATCH", "/Patient/p"), ("POST", "")):
        accept(runner.run(client.request(method, url, content=body, headers={"content-type": media})))


@QUIET
@given(
    operations=st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
            optional={
                "path": st.sampled_from(["/name/0/family", "/name/-", "/id", "", "/a~1b", "x"]),
                "value": json_values,
                "from": texts,
            },
        ),
        max_size=3,
    )
)
def test_any_json_patch(server: tuple[asyncio.Runner, Client], operations: list[Any]) -> None:
    runner, client = server
    headers = {"content-type": "application/json-patch+json"}
    accept(runner.run(client.request("PATCH", "/Patient/p", json=operations, headers=headers)))
