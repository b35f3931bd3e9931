"""month: a month of a hospital of 500 beds is billed and closed in one run: `python -m benchmarks.month ADDRESS ACCOUNTS` for one store.

With `--soak` 30,000 charges are captured, 3,000 invoices drafted and issued, 900 of them shared, claimed and posted, 2,400 payments made and a few taken
back, by the operations, eight at a time, in one process of its own for each store; else a tenth of that. Then the books are proved (`tests/scenarios/closing.py`). Beside it the same
number of transactions of the same bytes is written straight into a file or a database of the same kind, with nothing but the bytes.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import uvloop
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from benchmarks.figures import Figure
from benchmarks.inprocess import Caller
from benchmarks.options import Options
from fhir_server.app import Application, create_app
from fhir_server.interactions.indexing import begin
from fhir_server.settings import Settings
from fhir_server.store.records import Stored
from tests import mongod
from tests.scenarios.closing import CHARGES, Month
from tests.scenarios.servers import ROOT, environment

ACCOUNTS, AT_ONCE = 3000, 8
SHORT = 300


def run(options: Options) -> list[Figure]:
    accounts = options.amount(ACCOUNTS if options.soak else SHORT)
    with tempfile.TemporaryDirectory() as folder:
        figures = _figures("SQLite", _closed(f"sqlite:///{folder}/osler.db", accounts))
    if mongod.program() is None:
        print("month: NOT MEASURED on MongoDB, because there is no mongod here", flush=True)
        return figures
    with mongod.replica_set() as started:
        address = mongod.with_database(started.uri, "month")
        return figures + _figures("MongoDB", _closed(address, accounts))


def _closed(address: str, accounts: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.month", address, str(accounts)]
    done = subprocess.run(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _figures(store: str, found: dict[str, Any]) -> list[Figure]:
    parts = ", ".join(
        f"{name} {seconds:.1f} s ({found['cpu'][name]:.1f} of CPU)"
        for name, seconds in found["seconds"].items()
        if name != "verify"
    )
    told = f"{found['charges']:,} charges, {found['invoices']:,} invoices, {found['payments']:,} payments, {found['claims']:,} claims"
    limit = (
        f"the limit: {found['transactions']:,} transactions of {found['versions']:,} bodies, {found['bytes'] / 2**20:.0f} MiB, and nothing"
        " else"
    )
    month = sum(s for name, s in found["seconds"].items() if name != "verify")
    return [
        Figure(
            f"month on {store}: closed",
            month,
            "s",
            found["raw"],
            note=f"{told}; {limit}; {parts}; {found['load']}",
        ),
        Figure(
            f"month on {store}: peak memory",
            found["resident"],
            "MiB",
            found["raw_resident"],
            note="server and client in one process",
        ),
        Figure(
            f"month on {store}: ledger verify",
            found["seconds"]["verify"],
            "s",
            note=f"{found['cpu']['verify']:.1f} s of CPU; memory grows by {found['verify_resident']:.0f} MiB",
        ),
    ]


# One store, in a process of its own


def main(address: str, accounts: int) -> None:
    """Close the month, prove it, write the same bytes barely, and print what was measured as JSON."""
    load = f"load {os.getloadavg()[0]:.1f}"
    before = _resident()
    sizes = array("I")
    month = uvloop.run(_lived(address, accounts, sizes))
    measured = {name: month.resident[name] for name in ("correct", "verify")}
    began = time.perf_counter()
    _raw(address, sizes)
    raw = time.perf_counter() - began
    versions = [size for size in sizes if size]
    found = {
        "charges": accounts * CHARGES,
        "invoices": len(month.invoices),
        "payments": month.payments,
        "claims": len(month.claims),
        "transactions": len(sizes) - len(versions),
        "versions": len(versions),
        "bytes": sum(versions),
        "seconds": month.seconds,
        "cpu": month.cpu,
        "raw": raw,
        "resident": measured["correct"],
        "raw_resident": before,
        "verify_resident": measured["verify"] - measured["correct"],
        "load": f"{load} to {os.getloadavg()[0]:.1f}",
    }
    print(json.dumps(found))


async def _lived(address: str, accounts: int, sizes: array[int]) -> Month:
    app = create_app(Settings(store=address, log_level="error"))
    await begin(app.services)
    caller = Caller(app)

    async def ask(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return await caller(method, f"/fhir{path}", body)

    try:
        month = Month(ask, accounts, AT_ONCE)
        await month.prepare()
        _weigh(app, sizes)
        await month.close()
        await month.proved(app.services)
        return month
    finally:
        await app.close()


def _weigh(app: Application, sizes: array[int]) -> None:
    """Note the length of each body that is committed, and a 0 after each transaction."""
    store: Any = app.services.store
    transact = store.transact

    async def weighed(*arguments: Any, **named: Any) -> tuple[Stored, ...]:
        written: tuple[Stored, ...] = await transact(*arguments, **named)
        sizes.extend(len(stored.body) for stored in written if stored.sequence)
        sizes.append(0)
        return written

    store.transact = weighed


def _raw(address: str, sizes: array[int]) -> None:
    if address.startswith("sqlite:"):
        _raw_sqlite(Path(address.removeprefix("sqlite:///")).with_name("raw.db"), sizes)
    else:
        _raw_mongo(mongod.with_database(address, "raw"), sizes)


def _raw_sqlite(file: Path, sizes: array[int]) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE version (number INTEGER PRIMARY KEY, body BLOB)")
        for bodies in _transactions(sizes):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO version (body) VALUES (?)", ((body,) for body in bodies))
            database.execute("COMMIT")


def _raw_mongo(address: str, sizes: array[int]) -> None:
    with mongod.client(address) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        client.get_default_database()["version"].insert_one({})
        for _ in threads.map(lambda bodies: _insert(client, bodies), _transactions(sizes)):
            pass


def _insert(client: MongoClient[dict[str, Any]], bodies: list[bytes]) -> None:
    collection = client.get_default_database()["version"]
    safely = WriteConcern("majority")
    with client.start_session() as session, session.start_transaction(write_concern=safely):
        collection.insert_many([{"b": body} for body in bodies], session=session)


def _transactions(sizes: array[int]) -> Iterator[list[bytes]]:
    """Bodies of those lengths, transaction by transaction; those that wrote nothing are left out."""
    noise = random.Random(1).randbytes(1 << 20)
    bodies: list[bytes] = []
    for size in sizes:
        if size:
            bodies.append(noise[:size])
        elif bodies:
            yield bodies
            bodies = []


def _resident() -> float:
    """The most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
