"""Fixtures of the scenarios: servers in processes of their own, one or two of them on a file."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import mongod
from tests.scenarios.servers import Server, osler, serving
from tests.scenarios.writers import HEADERS

QUIET = {"OSLER_LOG_LEVEL": "warning"}


@contextmanager
def sound(address: str, workers: int) -> Iterator[Server]:
    """A server for tests that share it, each with ids of its own.

    When they are over nothing in its store contradicts anything: no claim, Slot or bed is left behind.
    """
    with serving(address, workers=workers, variables=QUIET) as running:
        yield running
    checked = osler("check", "--quiet", "--store", address)
    assert checked.code == 0, checked.output


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sound(f"sqlite:///{tmp_path_factory.mktemp('store') / 'osler.db'}", 1) as running:
        yield running


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sound(f"sqlite:///{tmp_path_factory.mktemp('store') / 'osler.db'}", 2) as running:
        yield running


@pytest.fixture(scope="session")
def four_processes(mongodb: str) -> Iterator[Server]:
    name = f"osler-test-{uuid.uuid4().hex[:12]}"
    with sound(mongod.with_database(mongodb, name), 4) as running:
        yield running
    with mongod.client(mongodb) as client:
        client.drop_database(name)


@pytest.fixture(
    params=["one_process", "two_processes", "four_processes"],
    ids=["one process", "two processes", "four processes on MongoDB"],
)
def server(request: pytest.FixtureRequest) -> Server:
    """A server with one process, with two on the same file, and with four on MongoDB."""
    running: Server = request.getfixturevalue(request.param)
    return running


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
