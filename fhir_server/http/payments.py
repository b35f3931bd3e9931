"""The webhook of providers of online payments: `POST /payments/{provider}`, outside /fhir, for nobody but them.

A call is answered 200 when what it tells is committed, or was before; a provider tries again for anything else. What is not signed by
the provider is refused with 403 and not looked at.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from fhir_r4.errors import FhirError, NotFound, TooLarge
from fhir_r4.jsonio import encode
from fhir_server.context import Services
from fhir_server.http.errors import answer_error
from fhir_server.http.negotiation import JSON
from fhir_server.http.responses import body_bytes
from fhir_server.operations.billing.online import take_event
from fhir_server.operations.billing.providers import providers_of

MOST_BYTES = 65_536


class Webhook:
    """The endpoint, over the services of one server."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._providers = providers_of(services.settings)

    async def __call__(self, request: Request) -> Response:
        """Take what a provider tells."""
        try:
            done = await self._take(request)
        except FhirError as error:
            answer = answer_error(error)
            return Response(
                body_bytes(answer, JSON, pretty=False),
                answer.status,
                headers=dict(answer.headers),
                media_type=JSON,
            )
        headers = {"Cache-Control": "no-store"}
        return Response(encode({"status": done}), media_type="application/json", headers=headers)

    async def _take(self, request: Request) -> str:
        provider = self._providers.get(request.path_params["provider"])
        if provider is None:
            raise NotFound("There is no such provider of payments.")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise TooLarge(f"A call of the webhook has at the most {MOST_BYTES} bytes.")
        event = provider.event(request.headers, body, self.services.clock())
        return "ignored" if event is None else await take_event(event, self.services)
