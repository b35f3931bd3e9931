"""Log lines have known fields only, whatever a caller hands in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from fhir_server.logs import FIELDS, configure_logs


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
