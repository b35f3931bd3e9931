"""What every store promises about claims: at no instant is more held than there is."""

import asyncio
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.store.memory import MemoryStore
from fhir_server.store.protocol import ClaimRefused
from fhir_server.store.records import Claim
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock, delete, put

HOUR = 3_600_000_000


def at(begin, end, key="bed", **more):
    return Claim(key, interval=(START + begin * HOUR, START + end * HOUR), **more)


async def test_what_is_held_is_refused_and_the_holder_named(store):
    await store.transact([put("1", "Encounter", (Claim("bed"),))])
    with pytest.raises(ClaimRefused) as caught:
        await store.transact([put("0", "Encounter"), put("2", "Encounter", (Claim("bed"),))])
    assert (caught.value.op, caught.value.key, caught.value.holders) == (1, "bed", (("Encounter", "1"),))
    assert await store.read("Encounter", "0") is None


async def test_the_holder_may_write_again(store):
    await store.transact([put("1", claims=(Claim("bed"),))])
    await store.transact([put("1", claims=(Claim("bed"),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("2", claims=(Claim("bed"),))])


async def test_a_new_version_or_a_deletion_releases(store):
    await store.transact([put("1", claims=(Claim("a"), Claim("b")))])
    await store.transact([put("1", claims=(Claim("b"),))])
    await store.transact([put("2", claims=(Claim("a"),))])
    await store.transact([delete("1")])
    await store.transact([put("3", claims=(Claim("b"),))])


async def test_two_holders_change_places_in_one_transaction(store):
    await store.transact([put("1", claims=(Claim("a"),)), put("2", claims=(Claim("b"),))])
    await store.transact([put("1", claims=(Claim("b"),)), put("2", claims=(Claim("a"),))])
    with pytest.raises(ClaimRefused) as caught:
        await store.transact([put("3", claims=(Claim("a"),))])
    assert caught.value.holders == (("Patient", "2"),)


async def test_the_writes_of_one_transaction_can_be_in_each_others_way(store):
    with pytest.raises(ClaimRefused):
        await store.transact([put("1", claims=(Claim("bed"),)), put("2", claims=(Claim("bed"),))])
    assert await store.last_sequence() == 0


async def test_intervals_that_only_touch_do_not_overlap(store):
    await store.transact([put("1", claims=(at(1, 2),)), put("2", claims=(at(2, 3),))])
    with pytest.raises(ClaimRefused) as caught:
        await store.transact([put("3", claims=(at(1, 3),))])
    assert caught.value.holders == (("Patient", "1"),)


async def test_what_counts_is_the_most_that_is_held_at_one_instant(store):
    await store.transact([put("1", claims=(at(1, 3, capacity=Decimal(2)),)), put("2", claims=(at(4, 6),))])
    await store.transact([put("3", claims=(at(2, 5, capacity=Decimal(2)),))])
    with pytest.raises(ClaimRefused) as caught:
        await store.transact([put("4", claims=(at(0, 9, capacity=Decimal(2)),))])
    assert set(caught.value.holders) in (
        {("Patient", "1"), ("Patient", "3")},
        {("Patient", "2"), ("Patient", "3")},
    )


async def test_what_is_held_is_kept_when_others_were_let_in_beside_it(store):
    await store.transact([put("1", claims=(at(1, 3),))])
    await store.transact([put("2", claims=(at(2, 4, capacity=Decimal(2)),))])
    await store.transact([put("1", claims=(at(1, 3),))])
    await store.transact([put("2", claims=(at(2, 3),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("1", claims=(at(1, 4),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("1", claims=(at(1, 3, units=Decimal(2)),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("1", claims=(at(1, 3), at(2, 3)))])


async def test_what_has_expired_is_not_kept(store, clock):
    await store.transact([put("1", claims=(at(1, 3, expires=START + 1_000),))])
    clock.now += 1_000
    await store.transact([put("2", claims=(at(1, 3),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("1", claims=(at(1, 3),))])


async def test_units_are_exact(store):
    tenth = Claim("lot", Decimal("0.1"), Decimal("0.3"))
    await store.transact([put(id, claims=(tenth,)) for id in "123"])
    with pytest.raises(ClaimRefused):
        await store.transact(
            [put("4", claims=(Claim("lot", Decimal("0.000000000000000000000001"), Decimal("0.3")),))]
        )


async def test_what_expired_or_ended_is_not_held(store, clock):
    await store.transact([put("1", claims=(Claim("a", expires=START + 1_000), at(0, 1, "b")))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("2", claims=(Claim("a"),))])
    clock.now += 1_000
    await store.transact([put("2", claims=(Claim("a"),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("3", claims=(Claim("b"),))])
    clock.now = START + HOUR
    await store.transact([put("3", claims=(Claim("b"),))])


async def test_records_of_the_past_claim_nothing(store):
    await store.transact([put(id, claims=(at(-3, -1), Claim("x", expires=START))) for id in "123"])


async def test_a_refused_transaction_releases_nothing(store):
    await store.transact([put("1", claims=(Claim("a"),)), put("2", claims=(Claim("b"),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("1"), put("3", claims=(Claim("b"),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("4", claims=(Claim("a"),))])


claims = st.builds(
    Claim,
    st.sampled_from(["a", "b"]),
    st.sampled_from([Decimal(1), Decimal("0.5"), Decimal(2)]),
    st.sampled_from([Decimal(1), Decimal(2)]),
    st.none()
    | st.tuples(st.integers(-1, 3), st.integers(1, 3)).map(
        lambda p: (START + p[0] * 1000, START + sum(p) * 1000)
    ),
    st.none() | st.integers(-1, 4).map(lambda n: START + n * 1000),
)
steps = st.lists(
    st.lists(
        st.tuples(st.sampled_from("1234"), st.none() | st.lists(claims, max_size=2).map(tuple)),
        min_size=1,
        max_size=3,
        unique_by=lambda step: step[0],
    ),
    max_size=8,
)


async def outcome(store, step):
    ops = [delete(id) if held is None else put(id, claims=held) for id, held in step]
    try:
        return await store.transact(ops)
    except ClaimRefused as refused:
        return refused.op, refused.key


async def both(written):
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        reference, store = MemoryStore(clock), SqliteStore(Path(folder) / "store.db", clock, readers=1)
        await store.open()
        try:
            for step in written:
                assert await outcome(store, step) == await outcome(reference, step)
                clock.now += 500
        finally:
            await store.close()


async def both_at_once(written):
    """The same, with all transactions waiting together, so that they are written in one group."""
    with tempfile.TemporaryDirectory() as folder:
        reference, store = MemoryStore(Clock()), SqliteStore(Path(folder) / "store.db", Clock(), readers=1)
        await store.open()
        try:
            found = await asyncio.gather(*(outcome(store, step) for step in written))
            assert found == [await outcome(reference, step) for step in written]
        finally:
            await store.close()


@given(steps)
@settings(max_examples=60, deadline=None)
def test_claims_are_judged_as_the_reference_store_judges_them(written):
    asyncio.run(both(written))


@given(steps)
@settings(max_examples=40, deadline=None)
def test_transactions_of_a_group_are_judged_one_after_the_other(written):
    asyncio.run(both_at_once(written))
