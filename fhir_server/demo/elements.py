"""Short ways to write the FHIR elements that the demo is made of. Pure; every call makes a new dict."""

from __future__ import annotations

import importlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from fhir_r4.jsonio import decode_object

Resource = dict[str, Any]

ZONE = ZoneInfo("Europe/Dublin")
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ATC = "http://www.whocc.no/atc"
CVX = "http://hl7.org/fhir/sid/cvx"
IDENTIFIERS = "https://osler.example/fhir/sid/"
TIMEZONE = "http://hl7.org/fhir/StructureDefinition/timezone"


def typed(resource: Resource) -> Resource:
    """`resource` as the `fhir.resources` model of its type builds it: unknown elements and wrong types raise.

    Only for resources without decimals and offsets, whose text the models would change.
    """
    name: str = resource["resourceType"]
    model = getattr(importlib.import_module(f"fhir.resources.R4B.{name.lower()}"), name)
    return decode_object(model(**resource).model_dump_json().encode())


def reference(resource: Resource | str, display: str | None = None) -> Resource:
    target = resource if isinstance(resource, str) else f"{resource['resourceType']}/{resource['id']}"
    return {"reference": target} if display is None else {"reference": target, "display": display}


def coding(system: str, code: str, display: str | None = None) -> Resource:
    """A Coding; a system without `:` is one of terminology.hl7.org."""
    made: Resource = {"system": system if ":" in system else TERMINOLOGY + system, "code": code}
    if display is not None:
        made["display"] = display
    return made


def concept(system: str, code: str, display: str | None = None) -> Resource:
    made: Resource = {"coding": [coding(system, code, display)]}
    if display is not None:
        made["text"] = display
    return made


def quantity(value: str | int, unit: str, code: str | None = None) -> Resource:
    """A UCUM Quantity; `value` as text keeps its digits."""
    return {"value": number(value), "unit": unit, "system": UCUM, "code": code or unit}


def money(amount: str) -> Resource:
    return {"value": Decimal(amount), "currency": "EUR"}


def number(value: str | int) -> Decimal | int:
    return Decimal(value) if isinstance(value, str) else value


def identifier(system: str, value: str) -> Resource:
    return {"system": IDENTIFIERS + system, "value": value}


def timezone() -> Resource:
    return {"url": TIMEZONE, "valueCode": ZONE.key}


def local(day: date, hour: int, minute: int = 0) -> datetime:
    """A time of the hospital's clock."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE)


def later(moment: datetime, **span: int) -> datetime:
    """A span of time after `moment`, counted on the line of time and not on the clock (a day of 25 hours is one)."""
    return (moment.astimezone(UTC) + timedelta(**span)).astimezone(ZONE)


def instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def period(start: datetime, end: datetime | None = None) -> Resource:
    made: Resource = {"start": instant(start)}
    if end is not None:
        made["end"] = instant(end)
    return made
