"""How the hospital bills: entries of the Basic `hospital-settings`, each in force from a day until the next begins.

Pure. The extension `hospital-settings` stands once for each entry. An invariant to keep: what a document was made by is
known from its date, so an entry that has begun is neither changed nor removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from fhir_r4.errors import BusinessRule
from fhir_server.context import Resource
from fhir_server.resources.billing.money import Rounding, amount_of, currency_of, digits_of, number_of

OSLER = "https://osler.health/fhir/StructureDefinition/"
SETTINGS_ID = "hospital-settings"
ENTRY = OSLER + "hospital-settings"
SETTINGS_CODE = {
    "coding": [{"system": "https://osler.health/fhir/CodeSystem/billing", "code": "hospital-settings"}]
}
MIDNIGHT, STARTED_DAY = "midnight", "started-24h"
LEVELS = ("invoice", "line")
# limits of their own, for which else `approval-limit` stands
CREDIT_LIMIT, WRITE_OFF_LIMIT, DISCOUNT_LIMIT = "credit-limit", "write-off-limit", "discount-limit"
_LONG_AGO = date(1, 1, 1)


@dataclass(frozen=True, slots=True)
class TaxGroup:
    """A rate of tax: 0.20 are 20 %."""

    code: str
    rate: Decimal
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """An amount above which a second person has to agree."""

    value: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """The rules in force from `since`. `currency` is that of prices and payments that are made without one.

    `level` says whether tax is rounded on each line or on the sum of the invoice for each rate; `inclusive` that list
    prices have the tax in them; `fiscal_year` is the month and day on which a year of numbers begins.
    """

    since: date = _LONG_AGO
    currency: str = "EUR"
    rounding: Rounding = Rounding.HALF_UP
    level: str = "invoice"
    inclusive: bool = False
    tax_groups: Mapping[str, TaxGroup] = field(default_factory=dict)
    bed_day: str = MIDNIGHT
    same_day: bool = True
    discharge_day: bool = False
    leave_days: bool = False
    invoice_series: str = "INV"
    credit_series: str = "CRN"
    fiscal_year: tuple[int, int] = (1, 1)
    payment_days: int = 30
    approval_limit: Limit | None = None
    credit_limit: Limit | None = None
    write_off_limit: Limit | None = None
    discount_limit: Limit | None = None

    def limit_of(self, name: str) -> Limit | None:
        """The limit of that name; `approval-limit` where there is none of its own."""
        own = {
            CREDIT_LIMIT: self.credit_limit,
            WRITE_OFF_LIMIT: self.write_off_limit,
            DISCOUNT_LIMIT: self.discount_limit,
        }
        return own.get(name) or self.approval_limit

    def year_of(self, day: date) -> int:
        """The fiscal year of a day: the calendar year in which it begins."""
        return day.year if (day.month, day.day) >= self.fiscal_year else day.year - 1


DEFAULT = BillingSettings()


def settings_at(resource: Resource | None, day: date) -> BillingSettings:
    """The entry in force on a day; the defaults before the first. Raises BusinessRule for settings that are none."""
    found = DEFAULT
    for entry in entries_of(resource):
        if entry.since <= day and entry.since >= found.since:
            found = entry
    return found


def settings_now(resource: Resource | None, now: int, zone: str) -> BillingSettings:
    """The entry in force at `now` (microseconds) by the clocks of `zone`."""
    return settings_at(resource, day_at(now, zone))


def day_at(now: int, zone: str) -> date:
    """The date that the clocks of `zone` show."""
    return datetime.fromtimestamp(now // 1_000_000, ZoneInfo(zone)).date()


def entries_of(resource: Resource | None) -> tuple[BillingSettings, ...]:
    """All entries. Raises BusinessRule with what is wrong with one."""
    if resource is None:
        return ()
    return tuple(
        _entry(extension, f"Basic.extension[{index}]")
        for index, extension in enumerate(resource.get("extension", ()))
        if extension.get("url") == ENTRY
    )


def check_settings(before: Resource | None, after: Resource | None, today: date) -> None:
    """Raise BusinessRule unless `after` may take the place of `before` today."""
    entries = entries_of(after)
    days = [entry.since for entry in entries]
    if len(set(days)) != len(days):
        raise BusinessRule("Two entries of the settings begin on the same day.", "Basic.extension")
    for entry in entries_of(before) if before is not None else ():
        if entry.since <= today and entry not in entries:
            raise BusinessRule(
                f"The settings from {entry.since} have begun and stay as they are; add an entry that begins later.",
                "Basic.extension",
            )
    begun = {entry.since for entry in entries_of(before) if before is not None}
    late = next((d for d in days if before is not None and d not in begun and d <= today), None)
    if late is not None:
        raise BusinessRule(f"An entry begins after today; found {late}.", "Basic.extension")


def _entry(extension: Resource, place: str) -> BillingSettings:
    found: dict[str, Any] = {}
    groups: dict[str, TaxGroup] = {}
    for part in extension.get("extension", ()):
        url = part.get("url")
        if url == "tax-group":
            group = _tax_group(part, place)
            groups[group.code] = group
        elif url in _PARTS:
            name, read = _PARTS[url]
            if name in found:
                raise BusinessRule(f"{url} stands once in an entry.", place)
            found[name] = read(_value(part), f"{place}:{url}")
        else:
            raise BusinessRule(f"The settings have no part {str(url)[:60]!r}.", place)
    if "since" not in found:
        raise BusinessRule("An entry of the settings needs the day from which it is in force.", place)
    return BillingSettings(**found, tax_groups=groups)


def _value(part: Resource) -> Any:
    return next((v for k, v in part.items() if k.startswith("value")), None)


def _tax_group(part: Resource, place: str) -> TaxGroup:
    values = {p.get("url"): _value(p) for p in part.get("extension", ())}
    code = values.get("code")
    if not isinstance(code, str) or "rate" not in values:
        raise BusinessRule("A tax-group has a code and a rate.", place)
    rate = number_of(values["rate"], f"{place}:tax-group.rate")
    if not 0 <= rate <= 10:
        raise BusinessRule(f"A rate of {rate} is none: 0.20 are 20 %.", place)
    name = values.get("name")
    return TaxGroup(code, rate, name if isinstance(name, str) else None)


def _day(value: Any, place: str) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise BusinessRule(f"{place} is a day.", place) from error


def _boolean(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise BusinessRule(f"{place} is true or false.", place)
    return value


def _choice(choices: Sequence[str]) -> Any:
    def read(value: Any, place: str) -> str:
        if value not in choices:
            raise BusinessRule(f"{place} is one of {', '.join(choices)}.", place)
        return str(value)

    return read


def _rounding(value: Any, place: str) -> Rounding:
    return Rounding(_choice([mode.value for mode in Rounding])(value, place))


def _currency(value: Any, place: str) -> str:
    digits_of(str(value))
    return str(value)


def _series(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isalnum() or len(value) > 16:
        raise BusinessRule(f"{place} is a name of at the most 16 letters and digits.", place)
    return value


def _month_day(value: Any, place: str) -> tuple[int, int]:
    try:
        found = date.fromisoformat(f"2001-{value}")
    except ValueError as error:
        raise BusinessRule(f"{place} is a month and a day, like 04-01.", place) from error
    return found.month, found.day


def _days(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 3650:
        raise BusinessRule(f"{place} is a number of days.", place)
    return value


def _limit(value: Any, place: str) -> Limit:
    return Limit(amount_of(value, place), currency_of(value, place))


_PARTS: Mapping[str, tuple[str, Any]] = {
    "from": ("since", _day),
    "currency": ("currency", _currency),
    "rounding-mode": ("rounding", _rounding),
    "rounding-level": ("level", _choice(LEVELS)),
    "prices-include-tax": ("inclusive", _boolean),
    "bed-day-rule": ("bed_day", _choice((MIDNIGHT, STARTED_DAY))),
    "bed-day-same-day": ("same_day", _boolean),
    "bed-day-discharge-day": ("discharge_day", _boolean),
    "bed-day-leave": ("leave_days", _boolean),
    "invoice-series": ("invoice_series", _series),
    "credit-series": ("credit_series", _series),
    "fiscal-year-start": ("fiscal_year", _month_day),
    "payment-days": ("payment_days", _days),
    "approval-limit": ("approval_limit", _limit),
    CREDIT_LIMIT: ("credit_limit", _limit),
    WRITE_OFF_LIMIT: ("write_off_limit", _limit),
    DISCOUNT_LIMIT: ("discount_limit", _limit),
}
