"""The ways on which messages leave: e-mail by SMTP, a webhook, the log.

A channel may be told the same message twice, when the server ends between sending and noting it; the id of a message stays
the same, so that the other side can tell. An invariant to keep: no text of a message and no address is logged.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import structlog

from fhir_server.settings import Settings

log = structlog.get_logger("osler.messages")

SECONDS = 20


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
    """POSTs a message as JSON to one address."""

    medium = "ELECTRONIC"

    def __init__(self, url: str) -> None:
        self._url = url

    def address_of(self, recipient: Mapping[str, Any]) -> str | None:
        return self._url

    async def send(self, message: Message) -> None:
        body = {
            "id": message.id,
            "recipient": message.recipient,
            "subject": message.subject,
            "text": message.text,
        }
        request = urllib.request.Request(
            self._url,
            json.dumps(body).encode(),
            {"content-type": "application/json", "idempotency-key": message.id},
        )
        await asyncio.to_thread(_post, request)


def _post(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        answer.read(1024)


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

        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._sender, message.address, message.subject
        mail["Message-ID"] = f"<{message.id}@{self._sender.rpartition('@')[2]}>"
        mail.set_content(message.text)
        server = self._server
        try:
            await aiosmtplib.send(
                mail,
                hostname=server.hostname,
                port=server.port,
                username=None if server.username is None else unquote(server.username),
                password=None if server.password is None else unquote(server.password),
                use_tls=server.scheme == "smtps",
                timeout=SECONDS,
            )
        except aiosmtplib.SMTPException as error:
            raise OSError(str(error)) from error


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels of a server, the preferred one first; the log comes last and reaches everybody."""
    found: list[Channel] = []
    if settings.smtp:
        found.append(MailChannel(settings.smtp, settings.mail_from))
    if settings.webhook:
        found.append(WebhookChannel(settings.webhook))
    return (*found, LogChannel())
