"""The manner of Invoice: the charges that it bills, its number when it is issued, what is credited of it.

https://hl7.org/fhir/R4/invoice.html. Invariants to keep: what was issued stays as it is; an invoice that is issued has the next
number of its series from the same commit; of each line no more is credited than it has; a charge is on one live invoice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from fhir_r4.errors import BusinessRule
from fhir_r4.references import local_id
from fhir_r4.temporal import MINUTE, format_instant, parse_interval
from fhir_server.context import Resource, Services
from fhir_server.resources.billing.approvals import CREDIT, approval_claims, require_approval
from fhir_server.resources.billing.charges import BILLED_BY
from fhir_server.resources.billing.crediting import credits_in
from fhir_server.resources.billing.discounting import require_discount_approved
from fhir_server.resources.billing.elsewhere import kept_as_record, written_elsewhere
from fhir_server.resources.billing.invoicing import (
    CREDITED,
    CREDITS,
    DIGEST,
    DUE,
    FINAL,
    ISSUED,
    KEPT,
    LIVE,
    NUMBER,
    Line,
    check_sums,
    credited_lines,
    credited_of,
    currency_in,
    extension,
    fully_credited,
    gross_in,
    is_credit_note,
    is_elsewhere,
    lines_in,
    open_of,
    require_currency,
    require_own,
    with_credited,
    with_extension,
    with_state,
    without_extensions,
)
from fhir_server.resources.billing.ledger import ledger_entry
from fhir_server.resources.billing.lifecycle import billed_by, check_invoice, digest_of, require_frozen
from fhir_server.resources.billing.money import ZERO, sum_of
from fhir_server.resources.billing.numbering import (
    NUMBER_SYSTEM,
    Counter,
    Series,
    counter_of,
    issuer_of,
    number_extension,
    number_identifier,
    number_in,
    wished_series,
)
from fhir_server.resources.billing.settings import (
    SETTINGS_ID,
    BillingSettings,
    day_at,
    settings_at,
)
from fhir_server.resources.billing.sharing import check_shares
from fhir_server.resources.billing.transfer import share_moved
from fhir_server.resources.change import NOTHING, Change, Consequence, Known, Manners
from fhir_server.store.records import Claim

OSLER = "https://osler.health/fhir/StructureDefinition/"
# on a credit note: what becomes of charges that are credited in full
RELEASED_AS = OSLER + "credited-charges"
INSTEAD = "Correct it by a credit note (Invoice/[id]/$credit) and a new invoice."
# how far the clocks of clients may be ahead
AHEAD = 5 * MINUTE


async def judge_invoice(change: Change, known: Known, services: Services) -> Consequence:
    """Judge a change of an Invoice. Raises BusinessRule for a state, a sum or a charge that it may not have."""
    return await Judgement(change, known, services).made()


class Judgement:
    """One change of an Invoice, and what follows from it."""

    def __init__(self, change: Change, known: Known, services: Services) -> None:
        self.change = change
        self.known = known
        self.services = services
        self.bases = services.settings.local_bases
        self.zone = services.settings.default_timezone
        self.own = f"Invoice/{change.id}"
        self.writes: dict[tuple[str, str], Resource] = {}

    async def made(self) -> Consequence:
        before, after = self.change.before, self.change.after
        if after is None:
            return await self._deleted(before)
        if not self.change.derived:
            if await written_elsewhere(before, after, self.known, self.bases, self.zone):
                return Consequence(warnings=(kept_as_record(after),))
            check_invoice(before, after)
            if before is not None and before.get("status") in FINAL:
                after = self._as_it_was(before, after)
            else:
                after = _without_own(after)
        if before is None or before.get("status") not in FINAL:
            currency_in(after)
            # one that was numbered in this commit comes by again when something settles it
            if after.get("status") == ISSUED and number_in(after) is None:
                after = await self._issued(after)
        await self._bill(before, after)
        claims = await self._claims(after)
        moved, settled = await share_moved(after, self.known, self.bases)
        final = replace(self.change, after=after)
        entries = ledger_entry(final, self.known.now, self.bases)
        return Consequence(
            (*claims, *moved),
            None if after is self.change.after else after,
            (*self.writes.values(), *settled, *entries),
        )

    async def _deleted(self, before: Resource | None) -> Consequence:
        if before is not None and before.get("status") in FINAL and not is_elsewhere(before):
            raise BusinessRule(
                f"{self.own} is {before.get('status')} and cannot be deleted. {INSTEAD}", "Invoice.status"
            )
        await self._bill(before, None)
        return Consequence(writes=tuple(self.writes.values())) if self.writes else NOTHING

    def _as_it_was(self, before: Resource, after: Resource) -> Resource:
        """What was issued, whatever way it is written again."""
        require_frozen(before, after, INSTEAD, *KEPT)
        for url in KEPT:
            told = [e for e in after.get("extension", ()) if e.get("url") == url]
            if told and told != [e for e in before.get("extension", ()) if e.get("url") == url]:
                raise BusinessRule(
                    f"{self.own}: what is paid and credited is kept by the server. {INSTEAD}",
                    "Invoice.extension",
                )
        return {**before, "meta": after["meta"]} if "meta" in after else before

    # Issuing

    async def _issued(self, invoice: Resource) -> Resource:
        """The invoice with its number, in the state in which it goes out."""
        check_sums(invoice)
        check_shares(invoice)
        at = self._date(invoice)
        settings = settings_at(await self.known.current("Basic", SETTINGS_ID), day_at(at, self.zone))
        credit = is_credit_note(invoice)
        name = wished_series(invoice) or (settings.credit_series if credit else settings.invoice_series)
        series = Series(issuer_of(invoice), name, settings.year_of(day_at(at, self.zone)))
        if credit:
            await self._credit(invoice)
        elif gross_in(invoice) < 0:
            raise BusinessRule(
                "What an invoice comes to is not below nothing; a credit note takes back.",
                "Invoice.totalGross",
            )
        else:
            await require_discount_approved(invoice, self.known, self.services)
        return with_state(await self._numbered(invoice, series, at, settings))

    def _date(self, invoice: Resource) -> int:
        if "date" not in invoice:
            return self.known.now
        at = parse_interval(str(invoice["date"]), self.zone)[0]
        if at > self.known.now + AHEAD:
            raise BusinessRule(f"Invoice.date is {invoice['date']}, which is yet to come.", "Invoice.date")
        return at

    async def _numbered(
        self, invoice: Resource, series: Series, at: int, settings: BillingSettings
    ) -> Resource:
        counter = await counter_of(series, self.known)
        last = at if counter.date is None else parse_interval(counter.date, self.zone)[0]
        if "date" not in invoice:
            # another process may have issued the last one after this one's time was taken
            at = max(at, last)
            invoice = {**invoice, "date": format_instant(at)}
        # a day without a time is that day, whatever was issued on it before
        if parse_interval(str(invoice["date"]), self.zone)[1] <= last:
            raise BusinessRule(
                f"The last invoice of the series {series.name} {series.year} is of {counter.date}; the dates of a series do"
                f" not run backwards, and this is of {invoice['date']}.",
                "Invoice.date",
            )
        number = counter.last + 1
        kept = Counter(series, number, format_instant(max(at, last))).as_fhir()
        self.writes["Basic", kept["id"]] = kept
        identifiers = [i for i in invoice.get("identifier", ()) if i.get("system") != NUMBER_SYSTEM]
        made = {
            **invoice,
            "identifier": [*identifiers, number_identifier(series, number, invoice["issuer"])],
        }
        added = [number_extension(series, number)]
        if not is_credit_note(invoice):
            due = day_at(at, self.zone) + timedelta(days=settings.payment_days)
            added.append({"url": DUE, "valueDate": due.isoformat()})
        made = with_extension(without_extensions(made, NUMBER, DUE, DIGEST), *added)
        return with_extension(made, {"url": DIGEST, "valueString": digest_of(made)})

    async def _credit(self, note: Resource) -> None:
        """What is credited is taken down on the invoice, and its charges are free again when nothing is left of them."""
        original = await self._original(note)
        currency = require_currency(original)
        if currency_in(note) != currency:
            raise BusinessRule(
                f"The invoice is in {currency}, and so is its credit note.", "Invoice.totalGross"
            )
        if issuer_of(note) != issuer_of(original):
            raise BusinessRule("A credit note is issued by who issued the invoice.", "Invoice.issuer")
        credits = credits_in(note)
        lines = {line.sequence: line for line in lines_in(original)}
        done = credited_lines(original)
        for line, amount, _ in credits:
            if line not in lines:
                raise BusinessRule(f"The invoice has no line {line}.", "Invoice.lineItem")
            gross = lines[line].gross
            total = sum_of((done.get(line, (ZERO, ZERO))[0], amount))
            if not (0 <= total <= gross or gross <= total <= 0):
                raise BusinessRule(
                    f"Line {line} comes to {gross} {currency}; {total} would be credited.", "Invoice.lineItem"
                )
        credited = sum_of(amount for _, amount, _ in credits)
        if credited > open_of(original):
            raise BusinessRule(
                f"Of the invoice {open_of(original)} {currency} are open; {credited} would be credited. Take back what was paid"
                " first: PaymentReconciliation/[id]/$reverse.",
                "Invoice.totalGross",
            )
        await require_approval(
            CREDIT,
            note,
            original["id"],
            credited,
            credited_of(original),
            currency,
            self.known,
            self.services,
        )
        after = with_credited(original, credits)
        self.writes["Invoice", original["id"]] = after
        told = extension(note, RELEASED_AS)
        released = "billable" if told is None else str(told.get("valueCode"))
        for line, _, _ in credits:
            if fully_credited(after, lines[line]) and released != "billed":
                await self._release(lines[line], f"Invoice/{original['id']}", released)

    async def _original(self, note: Resource) -> Resource:
        told = extension(note, CREDITS)
        id = None if told is None else local_id(told.get("valueReference"), "Invoice", self.bases)
        original = None if id is None else await self.known.current("Invoice", id)
        if original is None:
            raise BusinessRule(
                "A credit note names the Invoice that it credits (extension credits).", "Invoice.extension"
            )
        if original.get("status") not in FINAL or is_credit_note(original):
            raise BusinessRule(
                f"Invoice/{id} is {original.get('status')}; only an invoice that was issued is credited.",
                "Invoice.extension",
            )
        return require_own(original)

    # Charges

    async def _bill(self, before: Resource | None, after: Resource | None) -> None:
        """The charges that the invoice has come to list are billed, those that it lists no more are billable."""
        if self.change.derived:
            return
        was, now = self._listed(before), self._listed(after)
        left, listed = sorted(was.keys() - now.keys()), sorted(now)
        if before is not None and before.get("status") in FINAL:
            listed = sorted(now.keys() - was.keys())
        await self.known.ahead("ChargeItem", (*left, *listed))
        for id in left:
            await self._release(was[id], self.own, "billable")
        for id in listed:
            charge = await self.known.current("ChargeItem", id)
            if charge is None:
                raise BusinessRule(f"There is no ChargeItem/{id} to bill.", "Invoice.lineItem")
            if charge.get("status") == "billed" and billed_by(charge) == self.own:
                continue
            if charge.get("status") != "billable":
                by = f" by {billed_by(charge)}" if charge.get("status") == "billed" else ""
                raise BusinessRule(
                    f"ChargeItem/{id} is {charge.get('status')}{by}; only what is billable is billed.",
                    "Invoice.lineItem",
                )
            own = {"url": BILLED_BY, "valueReference": {"reference": self.own}}
            self.writes["ChargeItem", id] = {**with_extension(charge, own), "status": "billed"}

    def _listed(self, invoice: Resource | None) -> dict[str, Line]:
        """The charges that a live invoice has on its lines, credit notes aside."""
        if invoice is None or invoice.get("status") not in LIVE or is_credit_note(invoice):
            return {}
        found: dict[str, Line] = {}
        for line in lines_in(invoice):
            id = local_id(line.item.get("chargeItemReference"), "ChargeItem", self.bases)
            if id is None or fully_credited(invoice, line):
                continue
            if id in found:
                raise BusinessRule(f"ChargeItem/{id} stands on two lines.", "Invoice.lineItem")
            found[id] = line
        return found

    async def _release(self, line: Line, invoice: str, status: str) -> None:
        id = local_id(line.item.get("chargeItemReference"), "ChargeItem", self.bases)
        charge = None if id is None else await self.known.current("ChargeItem", id)
        if charge is not None and charge.get("status") == "billed" and billed_by(charge) == invoice:
            self.writes["ChargeItem", charge["id"]] = {
                **without_extensions(charge, BILLED_BY),
                "status": status,
            }

    async def _claims(self, invoice: Resource) -> tuple[Claim, ...]:
        claims = [Claim(f"billed:ChargeItem/{id}") for id in sorted(self._listed(invoice))]
        if invoice.get("status") not in FINAL:
            return tuple(claims)
        numbered = number_in(invoice)
        if numbered is not None:
            claims.append(numbered[0].claim(numbered[1]))
        claims += approval_claims(invoice, self.services)
        if is_credit_note(invoice):
            original = await self._original(invoice)
            units = -gross_in(invoice)
            if units > 0:
                claims.append(Claim(f"open:Invoice/{original['id']}", units, gross_in(original)))
        return tuple(claims)


def _without_own(invoice: Resource) -> Resource:
    """A draft has neither a number nor anything paid or credited; it may ask for a series."""
    if any(i.get("system") == NUMBER_SYSTEM for i in invoice.get("identifier", ())) or number_in_any(invoice):
        raise BusinessRule(
            "The number of an invoice is given when it is issued: Invoice/[id]/$issue.", "Invoice.identifier"
        )
    if any(extension(invoice, url) is not None for url in (*KEPT, CREDITED)):
        raise BusinessRule("What is paid and credited is kept by the server.", "Invoice.extension")
    return invoice


def number_in_any(invoice: Resource) -> bool:
    """Whether the extension `invoice-number` says more than a series."""
    found = extension(invoice, NUMBER)
    parts: Sequence[Resource] = () if found is None else found.get("extension", ())
    return any(p.get("url") != "series" for p in parts)


# after ChargeItem: charges that come in the same commit are known by then
INVOICE = Manners(judge_invoice, first=1)
