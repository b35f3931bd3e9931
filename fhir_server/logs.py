"""Structured logs: one line an event, as JSON or text, with the request's id and never a word about a patient.

An invariant to keep: a line has only the fields of FIELDS. Query values, bodies, ids of resources and the messages of
unexpected exceptions (which may quote a value) never reach a line; a traceback is told as class, files and lines.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import TextIO

import msgspec
import structlog

from fhir_r4.temporal import format_instant

_FIELDS = """
event level timestamp logger request_id method route interaction type status duration_ms bytes error_id exception
traceback worker version store host port count created updated refused
connection destination address result pause
"""
FIELDS = frozenset(_FIELDS.split())

Event = MutableMapping[str, object]


def configure_logs(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging (uvicorn) alike; `form` is `json` or `text`."""
    out = stream if stream is not None else sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tell_exception,
        keep_known_fields,
    ]
    render = render_json if form == "json" else render_text
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[
                _without_record,
                *shared,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"


def keep_known_fields(_logger: object, _method: str, event: Event) -> Mapping[str, object]:
    """Drop every field that is not in FIELDS, so that no caller can log what a patient said by mistake."""
    return {k: v for k, v in event.items() if k in FIELDS}


def tell_exception(_logger: object, _method: str, event: Event) -> Event:
    """Put the class and the way of an exception in place of `exc_info`, without its message and values."""
    info = event.pop("exc_info", None)
    if info is None or info is False:
        return event
    error = info if isinstance(info, BaseException) else _third(info)
    if error is not None:
        event["exception"] = type(error).__qualname__
        event["traceback"] = _frames(error.__traceback__)
    return event


def _third(info: object) -> BaseException | None:
    if isinstance(info, tuple):
        return info[1] if isinstance(info[1], BaseException) else None
    return sys.exc_info()[1]


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames


def _without_record(_logger: object, _method: str, event: Event) -> Event:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def render_json(_logger: object, _method: str, event: Event) -> str:
    """One JSON object a line."""
    return msgspec.json.encode(event, enc_hook=str).decode()


def render_text(_logger: object, _method: str, event: Event) -> str:
    """`2026-01-31T09:30:00Z info  request  status=200 duration_ms=1.2`, tracebacks below."""
    first = " ".join(str(event.pop(name, "")) for name in ("timestamp", "level", "event"))
    frames = event.pop("traceback", None)
    rest = "".join(f" {k}={v}" for k, v in event.items())
    below = "".join(f"\n    {frame}" for frame in frames) if isinstance(frames, list) else ""
    return f"{first}{rest}{below}"


class RequestLog:
    """Writes the line of each answered request: the same fields and forms as every other line, at a tenth of the cost.

    Lines are gathered for LINGER seconds of the event loop, because a write for each would cost more than a read of the
    server; what was gathered is written at exit at the latest.
    """

    LINGER = 0.1

    def __init__(self, form: str, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._json = form == "json"
        self._held: list[str] = []
        atexit.register(self.write_out)

    def tell(self, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        """One request; call it on the event loop. `route` has no ids."""
        now = format_instant(time.time_ns() // 1000)
        duration = f"{seconds * 1000:.2f}"
        if self._json:
            line = (
                f'{{"event":"request","level":"info","timestamp":"{now}","method":{_quoted(method)},"route":{_quoted(route)},'
                f'"status":{status},"duration_ms":{duration},"request_id":{_quoted(request_id)}}}\n'
            )
        else:
            line = (
                f"{now} info request method={_plain(method)} route={_plain(route)} status={status} "
                f"duration_ms={duration} request_id={request_id}\n"
            )
        if not self._held:
            asyncio.get_running_loop().call_later(self.LINGER, self.write_out)
        self._held.append(line)

    def write_out(self) -> None:
        """Write what was gathered."""
        held, self._held = self._held, []
        if held and not self._stream.closed:
            self._stream.write("".join(held))
            self._stream.flush()


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _plain(text: str) -> str:
    """`text` on one line and without blanks: whatever a client puts into a path, it cannot forge a line."""
    return (
        text
        if text.isascii() and text.isprintable() and " " not in text
        else repr(text).replace(" ", "\\x20")
    )
