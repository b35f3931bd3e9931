"""A FHIR server that is reached over HTTP. https://hl7.org/fhir/R4/http.html

An invariant to keep: what cannot be known to be done or refused for good (no answer, 408, 429, 5xx) is Unreachable, and is asked again.
"""

from __future__ import annotations

from typing import Any

import httpx

from fhir_r4.errors import FhirError
from fhir_r4.jsonio import decode_object, encode
from hl7_bridge.delivery import Overtaken, Query, Refused, Resource, Unreachable

JSON = "application/fhir+json"
# what may be answered otherwise when it is asked again
PASSING = frozenset({401, 403, 408, 425, 429})


class HttpServer:
    """A `FhirServer` at a base address. `token` is sent as a bearer token, '' for none."""

    def __init__(self, base: str, token: str = "", transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"accept": JSON} | ({"authorization": f"Bearer {token}"} if token else {})
        self._base = base.rstrip("/")
        self._client = httpx.AsyncClient(
            headers=headers, timeout=httpx.Timeout(60, connect=5), transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        found: list[Resource] = []
        address, pairs = f"{self._base}/{type}", [*query, ("_count", str(limit))]
        while True:
            page = await self._ask("GET", address, pairs)
            entries = page.get("entry", ())
            found += [e["resource"] for e in entries if e.get("search", {}).get("mode", "match") == "match"]
            following = next((n["url"] for n in page.get("link", ()) if n.get("relation") == "next"), None)
            if following is None or len(found) >= limit:
                return found[:limit]
            address, pairs = str(httpx.URL(self._base + "/").join(following)), []

    async def read(self, type: str, id: str) -> Resource | None:
        try:
            return await self._ask("GET", f"{self._base}/{type}/{id}")
        except Refused as refused:
            if refused.status in (404, 410):
                return None
            raise

    async def deliver(self, bundle: Resource) -> Resource:
        return await self._ask("POST", self._base, body=encode(bundle))

    async def _ask(self, method: str, address: str, query: Query = (), body: bytes | None = None) -> Resource:
        try:
            answer = await self._client.request(
                method,
                address,
                params=list(query) or None,
                content=body,
                headers={} if body is None else {"content-type": JSON},
            )
        except httpx.HTTPError as error:
            raise Unreachable(type(error).__name__) from error
        if answer.is_success:
            return _resource(answer)
        if answer.status_code >= 500 or answer.status_code in PASSING:
            raise Unreachable(f"the server answered {answer.status_code}")
        outcome = _outcome(answer)
        if answer.status_code == 409 or (answer.status_code == 412 and not _several(outcome)):
            raise Overtaken(f"the server answered {answer.status_code}")
        raise Refused(answer.status_code, outcome)


def _resource(answer: httpx.Response) -> Resource:
    try:
        return decode_object(answer.content)
    except (FhirError, UnicodeDecodeError) as error:
        raise Unreachable("the server answered with something that is no FHIR") from error


def _outcome(answer: httpx.Response) -> Resource:
    try:
        return decode_object(answer.content)
    except (FhirError, UnicodeDecodeError):
        return {}


def _several(outcome: Resource) -> bool:
    """Whether the criteria of a conditional interaction match several resources: that does not pass by itself."""
    issues: list[dict[str, Any]] = outcome.get("issue", [])
    return any(issue.get("code") == "multiple-matches" for issue in issues)
