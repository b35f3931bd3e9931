"""The judge of the kills finds each kind of damage, and finds nothing where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.evidence import History, faults, gaps, repeated_keys, wrong_current
from tests.scenarios.journal import KEYS, MARKS, Resource, Version, Write, mark_of


def observation(mark: str, **members: Any) -> Resource:
    return {"resourceType": "Observation", "identifier": [{"system": MARKS, "value": mark}], **members}


def history_of(*versions: tuple[Version, Resource | None]) -> History:
    history = History()
    for version, resource in versions:
        history.versions[version] = resource
        mark = None if resource is None else mark_of(resource)
        if mark is not None:
            history.marks[mark].append(version)
    return history


FIRST: Version = ("Observation", "a", 1)
SECOND: Version = ("Observation", "b", 1)


def created(mark: str, *acknowledged: Version) -> Write:
    return Write("create", {mark: observation(mark)}, acknowledged=list(acknowledged) or None)


@pytest.mark.parametrize(
    ("write", "history"),
    [
        pytest.param(created("m1", FIRST), history_of(), id="lost"),
        pytest.param(
            created("m1", FIRST), history_of((FIRST, observation("m2"))), id="another one in its place"
        ),
        pytest.param(
            created("m1", FIRST), history_of((FIRST, observation("m1", status="x"))), id="other content"
        ),
        pytest.param(
            created("m1"),
            history_of((FIRST, observation("m1")), (SECOND, observation("m1"))),
            id="written twice",
        ),
        pytest.param(
            Write("transaction", {"m1": observation("m1"), "m2": observation("m2")}),
            history_of((FIRST, observation("m1"))),
            id="half-written",
        ),
        pytest.param(
            Write("delete", {}, acknowledged=[FIRST]),
            history_of((FIRST, observation("m1"))),
            id="deletion lost",
        ),
    ],
)
def test_damage_is_found(write: Write, history: History) -> None:
    assert list(faults(write, history))


@pytest.mark.parametrize(
    ("write", "history"),
    [
        pytest.param(
            created("m1", FIRST), history_of((FIRST, observation("m1"))), id="acknowledged and there"
        ),
        pytest.param(created("m1"), history_of((FIRST, observation("m1"))), id="not acknowledged, yet there"),
        pytest.param(created("m1"), history_of(), id="neither acknowledged nor there"),
        pytest.param(Write("delete", {}, acknowledged=[FIRST]), history_of((FIRST, None)), id="deleted"),
    ],
)
def test_what_is_in_order_is_no_damage(write: Write, history: History) -> None:
    assert list(faults(write, history)) == []


def test_a_missing_version_is_found() -> None:
    assert list(gaps(history_of((("Observation", "a", 3), observation("m3")), (FIRST, observation("m1")))))
    assert not list(gaps(history_of((("Observation", "a", 2), None), (FIRST, observation("m1")))))


def test_a_read_that_is_behind_the_history_is_found() -> None:
    history = history_of((("Observation", "a", 2), observation("m2")), (FIRST, observation("m1")))
    assert list(wrong_current(history, {("Observation", "a"): (200, 1)}))
    assert list(wrong_current(history, {("Observation", "a"): (404, 0)}))
    assert not list(wrong_current(history, {("Observation", "a"): (200, 2)}))


def test_a_key_that_two_resources_have_is_found() -> None:
    keyed = {"resourceType": "Organization", "identifier": [{"system": KEYS, "value": "k1"}]}
    assert list(repeated_keys(history_of((FIRST, keyed), (SECOND, keyed))))
    assert not list(repeated_keys(history_of((FIRST, keyed), (("Observation", "a", 2), keyed))))
