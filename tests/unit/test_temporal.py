"""Dates and times as intervals of microseconds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_r4.temporal import (
    DAY,
    HOUR,
    MINUTE,
    OPEN_HIGH,
    OPEN_LOW,
    SECOND,
    format_instant,
    parse_interval,
    parse_time,
    period_interval,
)


def instant(*parts: int) -> int:
    return int((datetime(*parts, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2020", instant(2020, 1, 1), instant(2021, 1, 1)),
        ("2020-02", instant(2020, 2, 1), instant(2020, 3, 1)),
        ("2019-12", instant(2019, 12, 1), instant(2020, 1, 1)),
        ("2020-02-29", instant(2020, 2, 29), instant(2020, 3, 1)),
        ("2020-02-29T10:30", instant(2020, 2, 29, 10, 30), instant(2020, 2, 29, 10, 31)),
        ("2020-02-29T10:30:05Z", instant(2020, 2, 29, 10, 30, 5), instant(2020, 2, 29, 10, 30, 6)),
        ("2020-02-29T10:30:05+05:30", instant(2020, 2, 29, 5, 0, 5), instant(2020, 2, 29, 5, 0, 6)),
        ("2020-02-29T22:30:05-05:00", instant(2020, 3, 1, 3, 30, 5), instant(2020, 3, 1, 3, 30, 6)),
        ("2016-12-31T23:59:60Z", instant(2017, 1, 1), instant(2017, 1, 1, 0, 0, 1)),
        ("2020-01-01T00:00:00.5Z", instant(2020, 1, 1) + 500_000, instant(2020, 1, 1) + 600_000),
        ("2020-01-01T00:00:00.123Z", instant(2020, 1, 1) + 123_000, instant(2020, 1, 1) + 124_000),
        ("2020-01-01T00:00:00.1234567Z", instant(2020, 1, 1) + 123_456, instant(2020, 1, 1) + 123_457),
    ],
)
def test_a_text_means_all_instants_of_its_precision(text, low, high):
    assert parse_interval(text) == (low, high)


def test_the_first_and_the_last_year_are_whole_years():
    assert parse_interval("0001") == (instant(1, 1, 1), instant(2, 1, 1))
    low, high = parse_interval("9999")
    assert (low, high - low) == (instant(9999, 1, 1), 365 * DAY)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("text", ["0001-01-01", "0001-01-01T00:00:00", "9999-12-31", "9999-12-31T23:59:59"])
def test_zones_do_not_fail_at_the_ends_of_time(zone, text):
    low, high = parse_interval(text, zone)
    assert OPEN_LOW < low < high < OPEN_HIGH


def test_what_has_no_zone_is_read_in_the_zone_given():
    assert parse_interval("2020-07-01T10:00:00", "Europe/Berlin")[0] == instant(2020, 7, 1, 8)
    assert parse_interval("2020-01-01", "Asia/Kolkata")[0] == instant(2019, 12, 31, 18, 30)
    assert parse_interval("2020-07-01T10:00:00Z", "Europe/Berlin")[0] == instant(2020, 7, 1, 10)


def test_a_day_is_as_long_as_its_clocks_make_it():
    spring = parse_interval("2020-03-29", "Europe/Berlin")
    autumn = parse_interval("2020-10-25", "Europe/Berlin")
    assert [high - low for low, high in (spring, autumn)] == [23 * HOUR, 25 * HOUR]


@pytest.mark.parametrize(
    "text",
    ["", "20", "2020-13", "2020-02-30", "2021-02-29", "2020-1-1", "20200101", "2020-W01", "2020-01-01T24:00:00Z",
     "2020-01-01T10:60Z", "2020-01-01T10", "2020-01-01T10:00:61Z", "2020-01-01T10:00:00+15:00", "2020-01-01 10:00",
     "2020-01-01T10:00:00.Z", "0000", "٢٠٢٠", "2020-01-01\n", "2020-01-01T10:00:00z"],
)  # fmt: skip
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError):
        parse_interval(text)


def test_a_time_is_counted_from_midnight():
    assert parse_time("10:30:00") == (10 * HOUR + 30 * MINUTE, 10 * HOUR + 30 * MINUTE + SECOND)
    assert parse_time("00:00:01.25") == (SECOND + 250_000, SECOND + 260_000)
    with pytest.raises(ValueError):
        parse_time("25:00:00")


def test_a_period_is_open_where_an_end_is_absent():
    assert period_interval(None, "2020") == (OPEN_LOW, instant(2021, 1, 1))
    assert period_interval("2020", None) == (instant(2020, 1, 1), OPEN_HIGH)
    assert period_interval("2020-01-01", "2020-01-02") == (instant(2020, 1, 1), instant(2020, 1, 3))


moments = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59))


@given(moments)
def test_an_instant_that_was_written_is_read_as_itself(moment):
    microseconds = int((moment - datetime(1970, 1, 1)) / timedelta(milliseconds=1)) * 1000
    text = format_instant(microseconds)
    assert parse_interval(text) == (microseconds, microseconds + 1000)
    assert (
        text
        == (datetime(1970, 1, 1) + timedelta(microseconds=microseconds)).isoformat(timespec="milliseconds")
        + "Z"
    )


@given(moments, st.sampled_from(["UTC", "America/St_Johns", "Australia/Lord_Howe"]))
def test_a_shorter_text_means_an_interval_around_the_longer(moment, zone):
    text = moment.isoformat(timespec="seconds")
    # up to the minute: a day that clocks are changed in may begin after its first wall clock second
    low, high = parse_interval(text, zone)
    outer = parse_interval(text[:16], zone)
    assert outer[0] <= low < high <= outer[1]
    assert parse_interval(text[:10] + "T00:00:00Z")[0] == parse_interval(text[:10])[0]


@given(st.text(max_size=30))
def test_any_text_is_an_interval_or_a_value_error(text):
    try:
        low, high = parse_interval(text)
    except ValueError:
        return
    assert low < high
