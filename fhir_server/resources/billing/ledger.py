"""Double entry: what each document says in the books, and the entry that a commit adds to the ledger. Pure.

The postings of a document follow from its state alone. A commit that changes them writes one Basic with the difference, in the same
transaction; entries are never changed. Amounts are debits, below zero credits. Invariants to keep: the postings of a document, and so
of each entry, add up to nothing; the entries about a document add up to its postings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_r4.references import local_id
from fhir_r4.temporal import format_instant
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import (
    CREDITS,
    FINAL,
    extension,
    gross_in,
    is_credit_note,
    is_elsewhere,
    require_currency,
)
from fhir_server.resources.billing.money import ZERO, amount_of, money, sum_of
from fhir_server.resources.billing.payments import (
    DISCOUNT,
    METHOD,
    WRITE_OFF,
    adjustment_of,
    is_payment,
    payment_of,
)
from fhir_server.resources.billing.transfer import moved_from
from fhir_server.resources.change import Change

OSLER = "https://osler.health/fhir/StructureDefinition/"
SYSTEM = "https://osler.health/fhir/CodeSystem/ledger"
PROFILE = OSLER + "ledger-entry"
POSTING, DOCUMENT = OSLER + "ledger-posting", OSLER + "ledger-document"

RECEIVABLE, REVENUE, TAX, CASH, BANK, DEPOSITS = "receivable", "revenue", "tax", "cash", "bank", "deposits"
# what is given up of invoices that were issued
GIVEN_UP: Mapping[str, str] = {WRITE_OFF: "write-offs", DISCOUNT: "discounts"}
DOCUMENTS = ("Invoice", "PaymentReconciliation")


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount on an account, below zero on the credit side; `party` is the reference of what it is owed for, or to whom."""

    account: str
    amount: Decimal
    currency: str
    party: str = ""


def postings(resource: Mapping[str, Any] | None, bases: Sequence[str] = ()) -> tuple[Posting, ...]:
    """What a document says in the books: nothing before it is issued or active."""
    if resource is None:
        return ()
    if resource["resourceType"] == "Invoice":
        return _of_invoice(dict(resource), bases)
    if resource["resourceType"] == "PaymentReconciliation" and is_payment(resource, bases):
        return _of_payment(resource, bases)
    return ()


def _of_invoice(invoice: Resource, bases: Sequence[str]) -> tuple[Posting, ...]:
    if invoice.get("status") not in FINAL or is_elsewhere(invoice):
        return ()
    currency, gross = require_currency(invoice), gross_in(invoice)
    credited = _credits(invoice, bases)
    own = Posting(RECEIVABLE, gross, currency, f"Invoice/{credited or invoice['id']}")
    origin = moved_from(invoice, bases)
    if origin is not None:
        return _counted([own, Posting(RECEIVABLE, -gross, currency, f"Invoice/{origin}")])
    net = amount_of(invoice.get("totalNet"), "Invoice.totalNet", currency)
    tax = sum_of((gross, -net))
    return _counted([own, Posting(REVENUE, -net, currency), Posting(TAX, -tax, currency)])


def _credits(invoice: Resource, bases: Sequence[str]) -> str | None:
    """The id of the Invoice that a credit note takes back."""
    told = extension(invoice, CREDITS) if is_credit_note(invoice) else None
    return None if told is None else local_id(told.get("valueReference"), "Invoice", bases)


def _of_payment(resource: Mapping[str, Any], bases: Sequence[str]) -> tuple[Posting, ...]:
    payment = payment_of(resource, bases)
    found = [Posting(_till(resource), payment.amount, payment.currency)]
    for detail in payment.details:
        if detail.invoice is not None:
            party, account = f"Invoice/{detail.invoice}", RECEIVABLE
        else:
            party, account = str(detail.holder), DEPOSITS
        found.append(Posting(account, -detail.amount, payment.currency, party))
    return _counted(found)


def _till(resource: Mapping[str, Any]) -> str:
    """Where money comes in or goes out; the account of what is given up for an adjustment."""
    kind = adjustment_of(resource)
    if kind is not None:
        return GIVEN_UP[kind]
    return CASH if _method(resource) == "cash" else BANK


def _method(resource: Mapping[str, Any]) -> str | None:
    concepts = (e["valueCodeableConcept"] for e in resource.get("extension", ()) if e.get("url") == METHOD)
    return next((c.get("code") for concept in concepts for c in concept.get("coding", ())), None)


def _counted(found: Iterable[Posting]) -> tuple[Posting, ...]:
    """One posting for each account and party, none of nothing, in a fixed order."""
    sums: dict[tuple[str, str, str], Decimal] = {}
    for posting in found:
        key = posting.account, posting.currency, posting.party
        sums[key] = sum_of((sums.get(key, ZERO), posting.amount))
    return tuple(
        Posting(account, amount, currency, party)
        for (account, currency, party), amount in sorted(sums.items())
        if amount != ZERO
    )


def difference(before: Iterable[Posting], after: Iterable[Posting]) -> tuple[Posting, ...]:
    """What is to be posted so that a document says what it says now."""
    opposite = [Posting(p.account, -p.amount, p.currency, p.party) for p in before]
    return _counted([*after, *opposite])


# Entries


def ledger_entry(change: Change, now: int, bases: Sequence[str] = ()) -> tuple[Resource, ...]:
    """The entry that a change of a document adds to the ledger, none when its postings stay as they are."""
    found = difference(postings(change.before, bases), postings(change.after, bases))
    if not found:
        return ()
    version = 1 if change.before is None else int(change.before["meta"]["versionId"]) + 1
    document = f"{change.type}/{change.id}"
    return (
        {
            "resourceType": "Basic",
            "id": _id(document, version),
            "meta": {"profile": [PROFILE]},
            "extension": [
                {
                    "url": DOCUMENT,
                    "valueReference": {"reference": f"{document}/_history/{version}"},
                },
                *(_as_fhir(posting) for posting in found),
            ],
            "code": {"coding": [{"system": SYSTEM, "code": "entry", "display": "Ledger entry"}]},
            "subject": {"reference": document},
            "created": format_instant(now)[:10],
        },
    )


def _id(document: str, version: int) -> str:
    digest = hashlib.sha256(f"{document}/{version}".encode()).hexdigest()
    return f"ledger-{digest[:40]}"


def _as_fhir(posting: Posting) -> Resource:
    parts: list[Resource] = [
        {"url": "account", "valueCode": posting.account},
        {"url": "amount", "valueMoney": money(posting.amount, posting.currency)},
    ]
    if posting.party:
        parts.append({"url": "party", "valueReference": {"reference": posting.party}})
    return {"url": POSTING, "extension": parts}


def is_entry(resource: Mapping[str, Any] | None) -> bool:
    """Whether it is an entry of the ledger."""
    codings = () if resource is None else resource.get("code", {}).get("coding", ())
    return any(c.get("system") == SYSTEM and c.get("code") == "entry" for c in codings)


def document_of(entry: Mapping[str, Any]) -> str:
    """The reference of the document that an entry is about, without its version."""
    return str(entry["subject"]["reference"])


def postings_of(entry: Mapping[str, Any]) -> tuple[Posting, ...]:
    """What an entry posts."""
    found = []
    for posted in entry.get("extension", ()):
        if posted.get("url") == POSTING:
            parts = {p["url"]: p for p in posted["extension"]}
            value = parts["amount"]["valueMoney"]
            party = parts.get("party", {}).get("valueReference", {}).get("reference", "")
            amount = amount_of(value, "Basic.extension:ledger-posting")
            found.append(Posting(parts["account"]["valueCode"], amount, value["currency"], party))
    return tuple(found)
