"""A sender of what cannot be mapped, devices that fall silent and one that is not there keep nobody else from being served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from fhir_server.app import create_app
from fhir_server.settings import Settings
from tests.bridge.core import until
from tests.bridge.mllp import sender
from tests.bridge.test_core_server import figures, in_state
from tests.scenarios.hl7_load import CONFIG, event, isolation, poison

MESSAGES = 40


async def test_poison_and_silence_and_absence_keep_nobody_waiting(tmp_path: Path) -> None:
    config = tmp_path / "hl7.yaml"
    config.write_text(CONFIG)
    app = create_app(
        Settings(store=f"sqlite:///{tmp_path}/osler.db", log_level="error", hl7_config=str(config))
    )
    await app.open()
    assert app.bridge is not None
    ports = {name: int(where.rpartition(":")[2]) for name, where in app.bridge.addresses().items()}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://osler.test/fhir/") as client:
        begun = [await asyncio.open_connection("127.0.0.2", ports["beside"]) for _ in range(5)]
        for _, writer in begun:
            writer.write(b"\x0b" + event(1)[:60])
        async with sender(ports["ward"]) as ward, sender(ports["beside"], "127.0.0.2") as beside:
            for n in range(MESSAGES):
                answers = await asyncio.wait_for(
                    asyncio.gather(ward.send(event(n)), beside.send(poison(n))), timeout=10
                )
                assert b"MSA|AA" in answers[0]

        async def of_the_ward() -> tuple[float, float]:
            found = await figures(client)
            return in_state(found, "mapped", "ward"), in_state(found, "held", "beside")

        # each patient's own message is mapped, and of the poison nothing that has no patient
        mapped, held = await until(of_the_ward, lambda found: found[0] == MESSAGES, seconds=60)
        assert mapped == MESSAGES
        assert held > 0
        for _, writer in begun:
            writer.transport.abort()
        await app.close()


def test_isolation_is_measured() -> None:
    found = isolation(1, 0.5)
    assert found.messages > 10
    assert found.refused == 0
    assert found.calm[0] > 0
    assert found.troubled[0] > 0
