"""Load resources through the one door of writes, many to a store transaction, and account for every one of them.

An invariant to keep: what is refused never takes anything else with it (but the rest of its own transaction), and what
is there already is not written again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fhir_r4.errors import Conflict, FhirError, Issue, Unavailable
from fhir_r4.jsonio import decode, encode
from fhir_server.bulk.files import Item
from fhir_server.bulk.units import Refusal, Unit, name_of, units_of
from fhir_server.context import Resource, Services
from fhir_server.interactions.writing import SERVER_META, commit, prepare
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Stored, WriteOp

Key = tuple[str, str]
BundleDoor = Callable[[Resource], Awaitable[Resource]]

BATCH = 200
MOST_DEFERRED = 2_000
MOST_KEPT = 1_000


@dataclass(slots=True)
class Tally:
    """What became of the resources so far. `refusals` keeps the first thousand; `refused` counts all."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def seen(self) -> int:
        return self.created + self.updated + self.unchanged + self.refused

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Resources a second since the load began."""
        return self.seen / max(self.seconds, 1e-6)


class Stopped(Exception):
    """A strict load met its first refusal; what was committed before it stays."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    unit: Unit
    ops: tuple[WriteOp, ...]
    resources: tuple[Resource, ...]


class Loader:
    """One load. `bundle_door` answers the Bundle of a batch or transaction with its response Bundle.

    `on_refusal` is told of every refusal as it happens; with `strict` the first one raises Stopped.
    """

    def __init__(
        self,
        services: Services,
        bundle_door: BundleDoor,
        *,
        batch: int = BATCH,
        strict: bool = False,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self.tally = Tally()
        self._services = services
        self._bundle_door = bundle_door
        self._batch = batch
        self._strict = strict
        self._on_refusal = on_refusal
        self._waiting: list[Unit] = []
        self._keys: set[Key] = set()
        self._deferred: list[_Prepared] = []

    async def load(
        self, items: Iterable[Item], on_progress: Callable[[Tally], None] = lambda _: None
    ) -> Tally:
        """Write all `items`. Raises Unavailable when the store fails, Stopped when the load is strict."""
        for item in items:
            for unit in units_of(item):
                await self._take(unit)
            on_progress(self.tally)
        await self._flush()
        await self._try_deferred()
        on_progress(self.tally)
        return self.tally

    async def _take(self, unit: Unit | Refusal) -> None:
        if isinstance(unit, Refusal):
            self._refuse(unit)
        elif unit.bundle is not None:
            await self._flush()
            await self._pass_on(unit, unit.bundle)
        else:
            await self._add(unit)

    async def _add(self, unit: Unit) -> None:
        keys = {_key(r) for r in unit.resources}
        if keys & self._keys:
            await self._flush()
        self._waiting.append(unit)
        self._keys |= keys
        if len(self._keys) >= self._batch:
            await self._flush()

    async def _flush(self) -> None:
        waiting, keys = self._waiting, self._keys
        self._waiting, self._keys = [], set()
        if not waiting:
            return
        current = await self._services.store.read_many(keys)
        await self._commit([p for unit in waiting if (p := self._prepare(unit, current)) is not None])

    def _prepare(self, unit: Unit, current: Mapping[Key, Stored]) -> _Prepared | None:
        """The writes of what is new or changed in `unit`, or None when that is nothing or some of it is refused."""
        changed: list[Resource] = []
        ops: list[WriteOp] = []
        refused: list[tuple[str, Resource, FhirError]] = []
        keys = [_key(r) for r in unit.resources]
        for place, key, resource in zip(unit.places, keys, unit.resources, strict=True):
            stored = current.get(key)
            if stored is not None and _same(stored.body, resource):
                continue
            try:
                if keys.count(key) > 1:
                    raise Conflict(f"{key[0]}/{key[1]} is more than once in one transaction.")
                ops.append(prepare(self._services, "PUT", resource, resource["id"]))
                changed.append(resource)
            except FhirError as error:
                refused.append((place, resource, error))
        for place, resource, reason in refused:
            self._refuse(Refusal(unit.source, place, name_of(resource), reason.issues))
        if refused:
            self._refuse_rest(unit, {place for place, _, _ in refused})
            return None
        self.tally.unchanged += len(unit.resources) - len(ops)
        return _Prepared(unit, tuple(ops), tuple(changed)) if ops else None

    async def _commit(self, prepared: Sequence[_Prepared], last_try: bool = False) -> None:
        """One transaction for all; where it is refused, halves of it, down to the units that are to blame."""
        if not prepared:
            return
        ops = [op for p in prepared for op in p.ops]
        resources = [r for p in prepared for r in p.resources]
        try:
            versions, _ = await commit(self._services, ops, (), resources)
        except Unavailable:
            raise
        except (FhirError, Stale) as error:
            if len(prepared) > 1:
                middle = len(prepared) // 2
                await self._commit(prepared[:middle], last_try)
                await self._commit(prepared[middle:], last_try)
            elif last_try or len(self._deferred) >= MOST_DEFERRED:
                self._refuse_unit(prepared[0].unit, _as_fhir_error(error))
            else:
                self._deferred.append(prepared[0])
            return
        created = sum(v.created for v in versions)
        self.tally.created += created
        self.tally.updated += len(versions) - created

    async def _try_deferred(self) -> None:
        """Try again what was refused for the state of the store: what it needed may have come later in the load."""
        while self._deferred:
            deferred, self._deferred = self._deferred, []
            for prepared in deferred:
                await self._commit([prepared])
            if len(self._deferred) == len(deferred):
                break
        deferred, self._deferred = self._deferred, []
        for prepared in deferred:
            await self._commit([prepared], last_try=True)

    async def _pass_on(self, unit: Unit, bundle: Resource) -> None:
        entries = bundle.get("entry", [])
        try:
            response = await self._bundle_door(bundle)
        except Unavailable:
            raise
        except FhirError as error:
            self._refuse(Refusal(unit.source, unit.places[0], "Bundle", error.issues), len(entries))
            return
        for number, (entry, answer) in enumerate(zip(entries, response.get("entry", []), strict=False), 1):
            status = str(answer.get("response", {}).get("status", ""))[:3]
            if status == "201":
                self.tally.created += 1
            elif status < "300":
                self.tally.updated += 1
            else:
                place = f"{unit.places[0]}, entry {number}".removeprefix(", ")
                issues = _issues_of(answer.get("response", {}).get("outcome", {}), status)
                self._refuse(Refusal(unit.source, place, name_of(entry.get("resource", {})), issues))

    def _refuse_rest(self, unit: Unit, refused: set[str]) -> None:
        """Account for the resources of a transaction that fell with others of it."""
        rest = [(p, r) for p, r in zip(unit.places, unit.resources, strict=True) if p not in refused]
        issue = Issue("error", "processing", "Another entry of its transaction was refused.")
        for place, resource in rest:
            self._refuse(Refusal(unit.source, place, name_of(resource), (issue,)))

    def _refuse_unit(self, unit: Unit, error: FhirError) -> None:
        place = unit.places[0] if len(unit.places) == 1 else f"{unit.places[0]} to {unit.places[-1]}"
        name = name_of(unit.resources[0]) if len(unit.resources) == 1 else "Bundle"
        self._refuse(Refusal(unit.source, place, name, error.issues), len(unit.resources))

    def _refuse(self, refusal: Refusal, resources: int = 1) -> None:
        self.tally.refused += resources
        if len(self.tally.refusals) < MOST_KEPT:
            self.tally.refusals.append(refusal)
        self._on_refusal(refusal)
        if self._strict:
            raise Stopped


def _key(resource: Resource) -> Key:
    return resource["resourceType"], resource["id"]


def _same(body: bytes, resource: Resource) -> bool:
    """Whether the stored text says what `resource` says, but for what the server itself puts into meta."""
    return _comparable(decode(body)) == _comparable(resource)


def _comparable(resource: Resource) -> tuple[bytes, bytes]:
    meta = resource.get("meta")
    own = {k: v for k, v in meta.items() if k not in SERVER_META} if type(meta) is dict else {}
    rest = {k: v for k, v in resource.items() if k not in ("resourceType", "id", "meta")}
    return encode(own), encode(rest)


def _as_fhir_error(error: FhirError | Stale) -> FhirError:
    return (
        error if isinstance(error, FhirError) else Conflict(f"It was changed by another meanwhile: {error}.")
    )


def _issues_of(outcome: Resource, status: str) -> tuple[Issue, ...]:
    found = tuple(
        Issue(
            i.get("severity", "error"),
            i.get("code", "processing"),
            i.get("diagnostics", ""),
            tuple(i.get("expression", ())),
        )
        for i in outcome.get("issue", ())
    )
    return found or (Issue("error", "processing", f"The entry was answered with status {status}."),)
