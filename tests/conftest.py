"""Fixtures for all tests: a server in process, over HTTP semantics, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.app import Application, create_app
from fhir_server.interactions.indexing import begin
from fhir_server.settings import Settings

BASE = "http://osler.test/fhir"


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


@pytest.fixture(params=["sqlite", "memory"])
async def client(request: pytest.FixtureRequest, start_server: StartServer) -> Client:
    """A client of a fresh server, on each store."""
    return await (start_server() if request.param == "sqlite" else start_server(store="memory:"))
