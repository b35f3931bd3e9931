"""Ids of proposed Appointments say what they propose and cannot be made up."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.temporal import MINUTE, SECOND
from fhir_server.resources.scheduling.proposals import Part, Proposal, read_proposal, sign

KEY = b"a key"
ONE = Proposal(1_780_000_000 * SECOND, 30 * MINUTE, (Part(4711, 0, 30 * MINUTE),))

seconds = st.integers(0, 10**5).map(lambda s: s * SECOND)
proposals = st.builds(
    Proposal,
    start=st.integers(0, 2**33).map(lambda s: s * SECOND),
    duration=seconds,
    parts=st.lists(st.builds(Part, st.integers(1, 2**40), seconds, seconds), max_size=3).map(tuple),
    service=st.integers(0, 2**30),
    slot=st.integers(0, 2**30),
)


@given(proposals, st.binary(max_size=40))
@settings(max_examples=200)
def test_an_id_gives_back_its_proposal(proposal: Proposal, key: bytes):
    id = sign(proposal, key)
    if id is not None:
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", id)
        assert read_proposal(id, key) == proposal


def test_six_schedules_of_a_large_hospital_fit_into_an_id():
    parts = tuple(Part(10_000_000 + n, 0, 30 * MINUTE) for n in range(6))
    assert sign(Proposal(ONE.start, ONE.duration, parts), KEY) is not None


def test_what_does_not_fit_has_no_id():
    parts = tuple(Part(10_000_000 + n, n * MINUTE, MINUTE) for n in range(12))
    assert sign(Proposal(ONE.start, ONE.duration, parts), KEY) is None


def test_an_id_of_another_key_is_none():
    id = sign(ONE, b"another key")
    assert id is not None
    assert read_proposal(id, KEY) is None


@given(st.integers(2, 63), st.sampled_from("abcXYZ019-."))
@settings(max_examples=100)
def test_a_changed_id_is_none_or_the_same_proposal(place: int, letter: str):
    id = sign(ONE, KEY)
    assert id is not None
    place %= len(id)
    changed = id[:place] + letter + id[place + 1 :]
    assert read_proposal(changed, KEY) in (None, ONE)
    assert (read_proposal(changed[:place], KEY) is None) or changed[:place] == id


@given(st.text(max_size=70))
def test_any_text_is_read_without_error(text: str):
    assert read_proposal(text, KEY) is None
    assert read_proposal("p." + text, KEY) is None
