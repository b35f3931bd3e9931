"""Make charges of what was done: for each event the definitions that charge for it, each event once; and take back what was not done.

The id of a charge that is made here follows from its event, definition and day, so making it again finds it there; what
somebody has charged by hand is found by its `service`. Invariants to keep: a second run changes nothing; what is billed, and what was
charged by hand, is left to people and told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.references import local_id, parse_reference
from fhir_r4.temporal import OPEN_HIGH, format_instant
from fhir_server.context import Resource, Services
from fhir_server.resources.beds.stays import start_of
from fhir_server.resources.billing.bed_days import bed_days
from fhir_server.resources.billing.charges import (
    OSLER,
    account_currency,
    charge_key,
    currencies_of,
    day_of,
    event_extension,
    event_keys,
    event_of,
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
from fhir_server.resources.billing.invoicing import extension, with_extension
from fhir_server.resources.billing.lifecycle import billed_by
from fhir_server.resources.billing.price_list import price_list
from fhir_server.resources.change import Known
from fhir_server.search.tree import RefersTo

# on a charge that was taken back by the server: why
RETRACTED = OSLER + "charge-retracted"
# in which states a charge is the server's to change
OPEN = ("planned", "billable")
# how often a day may come and go
MOST_TIMES = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """A charge that there should be, by the definition at `url`: its event and day, and what is known of it.

    With `again` a charge of the server's own that there is already is priced anew: the place may be another by now.
    """

    url: str
    event: str
    day: str
    subject: object
    encounter: str | None
    about: Mapping[str, object]
    concept: Resource
    location: str | None = None
    again: bool = False

    @property
    def key(self) -> str:
        return charge_key(self.event, self.url, self.day)


@dataclass(slots=True)
class Captured:
    """The charges that were made, those that were changed or taken back, and what could not be done, with the reason."""

    charges: list[Resource] = field(default_factory=list)
    changed: list[Resource] = field(default_factory=list)
    problems: list[Issue] = field(default_factory=list)


class Capture:
    """Captures charges for an account. `charged` are the charges that there are, by the keys of their events."""

    def __init__(
        self, known: Known, services: Services, account: str, charged: Mapping[str, Resource] | None = None
    ) -> None:
        self._known = known
        self._services = services
        self._account = account
        self._charged = dict(charged or {})
        self._zone = services.settings.default_timezone
        self._bases = services.settings.local_bases
        self._currency: str | None = None
        self._wanted: list[Wanted] = []
        self.found = Captured()

    async def event(self, event: Resource, encounter: str | None) -> None:
        """Charge for an event that was done, in the Encounter with that id; take back what is charged and was not done so."""
        reference = f"{event['resourceType']}/{event['id']}"
        subject = subject_of(event)
        if subject is None or not was_done(event):
            await self._correct(reference, (), f"it is {event.get('status')}")
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
        day = day_of(when, self._zone).isoformat()
        urls = (await price_list(self._services)).urls_for(concepts)
        self._wanted += [Wanted(url, reference, day, subject, encounter, about, concepts[0]) for url in urls]
        if time_of(event) is not None:
            wanted = [charge_key(reference, url, day) for url in urls]
            await self._correct(reference, wanted, "it is of another day or for something else")

    async def bed_days(self, stay: Resource, until: int) -> None:
        """Charge for the days of a stay up to an instant, by the rule in force when it began; take back what is no day of it."""
        urls = (await price_list(self._services)).urls_for([BED_DAY])
        if not urls:
            return
        began = start_of(stay.get("period", {}).get("start"))
        settings = await settings_for(
            self._known.now if began is None else began, self._known, self._services
        )
        reference = f"Encounter/{stay['id']}"
        by_now = bed_days(stay, settings, self._known.now + 1, self._zone, self._bases)
        counted = {charge_key(reference, url, d.day.isoformat()) for d in by_now for url in urls}
        for key in self._keys_of(reference):
            if _url(key) in urls and key not in counted:
                day = key.rpartition("|")[2]
                self._take_back(reference, key, f"{day} is no day of the stay")
        for one in bed_days(stay, settings, until, self._zone, self._bases):
            day = one.day.isoformat()
            about = {"occurrenceDateTime": day}
            self._wanted += [
                Wanted(
                    url, reference, day, stay.get("subject"), stay["id"], about, BED_DAY, one.location, True
                )
                for url in urls
            ]

    async def _charge(self, wanted: Wanted) -> None:
        """Charge for an event once."""
        try:
            id, had = await self._made(wanted.key)
        except BusinessRule as problem:
            self.found.problems.append(Issue("warning", "business-rule", str(problem), (wanted.event,)))
            return
        if had is not None:
            if wanted.again and _is_own(had) and had.get("status") in OPEN:
                await self._priced_anew(had, wanted)
            return
        definition = (await price_list(self._services)).versions(wanted.url)[0]
        within = (
            {} if wanted.encounter is None else {"context": {"reference": f"Encounter/{wanted.encounter}"}}
        )
        charge: Resource = {
            "resourceType": "ChargeItem",
            "id": id,
            "extension": [event_extension(wanted.event, wanted.day)],
            "status": "billable",
            "code": definition.get("code") or wanted.concept,
            "subject": wanted.subject,
            **within,
            **wanted.about,
            "enteredDate": format_instant(self._known.now),
        }
        type = wanted.event.partition("/")[0]
        if EVENTS[type].service:
            charge["service"] = [{"reference": wanted.event}]
        charge["account"] = [{"reference": f"Account/{self._account}"}]
        made = await self._price(charge, wanted)
        if made is None or not await self._in_currency(made, wanted.event):
            return
        self._charged[wanted.key] = made
        self.found.charges.append(made)

    async def _made(self, key: str) -> tuple[str, Resource | None]:
        """The charge that there is for an event; or, with None, the id of one that is to be made."""
        if key in self._charged:
            return "", self._charged[key]
        for times in range(MOST_TIMES):
            id = _charge_id(key, times)
            found = await self._known.current("ChargeItem", id)
            if found is None or extension(found, RETRACTED) is None:
                return id, found
        raise BusinessRule(f"The event {key} was charged and taken back {MOST_TIMES} times.", "ChargeItem")

    async def _price(self, charge: Resource, wanted: Wanted) -> Resource | None:
        """The charge with its price; None when the conditions do not hold, or when there is none, which is told."""
        try:
            return await priced(charge, wanted.url, self._known, self._services, wanted.location)
        except BusinessRule as problem:
            told = f"{wanted.event} of {wanted.day} was not charged by {wanted.url}: {problem}"
            self.found.problems.append(Issue("warning", "business-rule", told, (wanted.event,)))
            return None

    async def _priced_anew(self, had: Resource, wanted: Wanted) -> None:
        problems = len(self.found.problems)
        made = await self._price(had, wanted)
        if made is None:
            if len(self.found.problems) == problems:
                why = f"the conditions of {wanted.url} do not hold on {wanted.day}"
                self._take_back(wanted.event, wanted.key, why, had)
        elif _without_meta(made) != _without_meta(had):
            self._charged[wanted.key] = made
            self.found.changed.append(made)

    # What is charged and was not done

    async def _correct(self, event: str, wanted: Iterable[str], why: str) -> None:
        """Take back the charges of an event that are not wanted, bed days aside."""
        prices = await price_list(self._services)
        beds, kept = prices.urls_for([BED_DAY]), set(wanted)
        for key in self._keys_of(event):
            own = _is_own(self._charged[key])
            # a charge by hand for what was done may be for anything; a definition that is gone says nothing
            if key in kept or _url(key) in beds or (kept and not own) or not prices.versions(_url(key)):
                continue
            self._take_back(event, key, why)

    def _take_back(self, event: str, key: str, why: str, had: Resource | None = None) -> None:
        charge = self._charged.get(key) or had
        assert charge is not None
        if _is_own(charge) and charge.get("status") in OPEN:
            told = f"Taken back: {why}."
            note = [
                *charge.get("note", ()),
                {"time": format_instant(self._known.now), "text": told},
            ]
            back = with_extension(charge, {"url": RETRACTED, "valueString": why})
            self._charged.pop(key, None)
            self.found.changed.append({**back, "status": "entered-in-error", "note": note})
        elif charge.get("status") in (*OPEN, "billed"):
            by = billed_by(charge)
            told = f"{event} is charged, and {why}."
            if by is not None:
                told += f" ChargeItem/{charge['id']} is billed by {by}: credit it."
            self.found.problems.append(Issue("warning", "business-rule", told, (event,)))

    def _keys_of(self, event: str) -> list[str]:
        return sorted(key for key in self._charged if key.startswith(f"charge:{event}|"))

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

    def know(self, charged: Mapping[str, Resource]) -> None:
        """More charges that there are."""
        self._charged.update(charged)

    async def writes(self) -> list[Resource]:
        """Make the charges that are wanted; what is to be written: them, but for events that are charged in a way that no search finds, and changes."""
        wanted, self._wanted = self._wanted, []
        missing = [w for w in wanted if w.key not in self._charged]
        if missing:
            prices = await price_list(self._services)
            versions = {d["id"] for url in {w.url for w in missing} for d in prices.versions(url)}
            await self._known.ahead("ChargeItemDefinition", versions)
            await self._known.ahead("ChargeItem", {_charge_id(w.key, 0) for w in missing})
        for one in wanted:
            await self._charge(one)
        keys = {c["id"]: event_keys(c, self._zone, self._bases) for c in self.found.charges}
        named = {key for found in keys.values() for key in found}
        now = self._known.now
        held = await self._services.store.claims(named, (now, OPEN_HIGH)) if named else {}
        free = [c for c in self.found.charges if not any(held.get(key) for key in keys[c["id"]])]
        return [*free, *self.found.changed]

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


def _charge_id(key: str, times: int) -> str:
    """The id of the charge of an event that was taken back so many times before."""
    text = key if times == 0 else f"{key}#{times}"
    return "charge-" + hashlib.sha256(text.encode()).hexdigest()[:48]


def _is_own(charge: Resource) -> bool:
    """Whether the server itself has made a charge."""
    return str(charge["id"]).startswith("charge-") and event_of(charge) is not None


def _url(key: str) -> str:
    return key.split("|")[1]


def _without_meta(resource: Resource) -> Resource:
    return {k: v for k, v in resource.items() if k != "meta"}


async def charges_on(known: Known, services: Services, type: str, id: str, most: int) -> dict[str, Resource]:
    """The ChargeItems on an Account, for an Encounter, or for an event as `service`, by the keys of their events."""
    param = {"Account": "account", "Encounter": "context"}.get(type, "service")
    found = await known.find("ChargeItem", RefersTo(param, type, id), most)
    zone, bases = services.settings.default_timezone, services.settings.local_bases
    return {
        key: charge
        for charge in found
        if charge.get("status") != "entered-in-error"
        for key in event_keys(charge, zone, bases)
    }


async def account_of(event: Resource, known: Known, services: Services) -> tuple[str, str] | None:
    """The ids of the account and the Encounter of an event; None when it belongs to none."""
    bases = services.settings.local_bases
    encounter = local_id(encounter_of(event), "Encounter", bases)
    stay = None if encounter is None else await known.current("Encounter", encounter)
    if stay is None or encounter is None:
        return None
    accounts = (local_id(reference, "Account", bases) for reference in stay.get("account", ()))
    account = next((a for a in accounts if a is not None), None)
    return None if account is None else (account, encounter)
