"""history of a resource, a type and the system: https://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from typing import Any

from tests.conftest import Client
from tests.rest.resources import patient


def versions(bundle: dict[str, Any]) -> list[str]:
    return [e["fullUrl"].split("/fhir/")[1] + e["response"]["etag"] for e in bundle.get("entry", [])]


async def test_history_is_newest_first_with_requests_and_responses(client: Client) -> None:
    created = (await client.post_json("/Patient", patient())).json()
    id = created["id"]
    await client.put_json(f"/Patient/{id}", patient(id=id))
    await client.delete(f"/Patient/{id}")
    bundle = (await client.get(f"/Patient/{id}/_history")).json()
    assert bundle["type"] == "history"
    assert bundle["total"] == 3
    assert [e["request"]["method"] for e in bundle["entry"]] == ["DELETE", "PUT", "POST"]
    assert [e["response"]["status"][:3] for e in bundle["entry"]] == ["204", "200", "201"]
    assert "resource" not in bundle["entry"][0]
    assert bundle["entry"][2]["resource"]["meta"]["versionId"] == "1"


async def test_type_and_system_history_page_without_repeats(client: Client) -> None:
    for n in range(7):
        await client.put_json(f"/Patient/p{n}", patient(id=f"p{n}"))
    await client.put_json("/Practitioner/x", {"resourceType": "Practitioner", "id": "x"})
    assert (await client.get("/Practitioner/_history")).json()["total"] == 1
    seen: list[str] = []
    url: str | None = "/_history?_count=3"
    pages = 0
    while url is not None:
        bundle = (await client.get(url)).json()
        seen += versions(bundle)
        await client.put_json("/Patient/late", patient(id="late"))
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        pages += 1
    assert pages == 3
    assert seen == ['Practitioner/xW/"1"', *(f'Patient/p{n}W/"1"' for n in range(6, -1, -1))]


async def test_since_and_at_choose_versions(client: Client) -> None:
    first = (await client.put_json("/Patient/p", patient(id="p"))).json()["meta"]["lastUpdated"]
    await client.put_json("/Patient/p", patient(id="p"))
    future = await client.get("/Patient/_history?_since=2999-01-01T00:00:00Z")
    assert future.json()["total"] == 0
    assert (await client.get(f"/Patient/p/_history?_since={first}")).json()["total"] == 2
    assert versions((await client.get("/Patient/p/_history?_at=2999")).json()) == ['Patient/pW/"2"']
    assert (await client.get("/Patient/p/_history?_at=2001")).json().get("entry") is None
