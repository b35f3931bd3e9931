"""Proof that the ledger says what the documents say: its accounts add up to nothing, each document is posted as it stands.

Nothing is written. What others write meanwhile may look like a difference: ask again, or stop writing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from zlib import crc32

from fhir_r4.jsonio import decode_object
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.invoicing import is_credit_note, open_of, require_currency
from fhir_server.resources.billing.ledger import (
    DOCUMENTS,
    RECEIVABLE,
    SYSTEM,
    Posting,
    document_of,
    postings,
    postings_of,
)
from fhir_server.resources.billing.money import ZERO, sum_of
from fhir_server.search.tree import Everything, Expression, SearchQuery, TokenIs

BATCH = 500
# how many documents are compared at a time: what is kept of them in memory
TOGETHER = 20_000
Sums = dict[tuple[str, str, str], Decimal]


@dataclass(slots=True)
class Books:
    """What was found: `balances` by (account, currency), and what is wrong, a sentence each."""

    entries: int = 0
    documents: int = 0
    balances: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Part:
    """What the ledger says of a part of the documents: by document, and receivable of each Invoice, (account, currency, party)."""

    by_document: dict[str, Sums] = field(default_factory=dict)
    receivable: Sums = field(default_factory=dict)


async def verify(services: Services, together: int = TOGETHER) -> Books:
    """Compare the ledger with the documents, so many documents at a time: memory does not grow with the ledger."""
    books = Books()
    count = sum([await _count(services, type) for type in DOCUMENTS])
    parts = max(1, -(-count // together))
    for number in range(parts):
        await _verify(books, services, number, parts)
    for currency in sorted({c for _, c in books.balances}):
        total = sum_of(a for (_, c), a in books.balances.items() if c == currency)
        if total != ZERO:
            books.problems.append(f"The accounts in {currency} add up to {total}")
    return books


async def _verify(books: Books, services: Services, number: int, parts: int) -> None:
    """Compare the documents of one of so many parts; entries are judged and counted with the first."""
    part = Part()

    def inside(name: str) -> bool:
        return crc32(name.encode()) % parts == number

    async for entry in _all(services, "Basic", TokenIs("code", SYSTEM, "entry")):
        found = postings_of(entry)
        if number == 0:
            books.entries += 1
            _require_balance(books, f"Basic/{entry['id']}", found)
            for p in found:
                key = p.account, p.currency
                books.balances[key] = sum_of((books.balances.get(key, ZERO), p.amount))
        name = document_of(entry)
        if inside(name):
            _add(part.by_document.setdefault(name, {}), found)
        _add(part.receivable, (p for p in found if p.account == RECEIVABLE and inside(p.party)))
    for type in DOCUMENTS:
        async for resource in _all(services, type, Everything()):
            if inside(f"{type}/{resource['id']}"):
                _compare(books, services, resource, part)
    books.problems += [f"{name} is posted and is not here" for name in part.by_document]


def _compare(books: Books, services: Services, resource: Resource, part: Part) -> None:
    """Whether a document is posted as it stands; takes it out of `by_document`."""
    name = f"{resource['resourceType']}/{resource['id']}"
    wanted: Sums = {}
    _add(wanted, postings(resource, services.settings.local_bases))
    posted = part.by_document.pop(name, {})
    books.documents += bool(wanted or posted)
    if _counted(wanted) != _counted(posted):
        books.problems.append(f"{name} is posted as {_told(posted)}; it says {_told(wanted)}")
    if resource["resourceType"] == "Invoice" and wanted:
        owed = part.receivable.pop((RECEIVABLE, require_currency(resource), name), ZERO)
        if not is_credit_note(resource) and owed != open_of(resource):
            books.problems.append(f"{name} has {open_of(resource)} open; the ledger has {owed} receivable")


async def _count(services: Services, type: str) -> int:
    page = await services.store.search(SearchQuery((type,), Everything(), count=0, total="accurate"))
    return page.total or 0


def _add(sums: Sums, found: Iterable[Posting]) -> None:
    for p in found:
        key = p.account, p.currency, p.party
        sums[key] = sum_of((sums.get(key, ZERO), p.amount))


def _counted(sums: Sums) -> Sums:
    return {key: amount for key, amount in sums.items() if amount != ZERO}


def _told(sums: Sums) -> str:
    return ", ".join(f"{a} {k[0]} {k[1]}" for k, a in sorted(_counted(sums).items())) or "nothing"


def _require_balance(books: Books, name: str, found: Iterable[Posting]) -> None:
    sums: dict[str, list[Decimal]] = {}
    for p in found:
        sums.setdefault(p.currency, []).append(p.amount)
    books.problems += [
        f"{name} adds up to {sum_of(a)} {currency}" for currency, a in sums.items() if sum_of(a) != ZERO
    ]


async def _all(services: Services, type: str, where: Expression) -> AsyncIterator[Resource]:
    cursor: str | None = None
    while True:
        query = SearchQuery(types=(type,), where=where, count=BATCH, cursor=cursor)
        page = await services.store.search(query)
        for stored in page.matches:
            yield decode_object(stored.body)
        cursor = page.next
        if cursor is None:
            return
