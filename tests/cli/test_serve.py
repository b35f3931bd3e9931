"""`osler serve` as a process: quick to start, ready when it says so, graceful at the end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from fhir_r4.errors import InvalidRequest, Unavailable
from fhir_server.serving import check_settings, is_loopback, listen, origin
from fhir_server.settings import Settings
from tests.scenarios.servers import Server, environment, osler, serve_command, serving


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_port_it_prints_answers_and_the_end_is_in_order(tmp_path: Path, workers: int) -> None:
    with serving(f"sqlite:///{tmp_path}/osler.db", workers=workers) as server:
        assert get(server.port, "/fhir/Patient")[0] == 200
        assert server.terminate() == 0
        assert "FHIR base" in server.output
        assert "Traceback" not in server.output


def test_options_win_over_variables(tmp_path: Path) -> None:
    command = serve_command("memory:")
    with Server(
        command, {"OSLER_STORE": f"sqlite:///{tmp_path}/wrong.db", "OSLER_LOG_FORMAT": "json"}
    ) as server:
        server.wait_for("/fhir/metadata")
        server.terminate()
        assert not (tmp_path / "wrong.db").exists()
        logged = [json.loads(line) for line in server.log if line.startswith("{")]
        assert any(line["event"] == "request" and line["status"] == 200 for line in logged)


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = osler("serve", "--store", "memory:", "--port", str(port))
    assert done.code == 2
    assert str(port) in done.output
    assert "Traceback" not in done.output


def test_logs_have_no_word_about_a_patient(tmp_path: Path) -> None:
    with serving("memory:", variables={"OSLER_LOG_LEVEL": "debug"}) as server:
        get(server.port, "/fhir/Patient?name=Grauzahn&identifier=urn:mrn%7C8712")
        get(server.port, "/fhir/Patient/secret-id-1")
        get(server.port, "/fhir/Patient?birthdate=18-13-Grauzahn")
        server.terminate()
        for word in ("Grauzahn", "8712", "secret-id-1"):
            assert word not in server.output


def test_nothing_heavy_is_imported_for_version_or_start() -> None:
    program = (
        "import sys; from fhir_server.cli import app\n"
        "try: app(['version'])\nexcept SystemExit: pass\n"
        "assert not {'fhir.resources', 'uvicorn', 'fastapi', 'rich.progress', 'pydantic_settings'} & set(sys.modules)\n"
        "import fhir_server.serving, fhir_server.app\n"
        "assert not {'fhir.resources', 'fastapi', 'rich.progress'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.1.2.3", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_host_without_address_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cannot be listened on"):
        check_settings(Settings(host="no.such.host.invalid"))


def test_listening_twice_on_a_port_is_refused() -> None:
    with listen("127.0.0.1", 0) as bound:
        bound.listen()
        assert origin(bound, "127.0.0.1") == f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Unavailable):
            listen("127.0.0.1", bound.getsockname()[1])
