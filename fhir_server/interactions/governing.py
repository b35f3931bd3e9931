"""Judge the changes of a commit by the manners of their types, before the store sees them.

Every write passes here, from whatever door it came. What was looked at becomes a precondition of the commit, so a judgement
that others have overtaken is made anew. An invariant to keep: types without manners cost one look into a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from fhir_r4.errors import BusinessRule, Issue
from fhir_r4.jsonio import decode_written
from fhir_server.context import Actor, Resource, Services
from fhir_server.resources.change import Change, Consequence
from fhir_server.resources.manners import MANNERS
from fhir_server.search.match import Candidate, NoLookup, matches
from fhir_server.search.tree import Expression
from fhir_server.store.records import MatchesAre, Method, Precondition, VersionIs, WriteOp

Key = tuple[str, str]
# makes the write of a resource under its id: `writing.prepare`
Prepare = Callable[[Services, Method, Resource, str], WriteOp]

# a resource that is to be judged more often than this follows from itself: a mistake in the manners
MOST_TIMES = 8


def governed(ops: Sequence[WriteOp]) -> bool:
    """Whether any of the writes is of a type that has manners."""
    return any(op.type in MANNERS for op in ops)


def resource_of(op: WriteOp) -> Resource | None:
    """The resource that a write leaves behind, without version and time; None for a deletion."""
    return None if op.body is None else decode_written(op.body.before + b'"versionId":"0"' + op.body.after)


async def govern(
    services: Services,
    ops: Sequence[WriteOp],
    prepare: Prepare,
    actor: Actor | None = None,
    seen: Plan | None = None,
) -> tuple[tuple[WriteOp, ...], tuple[Precondition, ...], tuple[Issue, ...]]:
    """The writes with their claims and consequences, those that were asked for first, what must still hold, and warnings.

    `actor` is who asks, None for the server itself. `seen` has read some of the resources already; its preconditions are those of
    the commit too. Raises what a manner raises.
    """
    plan = Plan(services, ops, seen)
    await plan.read_before()
    # what was asked for and waits to be judged, in this order; then what follows
    asked = sorted(
        ((op.type, op.id) for op in ops if op.type in MANNERS), key=lambda key: MANNERS[key[0]].first
    )
    waiting: dict[Key, bool] = dict.fromkeys(asked, False)
    judged: Counter[Key] = Counter()
    warnings: dict[Key, tuple[Issue, ...]] = {}
    while waiting:
        key = next(iter(waiting))
        derived = waiting.pop(key)
        judged[key] += 1
        if judged[key] > MOST_TIMES:
            raise BusinessRule("What follows from this write does not come to an end.")
        consequence = await _judge(plan, key, derived, actor)
        plan.take(key, consequence, prepare)
        warnings[key] = consequence.warnings
        for resource in consequence.writes:
            other = resource["resourceType"], resource["id"]
            if plan.put(other, resource, prepare) and other[0] in MANNERS:
                waiting.setdefault(other, True)
    return plan.writes, plan.preconditions, tuple(w for told in warnings.values() for w in told)


async def _judge(plan: Plan, key: Key, derived: bool, actor: Actor | None) -> Consequence:
    op = plan.ops[key]
    before = None if op.fresh else await plan.before(*key)
    change = Change(op.type, op.id, op.method, before, plan.after(key), derived, None if derived else actor)
    return await MANNERS[op.type].judge(change, plan, plan.services)


class Plan:
    """The writes of a commit and what was looked at to judge them: what `Known` promises."""

    def __init__(self, services: Services, ops: Sequence[WriteOp], seen: Plan | None = None) -> None:
        self.services = services
        self.ops: dict[Key, WriteOp] = {(op.type, op.id): op for op in ops}
        self._after: dict[Key, Resource | None] = {}
        self._before: dict[Key, Resource | None] = {} if seen is None else dict(seen._before)
        self._versions: dict[Key, int | None] = {} if seen is None else dict(seen._versions)
        self._looked_at: dict[Precondition, None] = {}

    @cached_property
    def now(self) -> int:
        return self.services.clock()

    @property
    def writes(self) -> tuple[WriteOp, ...]:
        return tuple(self.ops.values())

    @property
    def preconditions(self) -> tuple[Precondition, ...]:
        return tuple(self._looked_at)

    def after(self, key: Key) -> Resource | None:
        """The resource as this commit leaves it behind, for a key that it writes."""
        if key not in self._after:
            self._after[key] = resource_of(self.ops[key])
        return self._after[key]

    async def before(self, type: str, id: str) -> Resource | None:
        """The resource as it is without this commit."""
        key = type, id
        if key not in self._before:
            await self._read((key,))
        return self._before[key]

    async def current(self, type: str, id: str) -> Resource | None:
        key = type, id
        return self.after(key) if key in self.ops else await self.before(type, id)

    async def ahead(self, type: str, ids: Collection[str]) -> None:
        keys = [(type, id) for id in ids]
        await self._read([key for key in keys if key not in self.ops and key not in self._before])

    async def read_before(self) -> None:
        """Read at once what the writes that may be judged find there."""
        kept = [k for k, op in self.ops.items() if k[0] in MANNERS and not op.fresh and k not in self._before]
        if len(kept) > 1:
            await self._read(kept)

    async def version(self, type: str, id: str) -> int | None:
        """The number of the current version without this commit; None when the resource does not exist."""
        await self.before(type, id)
        return self._versions[type, id]

    async def last_version(self, type: str, id: str) -> int:
        """The number of the last version, also of a resource that is deleted; 0 when there never was one."""
        found = await self.version(type, id)
        if found is not None:
            return found
        stored = await self.services.store.read(type, id)
        return 0 if stored is None else stored.version

    async def find(self, type: str, where: Expression, most: int = 100) -> list[Resource]:
        ids = await self.services.store.matching_ids(type, where, most + 1)
        if len(ids) > most:
            raise BusinessRule(f"More than {most} {type} would have to be looked at.")
        self._looked_at[MatchesAre(type, where, ids, most + 1)] = None
        keys = [(type, id) for id in ids if (type, id) not in self.ops]
        await self._read([key for key in keys if key not in self._before])
        found = [self._before[key] for key in keys]
        own = [self.after(key) for key in self.ops if key[0] == type]
        return [r for r in found if r is not None] + [
            r for r in own if r is not None and self._holds(where, r)
        ]

    def take(self, key: Key, consequence: Consequence, prepare: Prepare) -> None:
        """Give a write the claims that were found, and the resource that takes the place of what was sent."""
        op = self.ops[key]
        if consequence.resource is not None:
            op = replace(prepare(self.services, op.method, consequence.resource, op.id), fresh=op.fresh)
            self._after[key] = consequence.resource
        self.ops[key] = replace(op, claims=op.claims + consequence.claims)

    def put(self, key: Key, resource: Resource, prepare: Prepare) -> bool:
        """Write what follows besides; False when it would be as it is already."""
        known = self.after(key) if key in self.ops else self._before.get(key)
        if known is not None and _same(known, resource):
            return False
        method = self.ops[key].method if key in self.ops else "PUT"
        self.ops[key] = prepare(self.services, method, resource, key[1])
        self._after[key] = resource
        return True

    async def _read(self, keys: Collection[Key]) -> None:
        found = await self.services.store.read_many(keys)
        for type, id in keys:
            stored = found.get((type, id))
            self._before[type, id] = None if stored is None else decode_written(stored.body)
            self._versions[type, id] = version = None if stored is None else stored.version
            self._looked_at[VersionIs(type, id, version)] = None

    def _holds(self, where: Expression, resource: Resource) -> bool:
        entries = self.services.extractor.extract(resource)
        candidate = Candidate(resource["resourceType"], resource["id"], self.now, 0, entries)
        return matches(where, candidate, NoLookup())


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two states of a resource differ in nothing but their meta."""
    return {k: v for k, v in one.items() if k != "meta"} == {k: v for k, v in other.items() if k != "meta"}
