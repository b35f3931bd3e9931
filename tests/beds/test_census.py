"""Figures of beds: both definitions, days of 23 and 25 hours, leave, closed beds, and what was known when."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.operations.beds.census import (
    Bed,
    Counting,
    Presence,
    Stay,
    Use,
    at_midnight,
    bed_days,
    by_time,
    days_of,
    discharges,
    length_of_stay,
    most_at_once,
    percentile,
)
from fhir_server.operations.beds.looking_back import closed_times, stay_of
from tests.beds.ward import OSLER, at, bed, build, call, place, stay
from tests.conftest import Client, on_each_store

HOUR = 3_600_000_000
BERLIN = "Europe/Berlin"


def stay_in(bed_id: str, low: int, high: int, *leave: tuple[int, int]) -> Stay:
    return Stay(low, high, (Presence(bed_id, (low, high), leave),), leave)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_a_day_has_the_hours_that_the_clocks_have(day: date, hours: int) -> None:
    ((_, span),) = days_of(day, day, BERLIN)
    assert span[1] - span[0] == hours * HOUR
    use = by_time(
        [Bed("b1"), Bed("b2")], [stay_in("b1", span[0] - HOUR, span[1] + HOUR)], span, Counting(BERLIN)
    )
    assert use == Use(hours * HOUR, 2 * hours * HOUR)


def test_at_midnight_those_are_counted_who_are_present() -> None:
    beds, counting = [Bed("b1"), Bed("b2")], Counting()
    comes_then, goes_then = stay_in("b1", 24 * HOUR, 30 * HOUR), stay_in("b2", 0, 24 * HOUR)
    elsewhere = stay_in("other", 0, 48 * HOUR)
    assert at_midnight(beds, [comes_then, goes_then, elsewhere], 24 * HOUR, counting) == Use(1, 2)


def test_leave_and_closed_beds_do_not_count() -> None:
    beds = [Bed("b1"), Bed("b2", closed=((0, 12 * HOUR),))]
    away = stay_in("b1", 0, 48 * HOUR, (6 * HOUR, 30 * HOUR))
    assert at_midnight(beds, [away], 24 * HOUR, Counting()) == Use(0, 2)
    assert at_midnight(beds, [away], 24 * HOUR, Counting(count_leave=True)) == Use(1, 2)
    assert by_time(beds, [away], (0, 24 * HOUR), Counting()) == Use(6 * HOUR, 36 * HOUR)
    assert most_at_once(beds, [away], (7 * HOUR, 24 * HOUR), Counting()) == 0


def test_bed_days_are_midnights_and_a_stay_within_a_day_counts_one() -> None:
    counting = Counting(BERLIN)
    ((_, day),) = days_of(date(2026, 3, 28), date(2026, 3, 28), BERLIN)
    noon = day[0] + 12 * HOUR
    assert bed_days(stay_in("b", noon, noon + 2 * HOUR), counting) == 1
    assert bed_days(stay_in("b", noon, noon + 2 * HOUR), Counting(BERLIN, same_day=Decimal(0))) == 0
    assert bed_days(stay_in("b", noon, noon + 47 * HOUR), counting) == 2
    away = (noon + HOUR, noon + 20 * HOUR)
    assert bed_days(stay_in("b", noon, noon + 47 * HOUR, away), counting) == 1
    assert length_of_stay(
        [stay_in("b", noon, noon + HOUR), stay_in("b", noon, noon + 47 * HOUR)], counting
    ) == Decimal("1.5")
    assert length_of_stay([], counting) is None


def test_discharges_are_those_that_ended_here() -> None:
    gone = stay_in("b", 0, 5 * HOUR)
    elsewhere = Stay(0, 5 * HOUR, gone.presences, here=False)
    assert discharges([gone, elsewhere, stay_in("b", 0, 9 * HOUR)], (0, 6 * HOUR)) == [gone]


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([5, 1, 3, 2, 4, 6, 7, 8, 9, 10], 90) == 9
    assert percentile([4], 90) == 4
    assert percentile([], 90) is None


def test_a_bed_was_before_its_first_version_what_it_was_then() -> None:
    (first, second) = closed_times([(10, True), (20, False), (30, True)])
    assert first[1] == 20
    assert first[0] < 0
    assert second[0] == 30


def test_mistakes_and_plans_are_no_stays() -> None:
    period = {"start": "2026-01-01T10:00:00Z", "end": "2026-01-02T10:00:00Z"}
    for status in ("cancelled", "entered-in-error", "planned"):
        made = stay("e", "p", at("b1", "completed", period=period), status=status, period=period)
        assert stay_of(made, frozenset({"b1"}), 2**60) is None


intervals = st.tuples(st.integers(0, 200), st.integers(1, 80)).map(lambda t: (t[0], t[0] + t[1]))


@settings(max_examples=60, deadline=None)
@given(st.lists(intervals, max_size=8), st.lists(intervals, max_size=3), st.integers(1, 199))
def test_a_span_is_the_sum_of_its_parts(
    stays: list[tuple[int, int]], closed: list[tuple[int, int]], cut: int
) -> None:
    beds = (
        [Bed(f"b{n}", closed=((c,) if n == 0 and (c := closed[0]) else ())) for n in range(3)]
        if closed
        else [Bed("b0")]
    )
    lying = [stay_in(f"b{n % 3}", *interval) for n, interval in enumerate(stays)]
    whole = by_time(beds, lying, (0, 200), Counting())
    assert whole == by_time(beds, lying, (0, cut), Counting()) + by_time(beds, lying, (cut, 200), Counting())


# The operation


async def report(client: Client, root: str = "Location/w1", **asked: object) -> dict:
    return await call(client, f"{root}/$occupancy", **asked)


def group(found: dict, code: str, text: str | None = None) -> dict:
    return next(
        g for g in found["group"] if g["code"]["coding"][0]["code"] == code and g["code"].get("text") == text
    )


def counts(found: dict, code: str = "occupancy", text: str | None = None) -> tuple[int, ...]:
    return tuple(p["count"] for p in group(found, code, text)["population"])


async def lived(client: Client) -> None:
    """b1 from 1 March 10:00 to 4 March 9:00, b2 within 2 March, in the time of Berlin."""
    zone = {"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": BERLIN}
    await build(client, place("site", "si", extension=[zone]))
    for n, (bed_id, start, end) in enumerate(
        [
            ("b1", "2026-03-01T10:00:00+01:00", "2026-03-04T09:00:00+01:00"),
            ("b2", "2026-03-02T08:00:00+01:00", "2026-03-02T20:00:00+01:00"),
        ],
        1,
    ):
        made = await call(
            client, "Encounter/$admit", patient=f"Patient/p{n}", bed=f"Location/{bed_id}", at=start
        )
        await call(client, f"Encounter/{made['id']}/$discharge", at=end)


MARCH = {"start": "2026-03-01", "end": "2026-03-04"}
TODAY = "2999-01-01T00:00:00Z"


@on_each_store
async def test_occupancy_at_midnight(client: Client) -> None:
    await lived(client)
    found = await report(client, period=MARCH, interval="day", as_of=TODAY)
    assert counts(found) == (3, 16)
    assert counts(found, text="2026-03-02") == (1, 4)
    assert group(found, "occupancy")["measureScore"]["value"] == pytest.approx(0.1875)
    assert group(found, "discharges")["measureScore"]["value"] == 2
    assert group(found, "length-of-stay")["measureScore"]["value"] == 2
    assert group(found, "turnover-interval")["measureScore"]["value"] == 6.5
    assert group(found, "peak")["measureScore"]["value"] == 1
    assert found["measure"].endswith("/bed-occupancy-midnight")


async def test_a_period_is_written_in_a_query_too(client: Client) -> None:
    await lived(client)
    address = f"/Location/w1/$occupancy?as-of={TODAY}&period="
    for period, days in ("2026-03-01/2026-03-04", 4), ("2026-03", 31), ("2026-03-02", 1):
        found = await client.get(address + period)
        assert found.status_code == 200, found.text
        assert counts(found.json())[1] == 4 * days
    for wrong in ("soon", "2026-03-01/soon", "/"):
        assert (await client.get(address + wrong)).status_code == 400


@on_each_store
async def test_occupancy_by_hours(client: Client) -> None:
    await lived(client)
    found = await report(client, period=MARCH, basis="hours", as_of=TODAY)
    assert counts(found) == ((14 + 48 + 9 + 12) * 60, 4 * 4 * 24 * 60)
    assert group(found, "peak")["measureScore"]["value"] == 2
    assert found["measure"].endswith("/bed-occupancy-hours")


@on_each_store
async def test_the_figures_of_the_past_are_those_that_were_known_then(client: Client) -> None:
    await lived(client)
    found = await report(client, period=MARCH)
    assert counts(found) == (0, 0)
    (restated,) = [e for e in found["extension"] if e["url"] == OSLER + "restated"]
    assert restated["extension"][0] == {"url": "numerator", "valueInteger": 3}


@on_each_store
async def test_a_correction_of_today_does_not_change_what_was_known(client: Client) -> None:
    await lived(client)
    encounters = (await client.get("/Encounter?subject=Patient/p1")).json()["entry"]
    first = encounters[0]["resource"]
    known = first["meta"]["lastUpdated"]
    await asyncio.sleep(0.002)
    wrong = {**first, "status": "entered-in-error"}
    assert (await client.put_json(f"/Encounter/{first['id']}", wrong)).status_code == 200
    before = await report(client, period=MARCH, as_of=known)
    after = await report(client, period=MARCH, as_of=TODAY)
    assert (counts(before)[0], counts(after)[0]) == (3, 0)


@on_each_store
async def test_bassinets_and_closed_beds_leave_the_denominator(client: Client) -> None:
    kind = {"url": OSLER + "bed-kind", "valueCode": "bassinet"}
    await build(client, bed("cot", "r1", extension=[kind]), bed("b3", "r1", "C"))
    found = await report(client, period=MARCH, as_of=TODAY)
    assert counts(found) == (0, 12)
    assert "measureScore" in group(found, "occupancy")


@pytest.mark.parametrize(
    "asked",
    [
        {"period": {"start": "2026-03-01"}},
        {"period": {"start": "2026-03-02", "end": "2026-03-01"}},
        {"period": MARCH, "basis": "noon"},
        {"period": MARCH, "interval": "hour"},
    ],
)
@on_each_store
async def test_questions_without_an_answer_are_refused(client: Client, asked: dict) -> None:
    await build(client)
    await call(client, "Location/w1/$occupancy", 400, **asked)
