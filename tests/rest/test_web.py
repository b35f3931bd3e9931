"""The part of the server that is not FHIR: pages, health, readiness, metrics. docs/deployment.md"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys

import httpx
import pytest

from tests.conftest import Client, StartServer

ORIGIN = "http://osler.test"


async def get(server: Client, path: str, **headers: str) -> httpx.Response:
    return await server.get(f"{ORIGIN}{path}", headers=headers)


@pytest.fixture
async def server(start_server: StartServer) -> Client:
    return await start_server(store="memory:")


def test_fastapi_is_not_imported_before_a_page_is_asked_for() -> None:
    program = (
        "import sys; from fhir_server.app import create_app; from fhir_server.settings import Settings;"
        "create_app(Settings(store='memory:')); sys.exit('fastapi' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_landing_page_tells_the_base_and_the_counts(server: Client) -> None:
    for _ in range(2):
        assert (await server.post_json("Patient", {"resourceType": "Patient"})).status_code == 201
    page = await get(server, "/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<code>{ORIGIN}/fhir</code>" in page.text
    assert re.search(r">Patient</a></td><td>2</td>", page.text)
    assert 'href="/docs"' in page.text


async def test_landing_page_tells_the_configured_base(start_server: StartServer) -> None:
    server = await start_server(store="memory:", base_url="https://hospital.example/fhir")
    page = await get(server, "/")
    assert "<code>https://hospital.example/fhir</code>" in page.text
    assert "No resources are kept yet." in page.text


async def test_host_header_cannot_write_into_the_landing_page(server: Client) -> None:
    page = await get(server, "/", host='"><script>alert(1)</script>')
    assert "<script>alert" not in page.text


async def test_landing_page_stands_when_the_store_is_closed(server: Client) -> None:
    await server.app.services.store.close()
    page = await get(server, "/")
    assert page.status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_bring_everything_along(server: Client, path: str) -> None:
    page = await get(server, path)
    assert re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page.text) == []
    assert "@import" not in page.text
    assert "url(" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    for kind in ("script", "style"):
        for content in re.findall(rf"<{kind}>(.*?)</{kind}>", page.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy


async def test_health_answers_while_the_store_is_closed(client: Client) -> None:
    await client.app.services.store.close()
    answer = await get(client, "/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "alive"


async def test_server_with_an_open_store_is_ready(client: Client) -> None:
    answer = await get(client, "/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready"}
    assert answer.headers["cache-control"] == "no-store"


async def test_server_with_a_closed_store_is_not_ready(start_server: StartServer) -> None:
    server = await start_server()
    await server.app.services.store.close()
    answer = await get(server, "/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "unavailable"


async def test_metrics_count_requests_and_resources(client: Client) -> None:
    created = await client.post_json("Patient", {"resourceType": "Patient"})
    await client.get("Patient/none")
    answer = await get(client, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'osler_requests_total{method="POST",status="201"} 1.0' in lines
    assert 'osler_requests_total{method="GET",status="404"} 1.0' in lines
    assert 'osler_resources{type="Patient"} 1.0' in lines
    assert "osler_last_sequence 1.0" in lines
    assert "osler_store_up 1.0" in lines
    assert created.json()["id"] not in answer.text


async def test_metrics_forget_types_that_are_gone(client: Client) -> None:
    await client.put_json("Patient/a", {"resourceType": "Patient", "id": "a"})
    assert 'osler_resources{type="Patient"} 1.0' in (await get(client, "/metrics")).text
    await client.delete("Patient/a")
    assert 'osler_resources{type="Patient"} 1.0' not in (await get(client, "/metrics")).text


async def test_metrics_answer_while_the_store_is_closed(start_server: StartServer) -> None:
    server = await start_server()
    await server.app.services.store.close()
    answer = await get(server, "/metrics")
    assert answer.status_code == 200
    assert "osler_store_up 0.0" in answer.text.splitlines()


async def test_unknown_page_is_not_found_and_not_taken_for_fhir(server: Client) -> None:
    assert (await get(server, "/nothing")).status_code == 404
    assert (await get(server, "/fhirs/Patient")).status_code == 404
    assert (await server.post(f"{ORIGIN}/docs")).status_code == 405


async def test_pages_answer_head(server: Client) -> None:
    for path in ("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json"):
        assert (await server.head(f"{ORIGIN}{path}")).status_code == 200, path
