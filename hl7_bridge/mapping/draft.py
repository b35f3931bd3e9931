"""The transaction that a message becomes, while it is being made.

A mapping asks the draft what the server has, and tells it what shall be. An invariant to keep: what was read and is written
again has the version that was read as its precondition, and what was not found is made only if it still is not there; so a
mapping that was overtaken is refused as a whole and done anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from hl7_bridge.delivery import FhirServer, Query, Resource

# What stands for itself in a query.
_SAFE = re.compile(r"[A-Za-z0-9._~:/|-]*")
# a criterion that is written in an address as it is
_ONE_SAFE = re.compile(r"[A-Za-z0-9._~:/|-]+=[A-Za-z0-9._~:/|-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person must look at. `reason` is a code of `hl7_bridge.reasons`.

    `path` is where in the message (OBX-3), `value` what stood there. One that `holds` keeps the whole message from being
    mapped; else the message is mapped as far as it goes.
    """

    reason: str
    text: str
    path: str = ""
    value: str = ""
    holds: bool = False


class Held(Exception):
    """The message cannot be mapped until a person has done something about `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


class Entry(Struct, frozen=True):
    """A request of the transaction. There are several in a message: a Struct is made faster."""

    method: str
    url: str
    full_url: str
    resource: Resource | None
    if_none_exist: str = ""
    if_match: str = ""
    if_none_match: str = ""


@dataclass(slots=True)
class Draft:
    """What a message reads and writes. `made_from` is the receipt's id, of which ids within the transaction are derived.

    `decisions` are what people have decided about this message, such as `arrived`: what it says holds, whatever is there.
    `codes` are what people have mapped, by field and code (`PID-8`, `W`), as Coding.
    """

    server: FhirServer
    made_from: str
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    decisions: frozenset[str] = frozenset()
    codes: Mapping[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _addresses: set[str] = field(default_factory=set)
    _known: dict[tuple[str, tuple[tuple[str, str], ...]], list[Resource]] = field(default_factory=dict)

    # what the server has

    async def find(self, type: str, query: Query, limit: int = 50) -> list[Resource]:
        """The current resources that match; asked once."""
        key = (type, tuple(query))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = await self.server.find(type, query, limit)
        return found

    async def one(self, type: str, system: str, value: str) -> Resource | None:
        """The resource that has an identifier; None when there is none. Raises Held when there are several."""
        found = await self.find(type, [("identifier", f"{token(system)}|{token(value)}")], 2)
        if len(found) > 1:
            raise Held(
                Problem(
                    "ambiguous-identifier", f"Several {type} resources have this identifier.", "", value, True
                )
            )
        return found[0] if found else None

    async def any_of(
        self, type: str, identifiers: Iterable[tuple[str, str]], limit: int = 10
    ) -> list[Resource]:
        """The current resources that have one of these identifiers, each (system, value)."""
        tokens = ",".join([f"{token(system)}|{token(value)}" for system, value in identifiers])
        return await self.find(type, [("identifier", tokens)], limit) if tokens else []

    # what shall be

    def create(self, resource: Resource, if_none_exist: Query = ()) -> str:
        """Make a resource, unless one matches; the reference to it."""
        told = _criteria(if_none_exist)
        type = resource["resourceType"]
        full_url = self._address(type, told)
        if full_url in self._addresses:
            # a message that tells of one thing twice makes one of it
            return full_url
        self._addresses.add(full_url)
        query = told
        if told and _ONE_SAFE.fullmatch(told) is None:
            query = "&".join([f"{_in_query(name)}={_in_query(value)}" for name, value in if_none_exist])
        self.entries.append(Entry("POST", type, full_url, resource, query))
        return full_url

    def address(self, type: str, if_none_exist: Query = ()) -> str:
        """What `create` gives, before it is called: for resources that refer to each other."""
        return self._address(type, _criteria(if_none_exist))

    def _address(self, type: str, told: str) -> str:
        said = f"{self.made_from}/{type}?{told or len(self.entries)}"
        digest = hashlib.sha256(said.encode()).hexdigest()
        return f"urn:uuid:{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"

    def update(self, resource: Resource) -> str:
        """Write a resource that was found, changed; it has the version that was read. The reference to it."""
        address = f"{resource['resourceType']}/{resource['id']}"
        version = resource.get("meta", {}).get("versionId", "")
        self._replace(Entry("PUT", address, address, resource, if_match=f'W/"{version}"' if version else ""))
        return address

    def put(self, resource: Resource) -> str:
        """Write a resource at the id that it has, whatever is there. The reference to it."""
        address = f"{resource['resourceType']}/{resource['id']}"
        self._replace(Entry("PUT", address, address, resource))
        return address

    def problem(self, reason: str, text: str, path: str = "", value: str = "") -> None:
        """Tell what a person must look at, and go on."""
        self.problems.append(Problem(reason, text, path, value))

    def knows(self, reason: str, value: str) -> bool:
        """Whether this problem is told already."""
        return any(one.reason == reason and one.value == value for one in self.problems)

    def bundle(self, more: Iterable[Entry] = ()) -> Resource:
        """The transaction Bundle."""
        return {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [_bundled(entry) for entry in (*self.entries, *more)],
        }

    def _replace(self, entry: Entry) -> None:
        self.entries = [one for one in self.entries if one.url != entry.url or one.method != "PUT"]
        self.entries.append(entry)


def _criteria(query: Query) -> str:
    return "&".join([f"{name}={value}" for name, value in query])


def identified(system: str, value: str) -> Query:
    """The search for what has an identifier."""
    return [("identifier", f"{token(system)}|{token(value)}")]


def token(text: str) -> str:
    """A text as a part of a token of a search. https://hl7.org/fhir/R4/search.html#escaping"""
    if "\\" in text or "$" in text or "," in text or "|" in text:
        for character in "\\$,|":
            text = text.replace(character, f"\\{character}")
    return text


def _in_query(text: str) -> str:
    return text if _SAFE.fullmatch(text) else quote(text, safe=":|")


def _bundled(entry: Entry) -> dict[str, Any]:
    request: dict[str, Any] = {"method": entry.method, "url": entry.url}
    if entry.if_none_exist:
        request["ifNoneExist"] = entry.if_none_exist
    if entry.if_match:
        request["ifMatch"] = entry.if_match
    if entry.if_none_match:
        request["ifNoneMatch"] = entry.if_none_match
    made: dict[str, Any] = {"request": request}
    if entry.full_url.startswith("urn:"):
        made["fullUrl"] = entry.full_url
    if entry.resource is not None:
        made["resource"] = entry.resource
    return made
