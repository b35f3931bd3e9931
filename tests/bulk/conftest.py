"""A server's services over a fresh store, and a loader on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from fhir_server.app import compose
from fhir_server.bulk.files import Item, find_sources, read_items
from fhir_server.bulk.imports import Loader, Tally
from fhir_server.context import Services
from fhir_server.maintenance import bundle_door
from fhir_server.settings import Settings

Resource = dict[str, Any]
Load = Callable[..., Awaitable[Tally]]


@pytest.fixture(params=["memory", "sqlite"])
async def services(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Services]:
    store = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store/osler.db"
    made = compose(Settings(store=store))
    await made.store.open()
    yield made
    await made.store.close()


@pytest.fixture
def load(services: Services) -> Load:
    """Loads files by path, or resources as they are."""

    async def run(*what: Path | Resource, stdin: bytes = b"", **options: Any) -> Tally:
        loader = Loader(services, bundle_door(services), **options)
        return await loader.load(items_of(what, stdin))

    return run


def items_of(what: Iterable[Path | Resource | str], stdin: bytes = b"") -> Iterable[Item]:
    for one in what:
        if isinstance(one, dict):
            yield Item("given", "", one)
        else:
            sources, _ = find_sources([str(one)])
            yield from read_items(sources, BytesIO(stdin))


def patient(id: str | None = None, **elements: Any) -> Resource:
    named: Resource = {"resourceType": "Patient"} | ({} if id is None else {"id": id})
    return {**named, "gender": "female", **elements}


async def body(services: Services, type: str, id: str) -> Resource:
    from fhir_r4.jsonio import decode_object

    stored = await services.store.read(type, id)
    assert stored is not None
    return decode_object(stored.body)
