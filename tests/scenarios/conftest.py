"""Fixtures of the scenarios: servers in processes of their own, one or two of them on a file."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests import mongod
from tests.scenarios.servers import Server, osler, serving
from tests.scenarios.writers import HEADERS

QUIET = {"OSLER_LOG_LEVEL": "warning"}


@pytest.fixture(
    scope="module",
    params=[("sqlite", 1), ("sqlite", 2), ("mongo", 4)],
    ids=["one process", "two processes", "four processes on MongoDB"],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one process, with two on the same file, and with four on MongoDB; kept for the tests of a module.

    When they are over nothing in its store contradicts anything: no claim, Slot or bed is left behind.
    """
    kind, workers = request.param
    if kind == "mongo":
        name = f"osler-test-{uuid.uuid4().hex[:12]}"
        address = mongod.with_database(request.getfixturevalue("mongodb"), name)
    else:
        address = f"sqlite:///{tmp_path_factory.mktemp('store') / 'osler.db'}"
    with serving(address, workers=workers, variables=QUIET) as running:
        yield running
    checked = osler("check", "--quiet", "--store", address)
    assert checked.code == 0, checked.output
    if kind == "mongo":
        with mongod.client(address) as client:
            client.drop_database(name)


@pytest.fixture
async def crowd(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client with as many connections as it is asked for at once, so both processes get some."""
    async with client_of(server) as client:
        yield client


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, on `osler.db` in its folder, with one process."""
    with serving(f"sqlite:///{tmp_path}/osler.db", variables=QUIET) as running:
        yield running


def client_of(server: Server) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    base = f"http://127.0.0.1:{server.port}/fhir/"
    return httpx.AsyncClient(base_url=base, headers=HEADERS, limits=limits, timeout=60)
