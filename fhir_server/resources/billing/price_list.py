"""The price list of this process: the ChargeItemDefinitions in force, by their address and by what they charge for.

An invariant to keep: a list that was asked for has every definition that was committed before, whoever wrote it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from fhir_r4.jsonio import decode_object
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.definition import IN_FORCE
from fhir_server.search.tree import SearchQuery, TokenIs, any_of

DEFINITION = "ChargeItemDefinition"
PAGE = 1000


class PriceList:
    """Definitions that are or were in force."""

    def __init__(self) -> None:
        self._sequence = -1
        self._by_url: dict[str, list[Resource]] = {}
        self._by_code: dict[tuple[str, str], list[str]] = {}
        self._lock = asyncio.Lock()

    async def current(self, services: Services) -> PriceList:
        """The list as of everything that is committed."""
        if await services.store.last_sequence(DEFINITION) != self._sequence:
            async with self._lock:
                last = await services.store.last_sequence(DEFINITION)
                if last != self._sequence:
                    await self._read(services)
                    self._sequence = last
        return self

    @property
    def empty(self) -> bool:
        return not self._by_url

    def versions(self, url: str) -> list[Resource]:
        """All versions of a definition."""
        return self._by_url.get(url, [])

    def urls_for(self, concepts: list[Resource]) -> list[str]:
        """The definitions that charge for one of the concepts, by any of its codings, or by its text."""
        found: dict[str, None] = {}
        for concept in concepts:
            for key in keys_of(concept):
                found.update(dict.fromkeys(self._by_code.get(key, ())))
        return list(found)

    async def _read(self, services: Services) -> None:
        by_url: dict[str, list[Resource]] = {}
        by_code: dict[tuple[str, str], dict[str, None]] = {}
        where = any_of(TokenIs("status", None, status) for status in IN_FORCE)
        cursor = None
        while True:
            page = await services.store.search(SearchQuery((DEFINITION,), where, count=PAGE, cursor=cursor))
            for stored in page.matches:
                definition = decode_object(stored.body)
                by_url.setdefault(definition["url"], []).append(definition)
                for key in keys_of(definition.get("code", {})):
                    by_code.setdefault(key, {})[definition["url"]] = None
            cursor = page.next
            if cursor is None:
                break
        self._by_url = by_url
        self._by_code = {key: list(urls) for key, urls in by_code.items()}


def keys_of(concept: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What a concept is found by: (system, code) of its codings; without any, ('', text)."""
    codings = concept.get("coding", ())
    assert isinstance(codings, list | tuple)
    named = [(str(c.get("system", "")), str(c["code"])) for c in codings if "code" in c]
    if named:
        yield from named
    elif "text" in concept:
        yield "", str(concept["text"]).strip().lower()


async def price_list(services: Services) -> PriceList:
    """The price list of this process as of everything that is committed."""
    return await services.views.of(PriceList).current(services)
