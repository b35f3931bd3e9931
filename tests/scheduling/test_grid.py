"""Hours are wall times, instances are instants: changes of the clock, nights, holidays and recurrences."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4.errors import BusinessRule
from fhir_r4.temporal import DAY, HOUR, MINUTE, parse_interval
from fhir_server.resources.scheduling.availability import free_on_grid
from fhir_server.resources.scheduling.grid import calendar
from fhir_server.resources.scheduling.hours import Hours, Opening
from fhir_server.resources.scheduling.recurrence import Recurrence, public_holidays, recurring_days
from fhir_server.resources.scheduling.rules import RULES, ScheduleRules, schedule_rules
from fhir_server.resources.scheduling.zones import format_local, instant_at, instants_of, midnight, wall_at

BERLIN = "Europe/Berlin"
SPRING, AUTUMN = "2026-03-29", "2026-10-25"
EVERY_DAY = tuple(range(7))


def at(text: str) -> int:
    return parse_interval(text, BERLIN)[0]


def whole_day(day: str) -> tuple[int, int]:
    return parse_interval(day, BERLIN)


def daily(low: int, high: int, **rules) -> ScheduleRules:
    hours = Hours((Opening(tuple((day, low, high) for day in EVERY_DAY)),))
    return ScheduleRules("1", ("Practitioner/1",), zone=BERLIN, hours=hours, **rules)


def starts(rules: ScheduleRules, period: tuple[int, int], duration: int) -> list[str]:
    runs = free_on_grid(rules, period, duration, [], now=0)
    return [format_local(start, BERLIN) for run in runs for start in run]


def test_an_hour_after_half_past_one_on_the_spring_night_is_half_past_three():
    start = instant_at(midnight(date(2026, 3, 29)) + 90 * MINUTE, BERLIN)
    assert format_local(start + HOUR, BERLIN) == "2026-03-29T03:30:00+02:00"


def test_half_past_two_is_twice_in_autumn_and_never_in_spring():
    autumn = midnight(date(2026, 10, 25)) + 150 * MINUTE
    first, second = instants_of(autumn, BERLIN)
    assert second - first == HOUR
    assert instants_of(midnight(date(2026, 3, 29)) + 150 * MINUTE, BERLIN) == ()


def test_a_time_that_the_clocks_skip_means_the_moment_they_skip_it():
    wall = midnight(date(2026, 3, 29)) + 150 * MINUTE
    assert format_local(instant_at(wall, BERLIN), BERLIN) == "2026-03-29T03:00:00+02:00"


def test_a_weekly_clinic_at_nine_stays_at_nine_over_the_change_of_the_clock():
    hours = Hours((Opening(((0, 9 * HOUR, 10 * HOUR),)),))
    rules = ScheduleRules("1", (), zone=BERLIN, hours=hours, step=HOUR)
    found = starts(rules, (at("2026-03-20"), at("2026-04-01")), HOUR)
    assert found == ["2026-03-23T09:00:00+01:00", "2026-03-30T09:00:00+02:00"]
    assert [t - at("2026-03-23") for t in map(at, found)] == [9 * HOUR, 7 * DAY + 8 * HOUR]


def test_starts_that_the_clocks_skip_are_left_out():
    found = starts(daily(HOUR, 4 * HOUR, step=30 * MINUTE), whole_day(SPRING), 30 * MINUTE)
    assert [t[11:16] for t in found] == ["01:00", "01:30", "03:00", "03:30"]


def test_starts_that_the_clocks_show_twice_are_offered_once():
    found = starts(daily(HOUR, 4 * HOUR, step=30 * MINUTE), whole_day(AUTUMN), 30 * MINUTE)
    assert [t[11:] for t in found] == [
        "01:00:00+02:00",
        "01:30:00+02:00",
        "02:00:00+02:00",
        "02:30:00+02:00",
        "03:00:00+01:00",
        "03:30:00+01:00",
    ]


def test_starts_that_the_clocks_show_twice_are_offered_twice_where_the_rules_say_so():
    found = starts(
        daily(2 * HOUR, 3 * HOUR, step=30 * MINUTE, both_folds=True), whole_day(AUTUMN), 30 * MINUTE
    )
    assert [t[11:] for t in found] == ["02:00:00+02:00", "02:30:00+02:00", "02:00:00+01:00", "02:30:00+01:00"]


@pytest.mark.parametrize(
    ("day", "length", "once", "both"),
    [(SPRING, 23, 23, 23), (AUTUMN, 25, 24, 25), ("2026-06-01", 24, 24, 24)],
)
def test_a_day_is_as_long_as_it_is(day: str, length: int, once: int, both: int):
    low, high = whole_day(day)
    assert high - low == length * HOUR
    for fold, count in ((False, once), (True, both)):
        rules = daily(0, DAY, step=HOUR, both_folds=fold)
        opened = calendar(rules, low, high).open
        assert any(begin <= low and end >= high for begin, end in opened)
        assert len(starts(rules, (low, high), HOUR)) == count


def test_a_night_shift_over_the_change_lasts_as_long_as_it_does():
    rules = daily(22 * HOUR, 30 * HOUR, step=HOUR)
    for evening, hours in (("2026-03-28", 7), ("2026-10-24", 9), ("2026-06-01", 8)):
        low = at(f"{evening}T22:00")
        assert (low, low + hours * HOUR) in calendar(rules, low, low + DAY).open


def test_a_booking_over_midnight_is_offered_where_hours_go_over_it():
    found = starts(
        daily(22 * HOUR, 26 * HOUR, step=HOUR), (at("2026-06-01T12:00"), at("2026-06-02T12:00")), 2 * HOUR
    )
    assert [t[:16] for t in found] == ["2026-06-01T22:00", "2026-06-01T23:00", "2026-06-02T00:00"]


def test_a_booking_over_midnight_is_offered_where_two_whole_days_touch():
    found = starts(daily(0, DAY, step=HOUR), (at("2026-06-01T23:00"), at("2026-06-02T01:00")), 2 * HOUR)
    assert [t[:16] for t in found] == ["2026-06-01T23:00"]


def test_the_end_of_a_shift_may_be_midnight():
    role = {
        "resourceType": "PractitionerRole",
        "id": "1",
        "availableTime": [
            {"daysOfWeek": ["mon"], "availableStartTime": "22:00:00", "availableEndTime": "00:00:00"},
            {"daysOfWeek": ["wed"], "availableStartTime": "23:00:00", "availableEndTime": "01:00:00"},
            {"daysOfWeek": ["fri"], "allDay": True},
        ],
    }
    schedule = {"resourceType": "Schedule", "id": "1", "actor": [{"reference": "PractitionerRole/1"}]}
    rules = schedule_rules(schedule, {"PractitionerRole/1": role}, BERLIN)
    opened = calendar(rules, at("2026-06-01"), at("2026-06-06")).open
    assert [(format_local(a, BERLIN)[:16], (b - a) // HOUR) for a, b in opened if b > at("2026-06-01")] == [
        ("2026-06-01T22:00", 2),
        ("2026-06-03T23:00", 2),
        ("2026-06-05T00:00", 24),
    ]


def test_what_is_open_is_open_in_every_source_and_in_no_absence():
    related = {
        "PractitionerRole/1": {
            "resourceType": "PractitionerRole",
            "id": "1",
            "availableTime": [{"availableStartTime": "08:00:00", "availableEndTime": "16:00:00"}],
            "location": [{"reference": "Location/1"}],
            "notAvailable": [
                {"description": "leave", "during": {"start": "2026-06-02", "end": "2026-06-03"}}
            ],
        },
        "Location/1": {
            "resourceType": "Location",
            "id": "1",
            "hoursOfOperation": [
                {
                    "daysOfWeek": ["mon", "tue", "wed", "thu"],
                    "openingTime": "09:00:00",
                    "closingTime": "18:00:00",
                }
            ],
        },
    }
    schedule = {"resourceType": "Schedule", "id": "1", "actor": [{"reference": "PractitionerRole/1"}]}
    rules = schedule_rules(schedule, related, BERLIN)
    opened = [i for i in calendar(rules, at("2026-06-01"), at("2026-06-06")).open if i[1] > at("2026-06-01")]
    assert opened == [
        (at("2026-06-01T09:00"), at("2026-06-01T16:00")),
        (at("2026-06-04T09:00"), at("2026-06-04T16:00")),
    ]


def test_of_several_services_the_one_that_is_asked_for_binds():
    role = {
        "resourceType": "PractitionerRole",
        "id": "1",
        "availableTime": [{"availableStartTime": "08:00:00", "availableEndTime": "16:00:00"}],
        "healthcareService": [{"reference": "HealthcareService/a"}, {"reference": "HealthcareService/b"}],
    }

    def service(id: str, start: str, minutes: int) -> dict:
        duration = {"url": "duration", "valueDuration": {"value": minutes, "code": "min"}}
        return {
            "resourceType": "HealthcareService",
            "id": id,
            "extension": [{"url": RULES, "extension": [duration]}],
            "availableTime": [{"availableStartTime": start, "availableEndTime": "18:00:00"}],
        }

    related = {
        "PractitionerRole/1": role,
        "HealthcareService/a": service("a", "10:00:00", 20),
        "HealthcareService/b": service("b", "12:00:00", 45),
    }
    schedule = {"resourceType": "Schedule", "id": "1", "actor": [{"reference": "PractitionerRole/1"}]}
    day = at("2026-06-01T07:00"), at("2026-06-01T19:00")
    for asked, start, minutes in (
        (None, "08", 30),
        ("HealthcareService/a", "10", 20),
        ("HealthcareService/b", "12", 45),
    ):
        rules = schedule_rules(schedule, related, BERLIN, asked)
        assert rules.duration == minutes * MINUTE
        assert (at(f"2026-06-01T{start}:00"), at("2026-06-01T16:00")) in calendar(rules, *day).open


def rules_extension(*parts: dict) -> dict:
    return {
        "resourceType": "Schedule",
        "id": "1",
        "actor": [{"reference": "Practitioner/1"}],
        "extension": [{"url": RULES, "extension": list(parts)}],
    }


def recurring(**values: str) -> dict:
    kinds = {"rule": "valueString", "first": "valueDate", "start": "valueTime", "end": "valueTime"}
    parts = [{"url": name, kinds[name]: value} for name, value in values.items()]
    return {"url": "recurrence", "extension": [*parts, {"url": "except", "valueDate": "2026-06-29"}]}


def test_a_recurrence_gives_every_other_week_but_for_what_is_excepted():
    part = recurring(
        rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", first="2026-06-01", start="09:00:00", end="12:00:00"
    )
    rules = schedule_rules(rules_extension(part), {}, BERLIN)
    opened = calendar(rules, at("2026-06-01"), at("2026-08-01")).open
    assert [format_local(a, BERLIN)[:16] for a, _ in opened] == [
        "2026-06-01T09:00",
        "2026-06-15T09:00",
        "2026-07-13T09:00",
        "2026-07-27T09:00",
    ]


def test_a_recurrence_may_name_the_first_monday_and_an_end():
    rule = Recurrence("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1;UNTIL=20260401T000000Z", date(2026, 1, 1), 0, HOUR)
    assert recurring_days(rule, date(2026, 1, 1), date(2026, 12, 31)) == [
        date(2026, 1, 5),
        date(2026, 2, 2),
        date(2026, 3, 2),
    ]


@pytest.mark.parametrize(
    "rule", ["FREQ=HOURLY", "FREQ=DAILY;BYHOUR=3", "every day", "", "FREQ=DAILY\nRDATE:20260101"]
)
def test_a_rule_that_gives_no_days_is_refused(rule: str):
    part = recurring(rule=rule, first="2026-06-01", start="09:00:00", end="12:00:00")
    with pytest.raises(BusinessRule):
        schedule_rules(rules_extension(part), {}, BERLIN)


def test_nothing_is_offered_on_public_holidays():
    every_day = {"url": "available-time", "extension": [{"url": "all-day", "valueBoolean": True}]}
    schedule = rules_extension(every_day, {"url": "holidays", "valueCode": "DE-BE"})
    rules = schedule_rules(schedule, {}, BERLIN)
    assert date(2026, 3, 8) in public_holidays("DE-BE", 2026)
    assert not starts(rules, whole_day("2026-05-01"), HOUR)
    assert starts(rules, whole_day("2026-05-02"), HOUR)


@pytest.mark.parametrize(
    "part",
    [
        {"url": "holidays", "valueCode": "XX-YY"},
        {"url": "capacity", "valuePositiveInt": 0},
        {"url": "capacity", "valueString": "three"},
        {"url": "duration", "valueDuration": {"value": 1, "code": "mo"}},
        {"url": "duration", "valueDuration": {"value": 0, "code": "min"}},
        {"url": "duration", "valueString": "long"},
        {"url": "available-time", "extension": [{"url": "days-of-week", "valueCode": "someday"}]},
        {"url": "available-time", "extension": [{"url": "start", "valueString": "nine"}]},
    ],
)
def test_rules_that_make_no_sense_are_refused(part: dict):
    with pytest.raises(BusinessRule):
        schedule_rules(rules_extension(part), {}, BERLIN)


def test_the_zone_is_that_of_the_schedule_then_of_its_role_then_of_its_place():
    def zoned(type: str, zone: str | None) -> dict:
        extension = (
            []
            if zone is None
            else [{"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": zone}]
        )
        return {"resourceType": type, "id": "1", "extension": extension}

    def zone_of(*zones: str | None) -> str:
        types = ("PractitionerRole", "Location", "Organization")
        related = {f"{t}/1": zoned(t, z) for t, z in zip(types, zones[1:], strict=True)}
        return schedule_rules(zoned("Schedule", zones[0]), related, "UTC").zone

    assert zone_of("Asia/Tokyo", BERLIN, "Europe/Dublin", "Europe/Paris") == "Asia/Tokyo"
    assert zone_of(None, BERLIN, "Europe/Dublin", "Europe/Paris") == BERLIN
    assert zone_of(None, None, "Europe/Dublin", "Europe/Paris") == "Europe/Dublin"
    assert zone_of(None, None, None, "Europe/Paris") == "Europe/Paris"
    assert zone_of(None, None, None, None) == "UTC"
    with pytest.raises(BusinessRule):
        zone_of("Europe/Nowhere", None, None, None)


zones = st.sampled_from(
    [BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "Africa/Casablanca"]
)
walls = st.integers(midnight(date(2025, 1, 1)) // MINUTE, midnight(date(2028, 1, 1)) // MINUTE).map(
    lambda m: m * MINUTE
)


@given(walls, zones)
@settings(max_examples=200)
def test_instants_of_a_wall_time_show_it(wall: int, zone: str):
    for instant in instants_of(wall, zone):
        assert wall_at(instant, zone) == wall
    assert wall_at(instant_at(wall, zone), zone) >= wall


@given(
    zones,
    st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 95), st.integers(1, 96)).map(
            lambda d: (d[0], d[1] * 15 * MINUTE, (d[1] + d[2]) * 15 * MINUTE)
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([5, 10, 15, 20, 30, 45, 60, 90]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_starts_stay_in_the_hours_and_apart(zone, day, weekly, step, both):
    hours = Hours((Opening(tuple(weekly)),))
    rules = ScheduleRules("1", (), zone=zone, hours=hours, step=step * MINUTE, both_folds=both)
    low, high = parse_interval(day.isoformat(), zone)
    made = calendar(rules, low, high)
    runs = free_on_grid(rules, (low, high), step * MINUTE, [], now=0)
    found = [start for run in runs for start in run]
    assert found == sorted(set(found))
    for start in found:
        assert low <= start
        assert start + step * MINUTE <= high
        assert any(a <= start and start + step * MINUTE <= b for a, b in made.open)
        wall = wall_at(start, zone) % DAY
        weekday = date.fromordinal(date(1970, 1, 1).toordinal() + wall_at(start, zone) // DAY).weekday()
        assert any(
            (d == weekday and a <= wall < b) or ((d + 1) % 7 == weekday and a <= wall + DAY < b)
            for d, a, b in weekly
        )
    for stretch in made.stretches:
        assert all(y - x >= step * MINUTE for x, y in zip(stretch.starts, stretch.starts[1:], strict=False))
