"""Proof that a store's database agrees with itself: history, current states, bodies, index and claims.

It may run while servers write: what is written meanwhile is left out. It changes nothing. Versions and current states are
walked side by side in the order of type and id, so it needs no memory for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.search.contained import contained_key, container_of, is_contained, logical_id, outer_type
from fhir_server.search.entries import Entries
from fhir_server.store.mongo import history
from fhir_server.store.mongo.claims import claim_document
from fhir_server.store.mongo.connections import Connection, Document
from fhir_server.store.mongo.documents import native_form, stored_of
from fhir_server.store.mongo.entries import MEMBERS, indexed
from fhir_server.store.mongo.inside import text_of
from fhir_server.store.mongo.schema import SEQUENCE
from fhir_server.store.records import Claim, Stored
from fhir_server.store.report import Report, body_problem, parsed

BATCH = 500

Extractor = Callable[[dict[str, Any]], Entries]
ClaimsOf = Callable[[dict[str, Any]], Iterable[Claim]]


@dataclass(frozen=True, slots=True)
class Told:
    """The versions of a resource: the first and the newest one, and whether they count up from 1."""

    first: Stored
    newest: Stored
    counts_up: bool


async def check(
    connection: Connection,
    extractor: Extractor | None = None,
    claims_of: ClaimsOf | None = None,
    progress: Callable[[int], None] | None = None,
    governed: Collection[str] = (),
) -> Report:
    """Look at everything in the database. Without an extractor or `claims_of` index or claims are not compared.

    Resources of `governed` types hold more claims than follow from them alone; those are not looked at here.
    `progress` is told how many versions have been looked at.
    """
    found = _Check(connection, extractor, claims_of, progress, frozenset(governed))
    await found.run()
    return found.report


class _Check:
    def __init__(
        self,
        connection: Connection,
        extractor: Extractor | None,
        claims_of: ClaimsOf | None,
        progress: Callable[[int], None] | None,
        governed: frozenset[str],
    ) -> None:
        self._connection = connection
        self._extractor = extractor
        self._claims_of = claims_of
        self._progress = progress
        self._governed = governed
        self._newest: dict[str, int] = {}
        self._last = 0
        self.report = Report()

    async def run(self) -> None:
        async with self._connection.reading() as session:
            self._last = await history.last_sequence(self._connection, session)
        await self._sequences()
        types = set(await self._connection.types()) | set(self._newest)
        for type in sorted(types):
            await self._type(type)
        for type in await self._connection.types(contained=True):
            if is_contained(type):
                await self._containers(type)
        await self._counters()

    async def _sequences(self) -> None:
        """Sequences without gaps, times that never go back, bodies that say what the store says."""
        wanted, updated = 1, 0
        where = {"_id": {"$lte": self._last}}
        async for document in self._connection.versions.find(where, batch_size=BATCH).sort("_id"):
            stored = stored_of(document)
            self.report.versions += 1
            if self._progress is not None and stored.sequence % BATCH == 0:
                self._progress(stored.sequence)
            if stored.sequence != wanted:
                self.report.add(f"the sequences have a gap before {stored.sequence}")
            if stored.updated < updated:
                self.report.add(f"a version earlier in time than the one before it: {stored.sequence}")
            problem = body_problem(
                stored.type, stored.id, stored.version, stored.updated, stored.deleted, stored.body
            )
            if problem is not None:
                self.report.add(f"{stored.type}/{stored.id}/_history/{stored.version}: {problem}")
            wanted, updated = stored.sequence + 1, stored.updated
            self._newest[stored.type] = stored.sequence
        if wanted != self._last + 1:
            self.report.add(f"the last sequence is {self._last} and the versions end with {wanted - 1}")

    async def _counters(self) -> None:
        """What a write relies on: the newest sequence of each type; and that nobody else holds a claim."""
        claims = await self._connection.claims.count_documents({})
        state = await self._connection.state.find_one({"_id": SEQUENCE})
        quiet = state is not None and state["n"] == self._last
        if self._claims_of is not None and quiet and claims != self.report.claims:
            self.report.add(f"{claims} claims are there, {self.report.claims} of live resources")
        told: dict[str, int] = {} if state is None else state["types"]
        for type, sequence in self._newest.items():
            if told.get(type, 0) < sequence:
                self.report.add(
                    f"{type}: the newest version is {sequence}, the counter says {told.get(type)}"
                )

    async def _type(self, type: str) -> None:
        states = self._connection.of_type(type).find(batch_size=BATCH).sort("_id")
        versions = self._histories(type)
        told = await anext(versions, None)
        async for state in states:
            while told is not None and told.newest.id < state["_id"]:
                self.report.add(f"versions without a resource: {type}/{told.newest.id}")
                told = await anext(versions, None)
            if told is not None and told.newest.id == state["_id"]:
                await self._resource(told, state)
                told = await anext(versions, None)
            elif state["s"] <= self._last:
                self.report.add(f"a resource without versions: {type}/{state['_id']}")
        while told is not None:
            self.report.add(f"versions without a resource: {type}/{told.newest.id}")
            told = await anext(versions, None)

    async def _histories(self, type: str) -> AsyncIterator[Told]:
        """For each resource of a type, in the order of their ids."""
        found = self._connection.versions.find({"t": type}, batch_size=BATCH).sort(
            [("t", 1), ("i", 1), ("v", -1)]
        )
        told: Told | None = None
        async for document in found.hint("of"):
            stored = stored_of(document)
            if stored.sequence > self._last:
                continue
            if told is None or told.newest.id != stored.id:
                if told is not None:
                    yield _ended(told)
                told = Told(stored, stored, counts_up=True)
            else:
                follows = told.first.version == stored.version + 1
                told = Told(stored, told.newest, told.counts_up and follows)
        if told is not None:
            yield _ended(told)

    async def _resource(self, told: Told, state: Document) -> None:
        stored = told.newest
        where = f"{stored.type}/{stored.id}"
        if not told.counts_up:
            self.report.add(f"versions that do not count up from 1: {where}")
        if state["s"] > self._last:
            return
        wanted = (stored.version, stored.sequence, stored.updated, stored.deleted, told.first.sequence)
        if (state["v"], state["s"], state["u"], state["d"], state["c"]) != wanted:
            self.report.add(f"a resource that does not point at its newest version: {where}")
        if stored.deleted:
            if any(name in state for name in ("resource", *MEMBERS)):
                self.report.add(f"{where}: deleted, and still in the index")
            if state["h"]:
                self.report.add(f"{where}: deleted, and still holding claims")
            return
        self.report.resources += 1
        resource = parsed(stored.body)
        if resource is None:
            return
        if "resource" in state and state["resource"] != native_form(stored.body):
            self.report.add(f"{where}: the native form is not that of its newest version")
        if self._extractor is not None:
            entries = self._extractor(resource)
            self._index(where, state, indexed(entries))
            await self._inside(stored, state, entries)
        if self._claims_of is not None:
            await self._claims(where, state, self._claims_of(resource))

    def _index(self, where: str, state: Document, wanted: Document) -> None:
        self.report.entries += len(state.get("e", ()))
        for name in MEMBERS:
            if name == "e":
                for text in set(state.get("e", ())) ^ set(wanted.get("e", ())):
                    what = "is missing from" if text in wanted["e"] else "should not be in"
                    self.report.add(f"{where}: the entry {text!r} {what} the index")
            elif state.get(name) != wanted.get(name):
                self.report.add(f"{where}: the member {name} of the index is not what it should be")

    async def _inside(self, container: Stored, state: Document, entries: Entries) -> None:
        """That just what the resource contains is there, in the state of the resource."""
        own = (container.type, container.id)
        wanted = {contained_key(own, one.type, one.id): one.entries for one in entries.contained}
        types = {type for type, _ in wanted} | set(state.get("i", ()))
        if not types <= set(state.get("i", ())):
            self.report.add(f"{text_of(own)}: it does not tell of all that it contains")
        for type in sorted(types):
            found = self._connection.of_type(type).find({"o": text_of(own), "d": False})
            present = {document["_id"]: document for document in await found.to_list()}
            of_type = {id: made for (of, id), made in wanted.items() if of == type}
            for id in sorted(present.keys() ^ of_type.keys()):
                what = "is missing" if id in of_type else "should not be there"
                self.report.add(f"the contained {outer_type(type)} {id} {what}")
            for id in sorted(present.keys() & of_type.keys()):
                if present[id].get("f") != logical_id(id):
                    self.report.add(f"{id}: it is not found by its id within the container")
                self._index(id, present[id], indexed(of_type[id]))

    async def _containers(self, type: str) -> None:
        """That what is contained is in the state of its container."""
        batch: list[Document] = []
        found = self._connection.of_type(type).find(
            {}, {"v": 1, "s": 1, "u": 1, "d": 1, "o": 1}, batch_size=BATCH
        )
        async for document in found:
            batch.append(document)
            if len(batch) == BATCH:
                await self._batch_inside(type, batch)
                batch = []
        await self._batch_inside(type, batch)

    async def _batch_inside(self, type: str, batch: Sequence[Document]) -> None:
        by_type: dict[str, set[str]] = {}
        for document in batch:
            of, id = container_of(document["_id"])
            by_type.setdefault(of, set()).add(id)
        states: dict[str, Document] = {}
        for of, ids in by_type.items():
            where = {"_id": {"$in": list(ids)}}
            async for state in self._connection.of_type(of).find(
                where, {"v": 1, "s": 1, "u": 1, "d": 1, "i": 1}
            ):
                states[text_of((of, state["_id"]))] = state
        for document in batch:
            container = states.get(text_of(container_of(document["_id"])))
            if container is not None and container["s"] > self._last:
                continue
            if container is None or not _agree(type, document, container):
                self.report.add(
                    f"a contained resource that does not point at the newest version of its container: {document['_id']}"
                )

    async def _claims(self, where: str, state: Document, claims: Iterable[Claim]) -> None:
        wanted_claims = tuple(claims)
        if not wanted_claims and not state["h"]:
            return
        type, _, id = where.partition("/")
        found = await self._connection.claims.find({"type": type, "id": id}, {"_id": 0}).to_list()
        present = {tuple(document.items()) for document in found}
        wanted = {tuple(claim_document((type, id), claim).items()) for claim in wanted_claims}
        self.report.claims += len(present)
        if state["h"] != len(found):
            self.report.add(f"{where}: the number of its claims is noted wrongly")
        if type in self._governed:
            present &= wanted
        for row in present ^ wanted:
            what = "is missing" if row in wanted else "should not be there"
            self.report.add(f"{where}: the claim on {dict(row)['key']} {what}")


def _agree(type: str, document: Document, container: Document) -> bool:
    """Whether the document of a contained resource may stand beside that of its container."""
    if document["o"] != text_of(container_of(document["_id"])) or type not in container.get("i", ()):
        return False
    if document["d"]:
        return bool(document["s"] <= container["s"])
    return not container["d"] and all(document[name] == container[name] for name in ("v", "s", "u"))


def _ended(told: Told) -> Told:
    """With the first version known to be the first."""
    return told if told.first.version == 1 else Told(told.first, told.newest, counts_up=False)
