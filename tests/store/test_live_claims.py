"""What every store tells of live claims: the same by which it judges new ones."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.store.memory import MemoryStore
from fhir_server.store.protocol import ClaimRefused
from fhir_server.store.records import Claim, Claiming
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock, delete, put

ONE = Decimal(1)
DAY = (START, START + 1000)


def at(low, high, key="time", **more):
    return Claim(key, interval=(START + low, START + high), **more)


async def told(store, *keys, interval=DAY, without=()):
    found = await store.claims(keys, interval, without)
    return {
        key: sorted((units, low - START, high - START) for units, low, high in held)
        for key, held in found.items()
    }


async def test_claims_are_told_by_key_and_whole(store):
    await store.transact(
        [put("1", claims=(at(0, 10), at(20, 30), at(20, 30, key="other", units=Decimal("0.5"))))]
    )
    assert await told(store, "time", "other", "none") == {
        "time": [(ONE, 0, 10), (ONE, 20, 30)],
        "other": [(Decimal("0.5"), 20, 30)],
        "none": [],
    }
    assert await told(store, "time", interval=(START + 10, START + 20)) == {"time": []}
    assert await told(store, "time", interval=(START + 9, START + 21)) == {
        "time": [(ONE, 0, 10), (ONE, 20, 30)]
    }


async def test_what_has_expired_or_ended_is_not_told(store, clock):
    await store.transact([put("1", claims=(at(0, 5000), at(6000, 9000, expires=START + 3000)))])
    day = (START, START + 10_000)
    assert await told(store, "time", interval=day) == {"time": [(ONE, 0, 5000), (ONE, 6000, 9000)]}
    clock.now = START + 2999
    assert len((await told(store, "time", interval=day))["time"]) == 2
    clock.now = START + 3000
    assert await told(store, "time", interval=day) == {"time": [(ONE, 0, 5000)]}
    clock.now = START + 5000
    assert await told(store, "time", interval=day) == {"time": []}


async def test_claims_for_always_hold_all_of_the_interval(store):
    await store.transact([put("1", claims=(Claim("time"),))])
    assert await told(store, "time") == {"time": [(ONE, 0, 1000)]}
    assert await told(store, "time", interval=(START - 10, START)) == {"time": []}


async def test_claims_of_some_resources_are_left_out(store):
    await store.transact([put("1", "Appointment", (at(0, 10),)), put("2", "Appointment", (at(20, 30),))])
    assert await told(store, "time", without=[("Appointment", "1"), ("Appointment", "x")]) == {
        "time": [(ONE, 20, 30)]
    }
    await store.transact([delete("2", "Appointment")])
    assert await told(store, "time") == {"time": [(ONE, 0, 10)]}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.none() | st.tuples(st.integers(0, 8000), st.integers(1, 4000)),
            st.none() | st.integers(0, 8000),
        ),
        max_size=8,
    ),
    st.integers(0, 8),
    st.tuples(st.integers(0, 8000), st.integers(1, 8000)),
)
@settings(max_examples=40, deadline=None)
async def test_both_stores_tell_the_same(tmp_path_factory, claims, later, asked):
    clock = Clock()
    path = tmp_path_factory.mktemp("claims") / "store.db"
    stores = (MemoryStore(clock), SqliteStore(path, clock, readers=1))
    interval = START + asked[0], START + asked[0] + asked[1]
    answers = []
    for store in stores:
        clock.now = START
        await store.open()
        try:
            ops = [
                put(
                    str(n),
                    claims=(
                        Claim(
                            key,
                            capacity=Decimal(100),
                            interval=None if span is None else (START + span[0], START + span[0] + span[1]),
                            expires=None if expires is None else START + expires,
                        ),
                    ),
                )
                for n, (key, span, expires) in enumerate(claims)
            ]
            if ops:
                await store.transact(ops)
            clock.now = START + later * 1000
            answers.append(await told(store, "a", "b", interval=interval))
        finally:
            await store.close()
    assert answers[0] == answers[1]


async def test_claims_are_made_anew_without_a_version(store):
    (kept, changed) = await store.transact([put("1", claims=(at(0, 10),)), put("2", claims=(at(20, 30),))])
    wanted = [
        Claiming(kept.type, "1", kept.sequence, (at(0, 10),)),
        Claiming(changed.type, "2", changed.sequence, (at(5, 8), at(40, 50, key="other"))),
    ]
    assert await store.reclaim(wanted) == 1
    assert await store.reclaim(wanted) == 0
    assert await told(store, "time", "other") == {
        "time": [(ONE, 0, 10), (ONE, 5, 8)],
        "other": [(ONE, 40, 50)],
    }
    assert await store.last_sequence() == changed.sequence
    # what was written since keeps what it claims; what was made anew is replaced by the next write, and judged
    await store.transact([put("1", claims=(at(60, 70),))])
    assert await store.reclaim(wanted[:1]) == 0
    with pytest.raises(ClaimRefused):
        await store.transact([put("3", claims=(at(45, 46, key="other"),))])
    await store.transact([delete("2")])
    assert await told(store, "time", "other") == {"time": [(ONE, 60, 70)], "other": []}
