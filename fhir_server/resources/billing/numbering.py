"""Numbers of invoices: one series for each issuer, name and fiscal year, from 1 without a gap.

Pure but for the counter that it looks at. The last number is kept in a Basic that is written in the commit which issues the invoice, and each number
is claimed by its invoice: no gap, because both are committed or neither; no duplicate, because of the claim.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import NUMBER, extension
from fhir_server.resources.change import Known
from fhir_server.store.records import Claim

OSLER = "https://osler.health/fhir/StructureDefinition/"
COUNTER = OSLER + "invoice-series"
COUNTER_PREFIX = "invoice-series-"
COUNTER_CODE = {
    "coding": [{"system": "https://osler.health/fhir/CodeSystem/billing", "code": "invoice-series"}]
}
NUMBER_SYSTEM = "https://osler.health/fhir/sid/invoice-number"
_PLAIN = re.compile(r"[A-Za-z0-9\-.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Series:
    """The invoices of an issuer that are numbered together."""

    issuer: str
    name: str
    year: int

    @property
    def id(self) -> str:
        """The id of the counter."""
        plain = f"{COUNTER_PREFIX}{self.issuer.replace('/', '-')}-{self.name}-{self.year}"
        if len(plain) <= 64 and _PLAIN.fullmatch(plain):
            return plain
        return (
            COUNTER_PREFIX
            + hashlib.sha256(f"{self.issuer}|{self.name}|{self.year}".encode()).hexdigest()[:40]
        )

    def text(self, number: int) -> str:
        """The number as it is printed."""
        return f"{self.name}-{self.year}-{number:06}"

    def claim(self, number: int) -> Claim:
        return Claim(f"number:{self.issuer}|{self.name}|{self.year}|{number}")


def issuer_of(invoice: Resource) -> str:
    """A name for who issues an Invoice. Raises BusinessRule when nobody does."""
    issuer = invoice.get("issuer", {})
    identifier = issuer.get("identifier", {})
    named = issuer.get("reference") or (
        f"{identifier.get('system', '')}#{identifier['value']}" if "value" in identifier else None
    )
    if named is None:
        raise BusinessRule(
            "An invoice that is issued says by whom: issuer refers to an Organization.", "Invoice.issuer"
        )
    return str(named)


@dataclass(frozen=True, slots=True)
class Counter:
    """The last number that was given, and the date (dateTime) of its invoice."""

    series: Series
    last: int = 0
    date: str | None = None

    def as_fhir(self) -> Resource:
        parts: list[Resource] = [
            {"url": "issuer", "valueString": self.series.issuer},
            {"url": "series", "valueString": self.series.name},
            {"url": "year", "valueInteger": self.series.year},
            {"url": "last", "valueInteger": self.last},
        ]
        if self.date is not None:
            parts.append({"url": "date", "valueDateTime": self.date})
        return {
            "resourceType": "Basic",
            "id": self.series.id,
            "extension": [{"url": COUNTER, "extension": parts}],
            "code": COUNTER_CODE,
        }


def counter_in(resource: Resource, series: Series) -> Counter:
    parts = _parts(extension(resource, COUNTER))
    return Counter(series, int(parts["last"]), parts.get("date"))


async def counter_of(series: Series, known: Known) -> Counter:
    """The counter of the series as it is, or a new one."""
    found = await known.current("Basic", series.id)
    return Counter(series) if found is None else counter_in(found, series)


def number_extension(series: Series, number: int) -> Resource:
    return {
        "url": NUMBER,
        "extension": [
            {"url": "series", "valueString": series.name},
            {"url": "year", "valueInteger": series.year},
            {"url": "number", "valuePositiveInt": number},
        ],
    }


def number_in(invoice: Resource) -> tuple[Series, int] | None:
    """The number of an Invoice; None for one that has none."""
    parts = _parts(extension(invoice, NUMBER))
    if not {"series", "year", "number"} <= parts.keys():
        return None
    return Series(issuer_of(invoice), str(parts["series"]), int(parts["year"])), int(parts["number"])


def wished_series(invoice: Resource) -> str | None:
    """The series that a draft asks for."""
    found = _parts(extension(invoice, NUMBER)).get("series")
    return None if found is None else str(found)


def number_identifier(series: Series, number: int, issuer: Resource) -> Resource:
    return {"use": "official", "system": NUMBER_SYSTEM, "value": series.text(number), "assigner": issuer}


def _parts(found: Resource | None) -> dict[str, Any]:
    parts = () if found is None else found.get("extension", ())
    return {
        p["url"]: next((v for k, v in p.items() if k.startswith("value")), None) for p in parts if "url" in p
    }
