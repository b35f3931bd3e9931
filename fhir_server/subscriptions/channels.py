"""The ways on which messages leave: e-mail by SMTP, a webhook, the log.

A channel may be told the same message twice, when the server ends between sending and noting it; the id of a message stays
the same, so that the other side can tell. An invariant to keep: no text of a message and no address is logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from http.client import HTTPException
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import structlog

from fhir_server.settings import Settings

log = structlog.get_logger("osler.messages")

SECONDS = 20
SIGNATURE = "webhook-signature"


@dataclass(frozen=True, slots=True)
class Message:
    """`address` is where the channel sends it; `recipient` the reference of who it is for."""

    id: str
    recipient: str
    address: str
    subject: str
    text: str


class Channel(Protocol):
    """`medium` is a code of v3-ParticipationMode."""

    medium: str

    def address_of(self, recipient: Mapping[str, Any]) -> str | None:
        """Where the channel reaches somebody; None when it does not."""

    async def send(self, message: Message) -> None:
        """Raises OSError when the message was not taken."""


class LogChannel:
    """Notes that a message would have been sent: for hospitals without a way to send."""

    medium = "WRITTEN"

    def address_of(self, recipient: Mapping[str, Any]) -> str | None:
        return "log"

    async def send(self, message: Message) -> None:
        log.info("message", id=message.id, recipient=message.recipient)


class WebhookChannel:
    """POSTs a message as JSON to one address, signed where there is a secret."""

    medium = "ELECTRONIC"

    def __init__(self, url: str, secret: str = "") -> None:
        self._url = url
        self._secret = secret.encode()

    def address_of(self, recipient: Mapping[str, Any]) -> str | None:
        return self._url

    async def send(self, message: Message) -> None:
        body = {
            "id": message.id,
            "recipient": message.recipient,
            "subject": message.subject,
            "text": message.text,
        }
        sent = json.dumps(body).encode()
        headers = {"content-type": "application/json", "idempotency-key": message.id}
        if self._secret:
            at = str(int(time.time()))
            headers[SIGNATURE] = f"t={at},v1={signed(self._secret, at, sent)}"
        await asyncio.to_thread(_post, urllib.request.Request(self._url, sent, headers))


def signed(secret: bytes, at: str, body: bytes) -> str:
    """The signature of a body at a time (seconds since 1970 UTC, as text)."""
    return hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _post(request: urllib.request.Request) -> None:
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            answer.read(1024)
    except HTTPException as error:
        raise OSError(f"The webhook has answered what is no HTTP: {error!r}") from error


class MailChannel:
    """Sends by SMTP; `server` is `smtp://user:password@host:port`, or `smtps://` for TLS from the beginning."""

    medium = "EMAILWRIT"

    def __init__(self, server: str, sender: str) -> None:
        self._server = urlsplit(server)
        self._sender = sender

    def address_of(self, recipient: Mapping[str, Any]) -> str | None:
        found = (t for t in recipient.get("telecom", ()) if t.get("system") == "email" and t.get("value"))
        return next((str(t["value"]) for t in found if t.get("use") != "old"), None)

    async def send(self, message: Message) -> None:
        import aiosmtplib

        server = self._server
        try:
            mail = self._mail(message)
            await aiosmtplib.send(
                mail,
                hostname=server.hostname,
                port=server.port,
                username=None if server.username is None else unquote(server.username),
                password=None if server.password is None else unquote(server.password),
                use_tls=server.scheme == "smtps",
                timeout=SECONDS,
            )
        except (aiosmtplib.SMTPException, ValueError) as error:
            # an address that is none is the mail of one patient, and keeps nobody else's
            raise OSError(str(error)) from error

    def _mail(self, message: Message) -> EmailMessage:
        """The mail (RFC 5322). Raises ValueError for an address that cannot be written."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._sender, message.address, message.subject
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{message.id}@{self._sender.rpartition('@')[2]}>"
        # nobody's absence is to answer it (RFC 3834)
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels of a server, the preferred one first; the log comes last and reaches everybody."""
    found: list[Channel] = []
    if settings.smtp:
        found.append(MailChannel(settings.smtp, settings.mail_from))
    if settings.webhook:
        found.append(WebhookChannel(settings.webhook, settings.webhook_secret))
    return (*found, LogChannel())
