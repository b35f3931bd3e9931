"""`osler ledger verify` tells the balances and ends with 1 when the books are wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from fhir_r4.jsonio import decode_object
from fhir_server.cli import app
from fhir_server.interactions.writing import deletion
from fhir_server.settings import Settings
from tests.billing.cash import build, done, invoice
from tests.conftest import Client, start, stop


async def keep(store: str, *, forge: bool) -> None:
    client: Client = await start(Settings(store=store, log_level="error"))
    try:
        if not forge:
            await build(client, invoice("i1", "1234.50"))
            await done(client, "Invoice/i1/$pay", amount="200.00", method="cash")
            return
        versions = [v async for v in client.app.services.store.changes()]
        entry = next(v for v in versions if v.type == "Basic" and b"ledger-posting" in v.body)
        assert decode_object(entry.body)["subject"]
        await client.app.services.store.transact([deletion("Basic", entry.id)])
    finally:
        await stop(client)


def test_the_command_proves_the_books(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/osler.db"
    asyncio.run(keep(store, forge=False))
    good = CliRunner().invoke(app, ["ledger", "verify", "--store", store, "--quiet"])
    assert good.exit_code == 0, good.output
    assert "the books balance" in good.stdout
    assert "receivable   EUR             1,034.50" in good.stdout
    asyncio.run(keep(store, forge=True))
    wrong = CliRunner().invoke(app, ["ledger", "verify", "--store", store, "--quiet"])
    assert wrong.exit_code == 1
    assert "wrong: Invoice/i1 is posted as nothing" in wrong.stdout
