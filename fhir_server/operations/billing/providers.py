"""Providers of online payments: what is asked of one, and the shape that hosted checkouts have in common.

A provider takes an order and gives the address of a page where it is paid; later it tells, by a signed call of our webhook, what became of
it. An invariant to keep: nothing is believed that is not signed, and an order has one checkout however often it is begun.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import urlsplit

from fhir_r4.errors import BusinessRule, Forbidden, InvalidRequest, MalformedJson, Unavailable
from fhir_r4.jsonio import decode_object, encode
from fhir_r4.quantities import parse_decimal
from fhir_r4.temporal import MINUTE, SECOND
from fhir_server.resources.billing.money import amount_of
from fhir_server.settings import Settings

SECONDS = 20.0
SIGNATURE = "checkout-signature"
# how old a signed call may be, and how far the provider's clock ahead
TOLERANCE = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid; `id` is that of the payment here, the same however often the order is given."""

    id: str
    amount: Decimal
    currency: str
    description: str
    back: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """The page on which an order is paid."""

    id: str
    url: str


@dataclass(frozen=True, slots=True)
class Event:
    """What a provider tells: `kind` is paid or expired, `order` the id of the payment here."""

    kind: str
    order: str
    checkout: str
    amount: Decimal
    currency: str


class Provider(Protocol):
    """`name` is part of the webhook's address."""

    name: str

    async def begin(self, order: Order) -> Checkout:
        """The checkout of an order. Raises Unavailable when the provider does not answer, BusinessRule when it refuses."""

    def event(self, headers: Mapping[str, str], body: bytes, now: int) -> Event | None:
        """What a call of the webhook tells at `now` (microseconds); None for what is of no concern.

        Raises Forbidden for a call that is not signed by the provider, InvalidRequest for one that makes no sense.
        """


class HostedCheckout:
    """A provider with a page of its own: `POST {url}/checkouts`, and a webhook signed with HMAC-SHA256 over time and body."""

    name = "checkout"

    def __init__(self, url: str, key: str, secret: str) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._secret = secret.encode()

    async def begin(self, order: Order) -> Checkout:
        body = {
            "reference": order.id,
            "amount": str(order.amount),
            "currency": order.currency,
            "description": order.description,
            "return_url": order.back,
        }
        # heavy, and most servers have no provider
        import httpx

        headers = {
            "authorization": f"Bearer {self._key}",
            "idempotency-key": order.id,
            "content-type": "application/json",
        }
        try:
            async with httpx.AsyncClient(timeout=SECONDS, follow_redirects=False) as client:
                answer = await client.post(f"{self._url}/checkouts", content=encode(body), headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The provider of payments does not answer ({type(error).__name__})."
            ) from error
        if answer.status_code >= 500 or answer.status_code in (401, 403, 429):
            raise Unavailable(f"The provider of payments answers {answer.status_code}.")
        if answer.status_code >= 400:
            raise BusinessRule("The provider of payments refuses the order.", "amount")
        try:
            found = decode_object(answer.content)
            checkout = Checkout(str(found["id"]), str(found["url"]))
        except (MalformedJson, KeyError) as error:
            raise Unavailable("The provider of payments does not answer with a checkout.") from error
        if urlsplit(checkout.url).scheme not in ("https", "http") or len(checkout.url) > 2000:
            raise Unavailable("The provider of payments does not answer with the address of a page.")
        return checkout

    def event(self, headers: Mapping[str, str], body: bytes, now: int) -> Event | None:
        self._require_signed(headers.get(SIGNATURE, ""), body, now)
        try:
            told = decode_object(body)
            kind = {"checkout.paid": "paid", "checkout.expired": "expired"}.get(told["type"])
            if kind is None:
                return None
            data: dict[str, Any] = told["data"]
            currency = str(data["currency"])
            money = {"value": parse_decimal(str(data["amount"])), "currency": currency}
            return Event(kind, str(data["reference"]), str(data["id"]), amount_of(money, "amount"), currency)
        except (MalformedJson, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest("The call of the webhook tells of no checkout.") from error

    def _require_signed(self, signature: str, body: bytes, now: int) -> None:
        parts = dict(part.strip().partition("=")[::2] for part in signature.split(","))
        time, given = parts.get("t", ""), parts.get("v1", "")
        wanted = signed(self._secret, time, body)
        if not self._secret or not hmac.compare_digest(wanted.encode(), given.encode()):
            raise Forbidden("The call of the webhook is not signed by the provider.")
        if (
            not time.isascii()
            or not time.isdigit()
            or len(time) > 12
            or abs(int(time) * SECOND - now) > TOLERANCE
        ):
            raise Forbidden("The call of the webhook was signed at another time.")


def signed(secret: bytes, time: str, body: bytes) -> str:
    """The signature of a body at a time (seconds since 1970 UTC, as text)."""
    return hmac.new(secret, time.encode() + b"." + body, hashlib.sha256).hexdigest()


def providers_of(settings: Settings) -> dict[str, Provider]:
    """The providers of a server by name."""
    if not settings.checkout_url or not settings.checkout_secret:
        return {}
    hosted = HostedCheckout(settings.checkout_url, settings.checkout_key, settings.checkout_secret)
    return {hosted.name: hosted}
