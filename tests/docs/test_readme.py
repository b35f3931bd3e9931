"""The curl lines of the README and of docs/ work as they are typed, on the demo hospital."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import httpx

from fhir_r4.jsonio import encode
from fhir_server.demo.generate import generate
from tests.conftest import Client, StartServer

ROOT = Path(__file__).parents[2]
ORIGIN = "http://127.0.0.1:8080"
PATIENT = "Patient/pat-0001"


def curl_lines(page: Path) -> list[str]:
    """Every curl command of a page, with continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]


def request_of(line: str) -> httpx.Request:
    """The request that curl makes of a command line."""
    method, url, body = None, "", None
    headers: dict[str, str] = {}
    words = iter(shlex.split(line)[1:])
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(":")
                headers[name] = value.strip()
            case "-d":
                body = next(words)
            case _:
                assert word.startswith(ORIGIN), word
                url = word
    return httpx.Request(
        method or ("GET" if body is None else "POST"),
        url,
        headers={"Accept": "*/*", **headers},
        content=body,
    )


def is_of_the_house(resource: dict[str, Any]) -> bool:
    """Whether it is a place, a patient or a stay that goes on."""
    kind = resource["resourceType"]
    return kind in ("Location", "Patient") or (kind == "Encounter" and resource["status"] == "in-progress")


def hospital_around(patient: str) -> dict[str, Any]:
    """A transaction with all places, patients and stays of the demo hospital, and all that speaks of one patient."""
    entries = [entry for bundle in generate() for entry in bundle["entry"]]
    wanted = [e for e in entries if patient in str(e) or is_of_the_house(e["resource"])]
    return {"resourceType": "Bundle", "type": "transaction", "entry": wanted}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


async def test_curl_lines_work_as_typed(start_server: StartServer) -> None:
    server = await start_server(store="memory:")
    headers = {"content-type": "application/fhir+json"}
    loaded = await server.post("", content=encode(hospital_around(PATIENT)), headers=headers)
    assert loaded.status_code == 200, loaded.text[:2000]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server.app)) as client:
        for page in PAGES:
            for line in curl_lines(page):
                answer = await client.send(request_of(line))
                assert answer.status_code in (200, 201), (line, answer.text[:1000])
                resource = answer.json()
                if resource["resourceType"] == "Bundle":
                    assert resource["entry"], line


def test_readme_has_five_requests() -> None:
    assert len(curl_lines(ROOT / "README.md")) == 5


async def test_value_of_the_readmes_observation_keeps_its_digits(client: Client) -> None:
    line = next(line for line in curl_lines(ROOT / "README.md") if "valueQuantity" in line)
    created = await client.send(request_of(line))
    assert b'"value":72.0,' in created.content


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\bmake (\w+)", page.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
