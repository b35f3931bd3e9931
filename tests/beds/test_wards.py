"""Ward rules, one by one: which patient suits which bed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.resources.beds.wards import (
    Needs,
    Room,
    Rules,
    Situation,
    needs_of,
    rules_of,
    tokens,
    violations,
)
from tests.beds.ward import concept, patient, place, rules, years

TODAY = date(2026, 11, 30)


def broken(needs: Needs, bed: Situation) -> list[str]:
    return [v.rule for v in violations(needs, bed, TODAY)]


def of(**told: object) -> Situation:
    return Situation(rules=Rules(**told))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "rule"),
    [("H", "bed-not-ready"), ("K", "bed-contaminated"), ("C", "bed-closed"), ("I", "bed-isolated")],
)
def test_a_bed_that_is_not_free_is_told_apart(code: str, rule: str) -> None:
    assert broken(Needs(), Situation(code)) == [rule]
    assert broken(Needs(), Situation("U")) == broken(Needs(), Situation("O")) == []


@pytest.mark.parametrize(
    ("policy", "gender", "suits"),
    [
        ("female", "female", True),
        ("female", "male", False),
        ("female", None, False),
        ("male", "other", False),
        ("mixed", "other", True),
        (None, None, True),
    ],
)
def test_wards_of_a_gender(policy: str | None, gender: str | None, suits: bool) -> None:
    assert (broken(Needs(gender), of(gender=policy)) == []) is suits


def test_rooms_of_a_gender_ask_those_who_lie_there() -> None:
    room = Situation(rules=Rules("by-room"), room=Room(4, (Needs("female"), Needs("female"))))
    assert broken(Needs("female"), room) == []
    assert broken(Needs("male"), room) == ["gender-policy"]
    assert broken(Needs("male"), replace(room, room=Room(4))) == []


@pytest.mark.parametrize(
    ("born", "suits"),
    [
        (TODAY.replace(year=2010), True),
        (TODAY.replace(year=2010) + timedelta(days=1), True),
        (TODAY.replace(year=2008), False),
        (TODAY.replace(year=2008) + timedelta(days=1), True),
        (TODAY.replace(year=2020) + timedelta(days=1), False),
        (TODAY.replace(year=2020), True),
        (None, False),
    ],
)
def test_ages_from_and_below(born: date | None, suits: bool) -> None:
    ward = of(minimum_age=years(6), maximum_age=years(18))
    assert (broken(Needs(born=born), ward) == []) is suits


@pytest.mark.parametrize(
    ("age", "first_day"),
    [
        ({"value": 28, "code": "d"}, date(2026, 2, 26)),
        ({"value": 2, "code": "wk"}, date(2026, 2, 12)),
        ({"value": 1, "code": "mo"}, date(2026, 3, 1)),
        ({"value": 1, "code": "a"}, date(2027, 1, 29)),
    ],
)
def test_ages_in_days_weeks_months_and_years(age: dict, first_day: date) -> None:
    needs = Needs(born=date(2026, 1, 29))
    ward = of(minimum_age=age)
    assert violations(needs, ward, first_day - timedelta(days=1))
    assert violations(needs, ward, first_day) == ()


def test_who_was_born_on_a_leap_day_is_a_year_older_on_the_first_of_march() -> None:
    needs, ward = Needs(born=date(2024, 2, 29)), of(minimum_age=years(1))
    assert violations(needs, ward, date(2025, 2, 28))
    assert violations(needs, ward, date(2025, 3, 1)) == ()


def test_isolation_needs_a_room_that_can() -> None:
    contact = Needs(isolation=frozenset({"contact"}), organism=frozenset({"mrsa"}))
    air = Needs(isolation=frozenset({"airborne"}))
    shared = Situation(room=Room(2, (Needs(),)))
    assert broken(contact, shared) == broken(air, shared) == ["isolation"]
    assert broken(contact, Situation(room=Room(2, (contact,)))) == []
    assert broken(contact, Situation(room=Room(2, (replace(contact, organism=frozenset({"vre"})),)))) == [
        "isolation"
    ]
    assert broken(contact, Situation(room=Room(2))) == []
    assert broken(air, Situation(room=Room(2))) == ["isolation"]
    assert broken(air, Situation(room=Room(1))) == []
    assert broken(air, of(isolation=frozenset({"contact"}))) == ["isolation"]
    assert broken(contact, Situation("I", room=Room(2, (contact,)))) == []


def test_specialty_equipment_and_weight() -> None:
    ward = of(
        specialty=frozenset({"s|heart"}), equipment=frozenset({"e|monitor"}), maximum_weight=Decimal(150)
    )
    assert broken(Needs(), ward) == []
    assert broken(Needs(specialty=frozenset({"s|skin"})), ward) == ["specialty"]
    assert broken(Needs(specialty=frozenset({"s|skin", "s|heart"})), ward) == []
    assert broken(Needs(equipment=frozenset({"e|monitor", "e|pump"})), ward) == ["equipment"]
    assert broken(Needs(weight=Decimal("150.5")), ward) == ["weight"]


def test_rules_are_read_from_the_extension() -> None:
    told = rules(
        gender="female",
        minimum_age=years(18),
        isolation=["contact", "airborne"],
        specialty=concept("Heart", "heart"),
        equipment=concept("Monitor"),
        maximum_weight={"value": 180, "code": "kg"},
    )
    assert rules_of(place("w", "wa", extension=[told])) == Rules(
        "female",
        years(18),
        None,
        frozenset({"contact", "airborne"}),
        frozenset({"urn:test|heart"}),
        frozenset({"Monitor"}),
        Decimal(180),
    )
    assert rules_of(place("w", "wa")) == Rules()
    assert rules_of(place("w", "wa", extension=[rules(isolation="none")])).isolation == frozenset()


def test_needs_are_of_the_patient_and_the_stay() -> None:
    stay = {"serviceType": concept("Heart", "heart")}
    needs = needs_of(stay, patient("p", "male", "1980-05"))
    assert needs == Needs("male", date(1980, 5, 1), specialty=frozenset({"urn:test|heart"}))
    assert tokens([{"text": "free"}, {"coding": [{"code": "x"}], "text": "y"}]) == {"free", "|x"}


kinds = st.sampled_from([None, "female", "male", "mixed", "by-room"])
sets = st.frozensets(st.sampled_from(["a", "b"]), max_size=2)
some_rules = st.builds(Rules, gender=kinds, specialty=st.none() | sets, equipment=sets)


@settings(max_examples=60)
@given(some_rules, some_rules, some_rules)
def test_rules_come_from_the_nearest_place_however_they_are_put_together(
    a: Rules, b: Rules, c: Rules
) -> None:
    assert a.below(b).below(c) == a.below(b.below(c))
    assert a.below(a) == a.below(Rules()) == Rules().below(a) == a


@settings(max_examples=60)
@given(
    some_rules,
    st.builds(Needs, gender=st.sampled_from([None, "female", "male"]), specialty=sets, equipment=sets),
)
def test_a_place_without_rules_breaks_none_that_another_keeps(rules_: Rules, needs: Needs) -> None:
    without_equipment = replace(needs, equipment=frozenset())
    assert broken(without_equipment, Situation()) == []
    assert set(broken(without_equipment, Situation(rules=rules_))) <= {"gender-policy", "specialty"}
