"""The ASGI application called directly, without sockets: for profiles of the server's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FHIR_JSON = b"application/fhir+json"


class Caller:
    """Sends requests to an ASGI application as uvicorn would hand them over."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a request for `target` (path and query, percent-encoded)."""
        path, _, query = target.partition("?")
        sent = [(b"host", b"127.0.0.1:8080"), (b"accept", FHIR_JSON)]
        sent += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        if body:
            sent += [(b"content-type", FHIR_JSON), (b"content-length", b"%d" % len(body))]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": sent,
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 40_000),
            "state": {},
        }
        status = 0
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._application(scope, receive, send)
        return status, b"".join(parts)
