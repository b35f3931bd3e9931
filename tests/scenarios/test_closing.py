"""A day of a hospital is closed to the cent, on each store: several requests at a time, 300 charges, 30 invoices, 24 payments, 9 claims."""

from __future__ import annotations

from fhir_server.interactions.consistency import inconsistencies
from tests.conftest import Client
from tests.scenarios.closing import Month


async def test_a_day_is_closed_to_the_cent(client: Client) -> None:
    async def ask(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        names = {"content-type": "application/fhir+json"} if body else {}
        answer = await client.request(method, path, content=body or None, headers=names)
        return answer.status_code, answer.content

    day = Month(ask, 30)
    await day.prepare()
    await day.close()
    assert (day.payments, len(day.claims), len(day.numbers)) == (24, 9, 30)
    await day.proved(client.app.services)
    assert await inconsistencies(client.app.services) == []
