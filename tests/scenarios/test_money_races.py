"""Many at the till at once, over one server process, two and four: paid once, billed once, numbered without a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx

from fhir_r4.jsonio import decode_object, encode
from tests.billing.cash import invoice, parameters
from tests.billing.office import base, charge, definition
from tests.rest.resources import bundle, put
from tests.scenarios.closing import cents, number_of
from tests.scenarios.test_races import at_once, fresh, statuses

Resource = dict[str, Any]
D = Decimal


class House:
    """An issuer, a patient with an account, and a price of its own for each test."""

    def __init__(self, crowd: httpx.AsyncClient) -> None:
        self.crowd = crowd
        self.mark = fresh()[:12]

    def invoice(self, number: int, gross: str = "100.00", status: str = "issued") -> Resource:
        more = {"issuer": {"reference": f"Organization/{self.mark}"}, **self.of}
        made = invoice(f"{self.mark}-{number}", gross, status, account=self.account, **more)
        return {k: v for k, v in made.items() if k != "date"}

    @property
    def of(self) -> Resource:
        return {"subject": {"reference": f"Patient/{self.mark}"}}

    @property
    def account(self) -> Resource:
        return {"reference": f"Account/{self.mark}"}

    async def build(self, *more: Resource) -> None:
        account = {"resourceType": "Account", "id": self.mark, "status": "active"}
        await self.write(
            {"resourceType": "Organization", "id": self.mark, "name": "House"},
            {"resourceType": "Patient", "id": self.mark},
            {**account, "subject": [self.of["subject"]], "owner": {"reference": f"Organization/{self.mark}"}},
            *more,
        )

    async def write(self, *resources: Resource) -> None:
        answer = await self.together(*resources)
        assert answer.status_code == 200, answer.text

    async def together(self, *resources: Resource) -> httpx.Response:
        return await self.crowd.post("", content=encode(bundle("transaction", *(put(r) for r in resources))))

    async def call(self, address: str, **values: Any) -> httpx.Response:
        values.setdefault("request_id", f"urn:{fresh()}")
        return await self.crowd.post(address, content=encode(parameters(**values)))

    async def read(self, number: int) -> Resource:
        return decode_object((await self.crowd.get(f"Invoice/{self.mark}-{number}")).content)

    async def count(self, query: str) -> int:
        return int((await self.crowd.get(f"{query}&_summary=count")).json()["total"])


async def until_done(call: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The answer, asked for again while it is that others were faster all the time: on a slow machine that is so after a while."""
    while (answer := await call()).status_code == 409 and "Try again" in answer.text:
        pass
    return answer


async def test_of_two_full_payments_one_is_made(crowd: httpx.AsyncClient) -> None:
    house = House(crowd)
    await house.build(house.invoice(1))
    address = f"Invoice/{house.mark}-1/$pay"
    answers = await at_once(house.call(address, amount="100.00") for _ in range(2))
    assert statuses(answers) == {200: 1, 422: 1}
    assert (await house.read(1))["status"] == "balanced"


async def test_of_40_issues_10_are_rolled_back_and_30_are_numbered_without_a_gap(
    crowd: httpx.AsyncClient,
) -> None:
    house = House(crowd)
    service = {"service": [{"reference": f"Procedure/{house.mark}"}], **house.of, "account": [house.account]}
    await house.build(
        definition(house.mark, base("1.00")),
        charge(f"{house.mark}-taken", house.mark, **service),
        *(house.invoice(n, status="draft") for n in range(40)),
    )

    async def issue(n: int) -> httpx.Response:
        """Every fourth with a charge of what is charged already: that commit is refused after the number was taken."""
        if n % 4:
            return await until_done(lambda: house.call(f"Invoice/{house.mark}-{n}/$issue"))
        return await house.together(house.invoice(n), charge(f"{house.mark}-double", house.mark, **service))

    answers = await at_once(issue(n) for n in range(40))
    assert statuses(answers) == {200: 30, 409: 10}
    found = [await house.read(n) for n in range(40)]
    assert [i["status"] for i in found].count("draft") == 10
    assert sorted(number_of(i) for i in found if i["status"] == "issued") == [*range(1, 31)]
    report = decode_object((await crowd.get("Invoice/$verify-series")).content)
    assert report["parameter"][0]["valueBoolean"] is True, report


async def test_the_same_charges_are_invoiced_once(crowd: httpx.AsyncClient) -> None:
    house = House(crowd)
    more = {**house.of, "account": [house.account]}
    await house.build(
        definition(house.mark, base("12.50")),
        *(charge(f"{house.mark}-{n}", house.mark, **more) for n in range(5)),
    )
    answers = await at_once(house.call(f"Account/{house.mark}/$invoice") for _ in range(6))
    assert statuses(answers) == {200: 1, 422: 5}
    assert await house.count(f"Invoice?account={house.account['reference']}") == 1
    assert await house.count(f"ChargeItem?account={house.account['reference']}") == 5


async def test_of_a_full_payment_and_a_full_credit_one_is_made(crowd: httpx.AsyncClient) -> None:
    house = House(crowd)
    await house.build(house.invoice(1))
    address = f"Invoice/{house.mark}-1"
    pay, credit = await at_once(
        [house.call(f"{address}/$pay", amount="100.00"), house.call(f"{address}/$credit", reason="mistake")]
    )
    assert sorted((pay.status_code, credit.status_code)) == [200, 422], (pay.text, credit.text)
    assert (await house.read(1))["status"] == ("balanced" if pay.status_code == 200 else "cancelled")


async def test_the_same_request_at_once_is_one_payment_with_one_answer(crowd: httpx.AsyncClient) -> None:
    house = House(crowd)
    await house.build(house.invoice(1))
    address, same = f"Invoice/{house.mark}-1/$pay", f"urn:{fresh()}"
    answers = await at_once(house.call(address, amount="10.00", request_id=same) for _ in range(8))
    assert statuses(answers) == {200: 8}
    assert len({answer.content for answer in answers}) == 1
    settled = [e for e in (await house.read(1))["extension"] if e["url"].endswith("/settled")]
    (amount,) = [p["valueMoney"] for e in settled for p in e["extension"] if p["url"] == "amount"]
    assert cents(amount) == 1000
