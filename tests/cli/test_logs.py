"""Log lines have known fields only, whatever a caller hands in."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from fhir_server.http.dispatcher import route
from fhir_server.logs import FIELDS, RequestLog, configure_logs


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Puts the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configuration = structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_level_time_and_request_id() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger().info("request", status=200, duration_ms=1.5)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "r1",
        "status": 200,
        "duration_ms": 1.5,
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_fields_that_are_not_known_are_dropped(form: str) -> None:
    stream = io.StringIO()
    configure_logs("info", form, stream)
    structlog.get_logger().info("request", query="name=Grauzahn", body=b"Grauzahn", id="Grauzahn", status=200)
    assert "Grauzahn" not in stream.getvalue()
    assert "200" in stream.getvalue()
    assert not {"query", "body", "id"} & FIELDS


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_told_without_its_message(form: str) -> None:
    stream = io.StringIO()
    configure_logs("info", form, stream)
    for log in (structlog.get_logger().exception, logging.getLogger("uvicorn.error").exception):
        try:
            int("Grauzahn")
        except ValueError:
            log("failed")
    text = stream.getvalue()
    assert text.count("ValueError") == 2
    assert "test_logs.py" in text
    assert "Grauzahn" not in text


def test_the_standard_library_logs_in_the_same_form() -> None:
    stream = io.StringIO()
    configure_logs("warning", "json", stream)
    logging.getLogger("uvicorn.error").info("unseen")
    logging.getLogger("uvicorn.error").warning("Seen %s", 1)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("Seen 1", "warning", "uvicorn.error")


@pytest.mark.parametrize("form", ["text", "json"])
async def test_request_lines_cannot_be_forged_and_are_written_out(form: str) -> None:
    stream = io.StringIO()
    log = RequestLog(form, stream)
    log.tell("GET", "Patient/*", 200, 0.0012, "r-1")
    log.tell('GET\n2026 "x"', "a b", 404, 0.1, "r-2")
    assert stream.getvalue() == ""
    log.write_out()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    if form == "json":
        first = json.loads(lines[0])
        assert (first["method"], first["route"], first["status"], first["duration_ms"]) == (
            "GET",
            "Patient/*",
            200,
            1.2,
        )
        assert set(first) <= FIELDS
        assert json.loads(lines[1])["method"] == 'GET\n2026 "x"'
    else:
        assert (
            " info request method=GET route=Patient/* status=200 duration_ms=1.20 request_id=r-1" in lines[0]
        )
        assert "404" in lines[1]


class Noticed(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


async def test_gathered_request_lines_are_written_soon() -> None:
    stream = Noticed()
    RequestLog("text", stream).tell("GET", "Patient/*", 200, 0.0012, "r-1")
    async with asyncio.timeout(5):
        await stream.written.wait()
    assert stream.getvalue().count("\n") == 1


def test_routes_tell_nothing_of_a_patient() -> None:
    assert route(("Patient", "p-1", "_history", "2")) == "Patient/*/_history/*"
    assert route(("Patient", "p-1", "$everything")) == "Patient/*/$everything"
    assert route(("Patient", "p-1", "Observation")) == "Patient/*/Observation"
    assert route(("John Smith", "$John Smith")) == "*/*"
