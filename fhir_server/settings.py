"""Settings: one table, read from `OSLER_*` variables and the options of `osler serve`; documented in docs/settings.md."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting of the server. A variable `OSLER_PORT` sets `port`, and so on."""

    model_config = SettingsConfigDict(env_prefix="OSLER_", extra="forbid", frozen=True)

    host: str = Field(
        "127.0.0.1", description="Address to listen on; beyond loopback only with access control on."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    store: str = Field(
        "sqlite:///osler.db",
        repr=False,
        description="`sqlite:///FILE`, `mongodb://HOSTS/DATABASE` or `memory:`.",
    )
    workers: int = Field(1, ge=1, le=64, description="Number of server processes on one store.")
    auth: Literal["off"] = Field(
        "off", description="Access control; `off` is the only mode until it is built."
    )
    base_url: str = Field("", description="The FHIR base as clients see it; empty: taken from each request.")
    max_body: int = Field(
        50 * 2**20, ge=1024, description="Largest request body, in bytes, after decompression."
    )
    max_page: int = Field(1000, ge=1, description="Largest `_count` of a search or history page.")
    default_page: int = Field(50, ge=1, description="`_count` when the client gives none.")
    max_included: int = Field(1000, ge=1, description="Most included resources on a page; a cut is told.")
    integrity: Literal["off", "warn", "enforce"] = Field(
        "off", description="Whether references to resources that are not here are accepted, told or refused."
    )
    conditional_delete: Literal["single", "multiple"] = Field(
        "multiple", description="Whether a conditional delete may delete more than one resource."
    )
    unique_identifiers: tuple[str, ...] = Field(
        (), description="Identifier systems whose values one resource of a type may hold (record numbers)."
    )
    default_timezone: str = Field(
        "UTC", description="The zone of dates and times that are written without one, in search and indexing."
    )
    patient_overlap: Literal["off", "warn", "refuse"] = Field(
        "off", description="Whether a patient may have two appointments at the same time."
    )
    most_holds: int = Field(20, ge=1, description="How many times one user may hold at once.")
    signing_key: str = Field(
        "", description="Secret by which the server knows what it has signed itself: ids of proposed times."
    )
    booking_link: str = Field(
        "", description="Address of the page on which a published Slot is booked; `{slot}` stands for its id."
    )
    background_seconds: float = Field(
        2.0,
        ge=0,
        description="Seconds between looks at what follows from changes and what is due; 0 turns it off.",
    )
    charge_events: bool = Field(
        False,
        description="Whether what is done is charged as it happens; else `Account/$capture-charges` charges it.",
    )
    print_font: str = Field(
        "", description="File of the TrueType font of printed invoices; empty: the built-in one."
    )
    reminder_time: str = Field(
        "",
        description="Time of day at which patients are reminded, on the day before, by the place's clock; empty: never.",
    )
    smtp: str = Field(
        "",
        description="Mail server for messages to patients: `smtp://user:password@host:port` or `smtps://`.",
    )
    mail_from: str = Field("osler@localhost", description="The sender of mails.")
    webhook: str = Field("", description="Address that messages to patients are posted to as JSON.")
    webhook_secret: str = Field(
        "", repr=False, description="Secret with which those posts are signed; unsigned without it."
    )
    hl7: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which HL7 v2 messages are taken from anybody; None: no port.",
    )
    hl7_config: str = Field(
        "", description="YAML file with the HL7 v2 connections and destinations; empty: none."
    )
    hl7_journal: str = Field(
        "", description="File of a journal of its own for HL7 v2 messages; empty: they are kept in the store."
    )
    payer_addresses: tuple[str, ...] = Field(
        (),
        description="FHIR bases of payers that claims may be forwarded to; their Endpoints lie under them.",
    )
    checkout_url: str = Field(
        "", description="Address of the provider of hosted checkouts for online payments; empty: none."
    )
    checkout_key: str = Field("", repr=False, description="Key by which the provider knows this hospital.")
    checkout_secret: str = Field(
        "", repr=False, description="Secret with which the provider signs what it tells the webhook."
    )
    checkout_return: str = Field(
        "", description="Page to which a payer comes back after a checkout; `{invoice}` stands for the id."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_format: Literal["json", "text"] = Field("text", description="Form of the log lines.")

    @property
    def local_bases(self) -> tuple[str, ...]:
        """The addresses under which references mean this server's own resources."""
        return (self.base_url,) if self.base_url else ()
