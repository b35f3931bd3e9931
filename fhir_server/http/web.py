"""The part of the server that is not FHIR: landing page, health, readiness, metrics, OpenAPI and its page, the webhook of payments.

FastAPI is imported here alone, and this module only when a path outside /fhir is first asked for: importing it costs
more time than the FHIR door needs to start. A page may use nothing but what it brings along; its Content-Security-Policy
names the hashes of its own script and style.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fhir_r4.definitions import is_resource_type, resource_types
from fhir_r4.errors import FhirError, Unavailable, UnknownResourceType
from fhir_r4.jsonio import encode
from fhir_server.context import FhirResponse, Services
from fhir_server.http.errors import answer_error
from fhir_server.http.metrics import Metrics
from fhir_server.http.negotiation import JSON, content_encoding
from fhir_server.http.openapi import DEFAULT_TYPES, openapi_document
from fhir_server.http.payments import Webhook
from fhir_server.http.responses import body_bytes, compress
from fhir_server.interactions.capabilities import software_version
from fhir_server.interactions.indexing import follow

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def create_web(services: Services, metrics: Metrics) -> FastAPI:
    """The application for every path outside /fhir. Opens nothing; the services must be open when it is called."""
    web = FastAPI(title="Osler", openapi_url=None, docs_url=None, redoc_url=None)
    pages = Pages(services, metrics)
    web.add_route("/", pages.landing)
    web.add_route("/health", pages.health)
    web.add_route("/ready", pages.ready)
    web.add_route("/metrics", pages.metrics_text)
    web.add_route("/openapi.json", pages.openapi)
    web.add_route("/docs", pages.docs)
    web.add_route("/payments/{provider}", Webhook(services).__call__, methods=["POST"])
    return web


class Pages:
    """The endpoints, over the services of one server."""

    def __init__(self, services: Services, metrics: Metrics) -> None:
        self.services = services
        self.metrics = metrics
        self._documents: dict[tuple[tuple[str, ...], int], bytes] = {}

    async def landing(self, request: Request) -> Response:
        """What this is, where things are, and how many resources of each type are kept just now."""
        base = self.services.settings.base_url or f"{str(request.base_url).rstrip('/')}/fhir"
        try:
            counts = _counts_table(await self.services.store.counts())
        except Unavailable as error:
            counts = f"<p>{escape(str(error))}</p>"
        page = _read_page("landing.html")
        text = Template(page).substitute(base=escape(base), version=escape(software_version()), counts=counts)
        return _page(text, page)

    async def health(self, request: Request) -> Response:
        """200 as long as the process answers."""
        return _json({"status": "alive", "version": software_version()})

    async def ready(self, request: Request) -> Response:
        """200 when the store can be written to, else 503 with an OperationOutcome."""
        try:
            await self.services.store.ping()
        except Exception as error:
            refusal = error if isinstance(error, Unavailable) else Unavailable("The store does not answer.")
            return _refusal(refusal)
        return _json({"status": "ready"})

    async def metrics_text(self, request: Request) -> Response:
        """Prometheus text; without the store's figures while the store does not answer."""
        store = self.services.store
        await self.metrics.refresh()
        try:
            text = self.metrics.text(await store.counts(), await store.last_sequence())
        except Unavailable:
            text = self.metrics.text(None, None)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document; `types` names the resource types with paths of their own, `*` all."""
        try:
            types = _types(request.query_params.get("types"))
        except FhirError as error:
            return _refusal(error)
        key = types, (await follow(self.services)).sequence
        body = self._documents.get(key)
        if body is None:
            body = encode(await asyncio.to_thread(openapi_document, self.services, types))
            if len(self._documents) > 8:
                self._documents.clear()
            self._documents[key] = body
        headers = {"Vary": "Accept-Encoding"}
        coding = content_encoding(request.headers.get("accept-encoding", ""))
        if coding is not None:
            body = compress(body, coding)
            headers["Content-Encoding"] = coding
        return Response(body, media_type="application/json", headers=headers)

    async def docs(self, request: Request) -> Response:
        """The OpenAPI document as a page on which requests can be tried."""
        page = _read_page("docs.html")
        return _page(page, page)


def _types(asked: str | None) -> tuple[str, ...]:
    if asked is None or not asked.strip():
        return DEFAULT_TYPES
    if asked.strip() == "*":
        return resource_types()
    names = tuple(sorted({name.strip() for name in asked.split(",") if name.strip()}))
    for name in names:
        if not is_resource_type(name):
            raise UnknownResourceType(f"{name[:64]!r} is no resource type of FHIR R4.", "types")
    return names


def _counts_table(counts: dict[str, int]) -> str:
    kept = sorted(((t, n) for t, n in counts.items() if n), key=lambda row: (-row[1], row[0]))
    if not kept:
        return "<p>No resources are kept yet.</p>"
    rows = "".join(
        f'<tr><td><a href="/fhir/{escape(t)}?_count=20&amp;_pretty=true">{escape(t)}</a></td><td>{n:,}</td></tr>'
        for t, n in kept
    )
    total = sum(n for _, n in kept)
    return f"<table>{rows}<tr><th>all</th><th>{total:,}</th></tr></table>"


def _read_page(name: str) -> str:
    return (files("fhir_server.http.pages") / name).read_text(encoding="utf-8")


def _page(text: str, source: str) -> Response:
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(source):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    policy = "; ".join(
        [
            "default-src 'none'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
        + [f"{kind}-src {' '.join(found)}" for kind, found in hashes.items() if found]
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, headers=headers)


def _json(value: dict[str, Any]) -> Response:
    return Response(encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})


def _refusal(error: FhirError) -> Response:
    answer: FhirResponse = answer_error(error)
    body = body_bytes(answer, JSON, pretty=False)
    return Response(body, answer.status, headers=dict(answer.headers), media_type=JSON)
