"""Make charges of what was done: for each event the definitions that charge for it, each event once.

The id of a charge that is made here follows from its event, definition and day, so making it again finds it there; what
somebody has charged by hand is found by its `service`. An invariant to keep: a second run adds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.references import parse_reference
from fhir_r4.temporal import OPEN_HIGH, format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.places import local_id
from fhir_server.resources.beds.surroundings import local_bases
from fhir_server.resources.billing.bed_days import bed_days
from fhir_server.resources.billing.charges import (
    account_currency,
    charge_key,
    currencies_of,
    day_of,
    event_extension,
    event_keys,
)
from fhir_server.resources.billing.charging import priced, settings_for
from fhir_server.resources.billing.events import (
    BED_DAY,
    EVENTS,
    concepts_of,
    encounter_of,
    item_of,
    quantity_in,
    subject_of,
    time_of,
    was_done,
)
from fhir_server.resources.billing.price_list import price_list
from fhir_server.resources.billing.settings import day_at
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo


@dataclass(slots=True)
class Captured:
    """The charges that were made, and what could not be charged, with the reason."""

    charges: list[Resource] = field(default_factory=list)
    problems: list[Issue] = field(default_factory=list)


class Capture:
    """Captures charges for an account. `charged` are the keys of events that are charged already."""

    def __init__(self, known: Known, services: Services, account: str, charged: Collection[str] = ()) -> None:
        self._known = known
        self._services = services
        self._account = account
        self._charged = set(charged)
        self._zone = services.settings.default_timezone
        self._bases = local_bases(services)
        self._currency: str | None = None
        self.found = Captured()

    async def event(self, event: Resource, encounter: str | None) -> None:
        """Charge for an event that was done, in the Encounter with that id."""
        reference = f"{event['resourceType']}/{event['id']}"
        subject = subject_of(event)
        if subject is None or not was_done(event):
            if event["resourceType"] != "Encounter":
                self._tell_charged(reference, f"it is {event.get('status')}")
            return
        concepts = [*concepts_of(event)]
        item = await self._item(event)
        if item is not None:
            concepts.append(item)
        when = time_of(event)
        if when is None:
            when = format_instant(self._known.now)
        about: dict[str, object] = {"occurrenceDateTime": when}
        quantity = quantity_in(event)
        if quantity is not None:
            about["quantity"] = quantity
        for url in (await price_list(self._services)).urls_for(concepts):
            day = day_of(when, self._zone).isoformat()
            await self._charge(url, reference, day, subject, encounter, about, concepts)

    async def bed_days(self, stay: Resource, until: int) -> None:
        """Charge for the days of a stay up to an instant."""
        urls = (await price_list(self._services)).urls_for([BED_DAY])
        if not urls:
            return
        settings = await settings_for(until, self._known, self._services)
        days = bed_days(stay, settings, until, self._zone, self._bases)
        counted = {day.day.isoformat() for day in days}
        last = day_at(until, self._zone).isoformat()
        for url in urls:
            for key in sorted(
                k for k in self._charged if k.startswith(charge_key(f"Encounter/{stay['id']}", url, ""))
            ):
                day = key.rpartition("|")[2]
                if day < last and day not in counted:
                    self._tell_charged(f"Encounter/{stay['id']}", f"{day} is no day of the stay", key)
        for one in days:
            for url in urls:
                await self._charge(
                    url,
                    f"Encounter/{stay['id']}",
                    one.day.isoformat(),
                    stay.get("subject"),
                    stay["id"],
                    {"occurrenceDateTime": one.day.isoformat()},
                    [BED_DAY],
                    one.location,
                )

    async def _charge(
        self,
        url: str,
        event: str,
        day: str,
        subject: object,
        encounter: str | None,
        about: Mapping[str, object],
        concepts: list[Resource],
        location: str | None = None,
    ) -> None:
        key = charge_key(event, url, day)
        id = "charge-" + hashlib.sha256(key.encode()).hexdigest()[:48]
        if key in self._charged or await self._known.current("ChargeItem", id) is not None:
            return
        definition = (await price_list(self._services)).versions(url)[0]
        charge: Resource = {
            "resourceType": "ChargeItem",
            "id": id,
            "extension": [event_extension(event, day)],
            "status": "billable",
            "code": definition.get("code") or concepts[0],
            "subject": subject,
            **({} if encounter is None else {"context": {"reference": f"Encounter/{encounter}"}}),
            **about,
            "enteredDate": format_instant(self._known.now),
        }
        type = event.partition("/")[0]
        if EVENTS[type].service:
            charge["service"] = [{"reference": event}]
        charge["account"] = [{"reference": f"Account/{self._account}"}]
        try:
            made = await priced(charge, url, self._known, self._services, location)
        except BusinessRule as problem:
            told = f"{event} of {day} was not charged by {url}: {problem}"
            self.found.problems.append(Issue("warning", "business-rule", told, (event,)))
            return
        if made is None or not await self._in_currency(made, event):
            return
        self._charged.add(key)
        self.found.charges.append(made)

    async def _in_currency(self, charge: Resource, event: str) -> bool:
        """Whether the charge is in the currency of the account, which the first charge decides."""
        if self._currency is None:
            account = await self._known.current("Account", self._account)
            self._currency = account_currency(account)
        (currency,) = set(currencies_of(charge))
        if self._currency not in (None, currency):
            told = f"{event} was not charged: it costs {currency}, and Account/{self._account} is in {self._currency}."
            self.found.problems.append(Issue("warning", "business-rule", told, (event,)))
            return False
        self._currency = currency
        return True

    def know(self, charged: Collection[str]) -> None:
        """Keys of more events that are charged already."""
        self._charged.update(charged)

    async def free(self) -> list[Resource]:
        """The charges that were made, without those of events that are charged in a way that no search finds."""
        keys = {c["id"]: event_keys(c, self._zone, self._bases) for c in self.found.charges}
        wanted = {key for found in keys.values() for key in found}
        now = self._known.now
        held = await self._services.store.claims(wanted, (now, OPEN_HIGH)) if wanted else {}
        return [c for c in self.found.charges if not any(held.get(key) for key in keys[c["id"]])]

    def _tell_charged(self, event: str, why: str, key: str = "") -> None:
        """Tell that something is charged that was not done: what is billed already cannot be taken back here."""
        if key or any(k.startswith(f"charge:{event}|") for k in self._charged):
            told = f"{event} is charged, and {why}."
            self.found.problems.append(Issue("warning", "business-rule", told, (event,)))

    async def _item(self, event: Resource) -> Resource | None:
        """The code of the Medication or Device that an event refers to."""
        reference = item_of(event)
        if reference is None:
            return None
        named = str(reference.get("reference"))
        if named.startswith("#"):
            inside = (c for c in event.get("contained", ()) if f"#{c.get('id')}" == named)
            item = next(inside, None)
        else:
            found = parse_reference(named, self._bases)
            item = await self._known.current(found.type, found.id) if found.local else None
        code = None if item is None else item.get("code") or item.get("type")
        return code if isinstance(code, dict) else None


async def keys_on(known: Known, services: Services, type: str, id: str, most: int) -> set[str]:
    """The events that ChargeItems on a resource (Account, or an event as `service`) have charged."""
    param = "account" if type == "Account" else "service"
    found = await known.find("ChargeItem", RefersTo(param, type, id), most)
    zone, bases = services.settings.default_timezone, local_bases(services)
    return {
        key
        for charge in found
        if charge.get("status") != "entered-in-error"
        for key in event_keys(charge, zone, bases)
    }


async def account_of(event: Resource, known: Known, services: Services) -> tuple[str, str] | None:
    """The ids of the account and the Encounter of an event; None when it belongs to none."""
    bases = local_bases(services)
    encounter = local_id(encounter_of(event), "Encounter", bases)
    stay = None if encounter is None else await known.current("Encounter", encounter)
    if stay is None or encounter is None:
        return None
    accounts = (local_id(reference, "Account", bases) for reference in stay.get("account", ()))
    account = next((a for a in accounts if a is not None), None)
    return None if account is None else (account, encounter)
