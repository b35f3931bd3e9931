"""A month of a hospital is billed, claimed, paid and closed through the operations, and its books are proved.

Ten charges for each account: four days of bed, tests, procedures, medicines. Three of ten patients are insured: their invoices are
shared, claimed and posted. Eight of ten pay, one of them a half; a few pay from a deposit, are paid back, or are credited. What everything must
come to is counted here in whole cents, without the code that is tested.
"""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any

from fhir_r4.jsonio import decode_object, encode
from fhir_server.context import Services
from fhir_server.operations.billing.books import verify
from tests.billing.insured import category, cost, coverage, plan, sole
from tests.rest.resources import bundle, put

Resource = dict[str, Any]
# sends a request to the server: method, path below the base, body; status and body of the answer
Ask = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]

CODES = "https://hospital.test/codes"
BED_DAY = {"coding": [{"system": "https://osler.health/fhir/CodeSystem/charge-event", "code": "bed-day"}]}
# cents by code, and whether a fifth is added as tax
PRICES = {
    "suture": (6833, True),
    "comfort": (5750, True),
    "count": (1235, False),
    "sugar": (899, False),
    "drug": (3333, False),
    "pill": (85, True),
    "bed-day": (25000, False),
}
NIGHTS, CHARGES = 4, 10
BATCH = 20
_EXACT = re.compile(rb'"value":-?\d+\.\d\d[,}]')
_MONEY = re.compile(rb'"value":[^,}]*[,}]"currency":')


def code(name: str) -> Resource:
    return BED_DAY if name == "bed-day" else {"coding": [{"system": CODES, "code": name}], "text": name}


def euros(cents: int) -> Resource:
    return {"value": Decimal(cents).scaleb(-2), "currency": "EUR"}


def house() -> list[Resource]:
    """The hospital, an insurer with a plan, and the price list."""
    costs = category("all", cost("copaypct", "20"))
    found: list[Resource] = [
        {"resourceType": "Organization", "id": "house", "name": "House"},
        {"resourceType": "Organization", "id": "payer", "name": "Payer"},
        plan("basic", costs),
    ]
    for name, (cents, taxed) in PRICES.items():
        tax = {"type": "tax", "factor": Decimal("0.20"), "code": {"text": "VAT"}}
        parts = [{"type": "base", "amount": euros(cents)}, *([tax] if taxed else [])]
        made = {"resourceType": "ChargeItemDefinition", "id": name, "url": f"https://hospital.test/{name}"}
        found.append(
            {**made, "status": "active", "code": code(name), "propertyGroup": [{"priceComponent": parts}]}
        )
    return found


def stay(n: int) -> list[Resource]:
    """A patient with an account, a stay and what was done in it."""
    patient, encounter = {"reference": f"Patient/p{n}"}, {"reference": f"Encounter/e{n}"}
    day = 1 + n % 24
    account = {"resourceType": "Account", "id": f"a{n}", "status": "active", "subject": [patient]}
    lay: Resource = {
        "resourceType": "Encounter",
        "id": f"e{n}",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": patient,
        "account": [{"reference": f"Account/a{n}"}],
        "period": {
            "start": f"2026-01-{day:02}T10:00:00Z",
            "end": f"2026-01-{day + NIGHTS:02}T09:00:00Z",
        },
    }
    when = f"2026-01-{day:02}T12:00:00Z"
    found: list[Resource] = [
        {"resourceType": "Patient", "id": f"p{n}"},
        {**account, "owner": {"reference": "Organization/house"}},
        lay,
    ]
    if is_insured(n):
        found.append(coverage(f"c{n}", "basic", beneficiary=patient))
    of = {"subject": patient, "encounter": encounter}
    for name in ("suture", "comfort"):
        done = {"status": "completed", "code": code(name), "performedDateTime": when}
        found.append({"resourceType": "Procedure", "id": f"{name}-{n}", **done, **of})
    for name in ("count", "sugar"):
        done = {"status": "final", "code": code(name), "effectiveDateTime": when}
        found.append({"resourceType": "Observation", "id": f"{name}-{n}", **done, **of})
    given = {"status": "completed", "subject": patient, "context": encounter}
    drug = {"medicationCodeableConcept": code("drug"), "effectiveDateTime": when}
    pills = {"medicationCodeableConcept": code("pill"), "whenHandedOver": when}
    found.append({"resourceType": "MedicationAdministration", "id": f"drug-{n}", **given, **drug})
    quantity = {"quantity": {"value": pills_of(n)}}
    return [*found, {"resourceType": "MedicationDispense", "id": f"pill-{n}", **given, **pills, **quantity}]


def is_insured(n: int) -> bool:
    return n % 10 < 3


def pills_of(n: int) -> int:
    return 1 + n % 30


def gross_of(n: int) -> int:
    """What the stay comes to, in cents: the tax is rounded half up on the sum of what is taxed."""
    counts = dict.fromkeys(PRICES, 1) | {"pill": pills_of(n), "bed-day": NIGHTS}
    net = {True: 0, False: 0}
    for name, (cents, taxed) in PRICES.items():
        net[taxed] += cents * counts[name]
    return net[True] + net[False] + (net[True] * 20 + 50) // 100


class Month:
    """The month of so many accounts, so many requests at once. `seconds` and `cpu` are told for each part of it."""

    def __init__(self, ask: Ask, accounts: int, at_once: int = 8) -> None:
        self._ask = ask
        self._turn = asyncio.Semaphore(at_once)
        self.accounts = range(accounts)
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.resident: dict[str, float] = {}
        self.invoices: dict[int, Resource] = {}
        self.claims: dict[int, Resource] = {}
        self.paid: dict[int, str] = {}
        self.numbers: list[int] = []
        self.payments = 0
        self.received = self.credited = 0

    async def prepare(self) -> None:
        """Put the house and its stays on the server."""
        await self._put(house())
        batches = [self.accounts[at : at + BATCH] for at in range(0, len(self.accounts), BATCH)]
        await asyncio.gather(*(self._put([r for n in b for r in stay(n)]) for b in batches))

    async def close(self) -> None:
        """Everything from what was done to what is owed at the end."""
        insured = [n for n in self.accounts if is_insured(n)]
        await self._each("capture", self.accounts, self._capture)
        await self._each("invoice", self.accounts, self._invoice)
        await self._each("split", insured, self._split)
        await self._each("issue", self.accounts, self._issue)
        await self._each("claim", insured, self._claim)
        await self._each("pay", [n for n in self.accounts if n % 10 not in (2, 9)], self._pay)
        await self._each("correct", [n for n in self.accounts if n % 100 in (5, 9)], self._correct)

    async def _each(self, name: str, numbers: Iterable[int], act: Callable[[int], Awaitable[None]]) -> None:
        began, worked = time.perf_counter(), time.process_time()

        async def one(n: int) -> None:
            async with self._turn:
                await act(n)

        await asyncio.gather(*(one(n) for n in numbers))
        self.measured(name, began, worked)

    def measured(self, name: str, began: float, worked: float) -> None:
        self.seconds[name] = time.perf_counter() - began
        self.cpu[name] = time.process_time() - worked
        self.resident[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    # What is done for each account

    async def _capture(self, n: int) -> None:
        found = await self._call(n, f"Account/a{n}/$capture-charges")
        assert found["total"] == CHARGES, found

    async def _invoice(self, n: int) -> None:
        (entry,) = (await self._call(n, f"Account/a{n}/$invoice"))["entry"]
        self.invoices[n] = entry["resource"]
        assert cents(entry["resource"]["totalGross"]) == gross_of(n)

    async def _split(self, n: int) -> None:
        given = {"name": "claim", "valueBoolean": True}
        found = await self._call(n, f"Invoice/{self.invoices[n]['id']}/$split", given)
        self.invoices[n], self.claims[n] = (e["resource"] for e in found["entry"])
        assert sum(shares(self.invoices[n])) == gross_of(n)

    async def _issue(self, n: int) -> None:
        issued = await self._call(n, f"Invoice/{self.invoices[n]['id']}/$issue")
        self.invoices[n] = issued
        self.numbers.append(number_of(issued))

    async def _claim(self, n: int) -> None:
        sent = encode(sole({**self.claims[n], "status": "active"}))
        response = await self._sent("POST", "Claim/$submit", sent)
        posted = await self._call(n, f"ClaimResponse/{response['id']}/$post")
        for entry in posted["entry"]:
            if entry["resource"]["resourceType"] == "PaymentReconciliation":
                self.received += cents(entry["resource"]["paymentAmount"])

    async def _pay(self, n: int) -> None:
        invoice = f"Invoice/{self.invoices[n]['id']}"
        owed = shares(self.invoices[n])[-1] if is_insured(n) else gross_of(n)
        amount = {"name": "amount", "valueMoney": euros(owed // 2 if n % 10 == 8 else owed)}
        method = {"name": "method", "valueCode": "cash" if n % 2 else "transfer"}
        if n % 100 == 4:
            await self._call(n, f"Account/a{n}/$deposit", amount, method)
            target = {"name": "invoice", "valueReference": {"reference": invoice}}
            await self._call(n, f"Account/a{n}/$allocate", target)
        else:
            paid = await self._call(n, f"{invoice}/$pay", amount, method)
            self.paid[n] = paid["entry"][0]["resource"]["id"]
        self.received += cents(amount["valueMoney"])
        self.payments += 1

    async def _correct(self, n: int) -> None:
        """A payment is taken back, or an invoice credited."""
        reason = {"name": "reason", "valueString": "A mistake"}
        invoice = f"Invoice/{self.invoices[n]['id']}"
        if n % 100 == 5:
            await self._call(n, f"PaymentReconciliation/{self.paid[n]}/$reverse", reason)
            self.received -= gross_of(n)
        else:
            kept = {"name": "charges", "valueCode": "billed"}
            await self._call(n, f"{invoice}/$credit", reason, kept)
            self.credited += gross_of(n)

    # Proofs

    async def proved(self, services: Services) -> None:
        """Raise AssertionError unless the books of the month are closed to the cent."""
        began, worked = time.perf_counter(), time.process_time()
        books = await verify(services)
        self.measured("verify", began, worked)
        assert books.problems == []
        assert sum(books.balances.values()) == 0
        owed = sum(gross_of(n) for n in self.accounts) - self.received - self.credited
        assert cents(books.balances["receivable", "EUR"]) == owed
        assert cents(books.balances["cash", "EUR"] + books.balances["bank", "EUR"]) == self.received
        report = await self._sent("GET", "Invoice/$verify-series", b"")
        assert report["parameter"][0] == {"name": "valid", "valueBoolean": True}, report
        assert sorted(self.numbers) == [*range(1, len(self.accounts) + 1)]
        await self._charges_billed_once(services)
        await _texts_are_exact(services)

    async def _charges_billed_once(self, services: Services) -> None:
        """Each charge stands on one line of one invoice, and says so."""
        lines: dict[str, list[str]] = {}
        charged: dict[str, int] = {}
        async for stored in services.store.changes():
            if stored.type == "Invoice" and b'"credit-note"' not in stored.body:
                found = decode_object(stored.body)["lineItem"]
                lines[stored.id] = [line["chargeItemReference"]["reference"] for line in found]
            elif stored.type == "ChargeItem":
                charged[f"ChargeItem/{stored.id}"] = int(b'"status":"billed"' in stored.body)
        assert len(charged) == len(self.accounts) * CHARGES
        assert Counter(reference for one in lines.values() for reference in one) == charged

    # Requests

    async def _put(self, resources: list[Resource]) -> None:
        async with self._turn:
            sent = encode(bundle("transaction", *(put(r) for r in resources)))
            status, answer = await self._ask("POST", "", sent)
        assert status == 200, answer

    async def _call(self, n: int, address: str, *given: Resource) -> Resource:
        request = {"name": "request-id", "valueUri": f"urn:month:{n}:{address}"}
        sent = {"resourceType": "Parameters", "parameter": [*given, request]}
        return await self._sent("POST", address, encode(sent))

    async def _sent(self, method: str, address: str, body: bytes) -> Resource:
        status, answer = await self._ask(method, f"/{address}", body)
        assert status == 200, (address, answer)
        return decode_object(answer)


def cents(value: Resource | Decimal) -> int:
    """An exact amount of Euros in cents."""
    amount = value["value"] if isinstance(value, dict) else value
    assert isinstance(amount, Decimal)
    whole = amount.scaleb(2)
    assert whole == int(whole)
    return int(whole)


def shares(invoice: Resource) -> list[int]:
    """What the payers and, last, the patient are to pay."""
    found = [e["extension"] for e in invoice["extension"] if e["url"].endswith("/invoice-share")]
    return [cents(p["valueMoney"]) for parts in found for p in parts if p["url"] == "amount"]


def number_of(invoice: Resource) -> int:
    (parts,) = [e["extension"] for e in invoice["extension"] if e["url"].endswith("/invoice-number")]
    (number,) = [p["valuePositiveInt"] for p in parts if p["url"] == "number"]
    return int(number)


async def _texts_are_exact(services: Services) -> None:
    """Every amount in what was written has its two digits, as no binary float writes them."""
    amounts = 0
    async for stored in services.store.changes():
        if stored.type in ("ChargeItem", "Invoice", "PaymentReconciliation", "Basic", "ClaimResponse"):
            found = _MONEY.findall(stored.body)
            wrong = [text for text in found if _EXACT.match(text) is None]
            assert wrong == [], (stored.type, stored.id, wrong)
            amounts += len(found)
    assert amounts > 0
