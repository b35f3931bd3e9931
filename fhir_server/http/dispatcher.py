"""The ASGI door to the FHIR base: reads, dispatches, answers, measures and logs each request.

It stands in front of FastAPI because a route there costs several times a whole read (docs/adr). Everything on a request
that goes wrong passes `errors.answer_error`. Logs hold no query values, bodies or ids.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import FhirError
from fhir_server.context import Actor, FhirRequest, FhirResponse
from fhir_server.http import binary
from fhir_server.http.errors import answer_error
from fhir_server.http.metrics import Metrics
from fhir_server.http.negotiation import JSON, content_encoding, response_format
from fhir_server.http.requests import Receive, Scope, header_map, read_request, request_id_of
from fhir_server.http.responses import LEAST_COMPRESSED, Send, body_bytes, compress, header_list
from fhir_server.http.streaming import EVENT_STREAM, stream_answer
from fhir_server.settings import Settings

Dispatch = Callable[[FhirRequest], Awaitable[FhirResponse]]
ActorOf = Callable[[FhirRequest], Actor]

# method, route, status, seconds, request id
Tell = Callable[[str, str, int, float, str], None]


class FhirDoor:
    """An ASGI application for every path under `prefix`.

    `tell` is told of every answered request; `actor_of` says who makes a request, None: nobody in particular.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        settings: Settings,
        metrics: Metrics,
        tell: Tell | None = None,
        prefix: str = "/fhir",
        actor_of: ActorOf | None = None,
    ) -> None:
        self.dispatch = dispatch
        self.settings = settings
        self.metrics = metrics
        self.prefix = prefix
        self.tell = tell
        self.actor_of = actor_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request: FhirRequest | None = None
        format, pretty = JSON, False
        settings = self.settings
        try:
            request = await read_request(
                scope, receive, prefix=self.prefix, base_url=settings.base_url, max_body=settings.max_body
            )
            request_id = request.request_id
            if self.actor_of is not None:
                request = replace(request, actor=self.actor_of(request))
            path = request.path
            is_binary = bool(path) and path[0] == "Binary"
            if is_binary and binary.wants_raw(request):
                response = binary.raw(await self.dispatch(request))
            else:
                format, pretty = presentation(request)
                if is_binary:
                    request = binary.as_resource(request)
                response = await self.dispatch(request)
            body = None if response.status == 304 else body_bytes(response, format, pretty)
        except Exception as error:
            request_id = request_id_of(header_map(scope)) if request is None else request.request_id
            response = answer_error(error, request_id)
            try:
                body = body_bytes(response, format, pretty)
            except FhirError:  # what the client sent is quoted, and XML cannot hold it
                format = JSON
                body = body_bytes(response, format, pretty)
        if response.stream is not None and scope["method"] == "GET":
            await stream_answer(scope, receive, send, response, request_id)
            return
        await self._answer(scope, send, request, response, body, format, request_id)
        seconds = time.perf_counter() - started
        self.metrics.observe(scope["method"], response.status, seconds)
        if self.tell is not None:
            shown = route(request.path) if request is not None else "unreadable"
            self.tell(scope["method"], shown, response.status, seconds, request_id)

    async def _answer(
        self,
        scope: Scope,
        send: Send,
        request: FhirRequest | None,
        response: FhirResponse,
        body: bytes | None,
        format: str,
        request_id: str,
    ) -> None:
        headers = header_list(response, body, format, request.base if request is not None else self.prefix)
        headers.append((b"x-request-id", request_id.encode()))
        if body is not None and request is not None:
            accepted = request.headers.get("accept-encoding")
            if accepted is not None and len(body) >= LEAST_COMPRESSED:
                coding = content_encoding(accepted)
                headers.append((b"vary", b"Accept, Accept-Encoding"))
                if coding is not None:
                    body = compress(body, coding)
                    headers.append((b"content-encoding", coding.encode()))
        if response.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body or b"")))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        shown = b"" if body is None or scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": shown})


def presentation(request: FhirRequest) -> tuple[str, bool]:
    """The format to answer in and whether it is indented. Raises NotAcceptable or InvalidParameter."""
    wanted, pretty = None, False
    accept = request.headers.get("accept", "*/*")
    if request.path and request.path[-1].startswith("$") and any(m in accept for m in OF_OPERATIONS):
        return JSON, pretty
    for name, value in request.query:
        if name == "_format":
            wanted = value
        elif name == "_pretty":
            pretty = value.lower() == "true"
    return response_format(accept, wanted), pretty


# what operations answer in besides FHIR; their errors are JSON
OF_OPERATIONS = (
    EVENT_STREAM,
    "application/pdf",
    "text/calendar",
    "application/fhir+ndjson",
    "application/ndjson",
)

_KNOWN_SEGMENT = re.compile(r"[$_][a-zA-Z-]{1,40}|metadata")


def route(path: tuple[str, ...]) -> str:
    """The path with `*` for everything that could tell of a patient: `Patient/*/_history/*`."""
    return "/".join(p if is_resource_type(p) or _KNOWN_SEGMENT.fullmatch(p) else "*" for p in path)
