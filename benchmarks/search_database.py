"""The databases that searches are measured on: made once through the server's own door to writes, and kept.

Beside the file lies a list of what can be asked for: `<file>.json`. A file without it was not finished and is made anew.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import workload
from fhir_r4.jsonio import decode_object
from fhir_server.app import Application, create_app
from fhir_server.interactions.writing import prepare
from fhir_server.settings import Settings
from fhir_server.store.records import WriteOp

EACH = len(next(workload.bundles(1))["entry"])
SAMPLED = 1_000
WAITING = 4

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Database:
    """A file, what is in it, and what it took to make it. `sample` has the resources of some of its patients."""

    path: Path
    patients: int
    resources: int
    seconds: float
    sample: list[list[Resource]]

    @property
    def settings(self) -> Settings:
        return settings_for(self.path)


def settings_for(path: Path) -> Settings:
    return Settings(store=f"sqlite:///{path}", log_level="warning")


def default_folder() -> Path:
    return Path(tempfile.gettempdir()) / "osler-benchmarks"


def database(patients: int, folder: Path) -> Database:
    """The database of that many patients, made when it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"search-{patients}.db"
    told = path.with_name(path.name + ".json")
    if told.exists():
        return Database(path, **json.loads(told.read_text()))
    for file in folder.glob(f"{path.name}*"):
        file.unlink()
    resources, seconds = asyncio.run(make(settings_for(path), patients))
    step = max(1, patients // SAMPLED)
    sample = [resources_of(number) for number in range(0, patients, step)]
    made = Database(path, patients, resources, seconds, sample)
    told.write_text(json.dumps({k: v for k, v in asdict(made).items() if k != "path"}, default=str))
    return made


def resources_of(number: int) -> list[Resource]:
    """The resources of a patient as they are stored, with ids and references instead of the Bundle's addresses."""
    bundle = next(workload.bundles(1, number))
    text = workload.as_bytes(bundle)
    for entry in bundle["entry"]:
        url = entry["fullUrl"]
        text = text.replace(
            b'"reference":"%s"' % url.encode(),
            b'"reference":"%s/%s"' % (entry["resource"]["resourceType"].encode(), url[9:].encode()),
        )
    entries = decode_object(text)["entry"]
    return [workload.with_id(entry["resource"], entry["fullUrl"][9:]) for entry in entries]


async def make(settings: Settings, patients: int) -> tuple[int, float]:
    """Write the records; how many resources, and the seconds it took."""
    app = create_app(settings)
    await app.open()
    started = time.perf_counter()
    resources = 0
    try:
        waiting: set[asyncio.Task[Any]] = set()
        for ops in _transactions(app, patients):
            resources += len(ops)
            waiting.add(asyncio.create_task(app.services.store.transact(ops)))
            if len(waiting) >= WAITING:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*waiting)
        return resources, time.perf_counter() - started
    finally:
        await app.close()


def _transactions(app: Application, patients: int) -> Iterator[list[WriteOp]]:
    for number in range(patients):
        yield [
            prepare(app.services, "POST", resource, resource["id"], validated=True)
            for resource in resources_of(number)
        ]


@contextmanager
def opened(database: Database) -> Iterator[tuple[Application, asyncio.Runner]]:
    """The server on the database, in process."""
    with asyncio.Runner() as runner:
        app = create_app(database.settings)
        runner.run(app.open())
        try:
            yield app, runner
        finally:
            runner.run(app.close())
