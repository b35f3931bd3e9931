"""day: a whole day of a hospital of 500 beds, wards and reception together, while ten readers look at the bed board.

400 admissions, 150 transfers, 350 discharges, beds cleaned behind them, and 1,500 bookings: each a `$find` over four weeks of
50 schedules that are booked to three fifths, and a `$book` of one of the times it offers. The day is replayed in 120 seconds, at 720
times speed, which is about what two cores can do (`--soak`: in 864, at 100 times, for which the targets are meant; `--soak --scale 0.1`:
a tenth of that), with bare transactions of one Patient between, in the same run. At the end every booking and
every bed is compared with every other: none overlap, and `osler check` finds nothing.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks import scheduling
from benchmarks.beds import (
    ADMISSIONS,
    DISCHARGES,
    OCCUPIED,
    READERS,
    TRANSFERS,
    Line,
    Replay,
    hospital,
)
from benchmarks.client import Load, ask
from benchmarks.figures import Figure
from benchmarks.options import Options
from tests.scenarios.servers import osler

FAST_SECONDS, SOAK_SECONDS = 120.0, 864.0
BOOKINGS, BARE, CLEANINGS = 1500, 1500, 288
# another may book what was offered meanwhile: then one looks again
ATTEMPTS = 3
STAYING = "planned,arrived,triaged,in-progress,onleave"
LIVE = "pending,booked,arrived,checked-in"


class Day(Replay):
    """The acts of wards and reception."""

    def __init__(self, port: int, first: date) -> None:
        super().__init__(port)
        self.loads |= {"find": Load(), "book": Load()}
        last = first + timedelta(days=7 * scheduling.WEEKS - 1)
        self.question = f"/fhir/Appointment/$find?start={first}&end={last}&_count=50"
        self.booked = 0

    async def booking(self) -> None:
        """Look for a time and book it."""
        find, book = self.line("find"), self.line("book")
        for _ in range(ATTEMPTS):
            _, found = await find.ask("GET", self.question)
            proposal = self.chance.choice(json.loads(found)["entry"])["resource"]["id"]
            patient = {"resourceType": "Patient", "id": f"p{self.chance.randrange(OCCUPIED)}"}
            parameters = [
                {"name": "appointment-reference", "valueReference": {"reference": f"Appointment/{proposal}"}},
                {"name": "patient-resource", "resource": patient},
            ]
            status, _ = await book.ask(
                "POST", "/fhir/Appointment/$book", {"resourceType": "Parameters", "parameter": parameters}
            )
            if status == 200:
                self.booked += 1
                return

    def line(self, name: str) -> Line:
        if name not in self.lines:
            self.lines[name] = Line(self.port, self.loads[name])
        return self.lines[name]

    async def live(self, seconds: float, share: float) -> None:
        """That share of the day's acts, evenly spread over the seconds, with readers."""
        counts = {
            "admit": ADMISSIONS,
            "transfer": TRANSFERS,
            "discharge": DISCHARGES,
            "clean": CLEANINGS,
            "bare": BARE,
            "booking": BOOKINGS,
        }
        plan = sorted(
            (self.chance.random() * seconds, name)
            for name, count in counts.items()
            for _ in range(max(1, round(count * share)))
        )
        began = time.perf_counter()
        watching = [asyncio.create_task(self.watch(began + seconds)) for _ in range(READERS)]
        acting = []
        for due, name in plan:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            acting.append(asyncio.create_task(self.booking() if name == "booking" else self.act(name)))
        await asyncio.gather(*acting, *watching)

    async def night(self) -> None:
        """Fill the beds that are occupied when the day begins; not measured."""
        for _ in range(OCCUPIED):
            await self.act("admit")
        for line in self.lines.values():
            line.close()
        self.lines = {}
        self.loads = {name: Load() for name in self.loads}


def run(options: Options) -> list[Figure]:
    share = min(1.0, options.scale)
    seconds = options.scale * (SOAK_SECONDS if options.soak else FAST_SECONDS)
    first = datetime.now(UTC).date() + timedelta(days=1)
    with tempfile.TemporaryDirectory() as folder:
        with options.serving(folder) as server:
            furnish(server.port)
            before = scheduling.load(server.port, first)
            day = Day(server.port, first)
            uvloop.run(_lived(day, seconds, share))
            broken = [*double_booked(server.port), *shared_beds(server.port)]
        checked = osler("check", "--store", f"sqlite:///{folder}/osler.db")
    targets = {"find": 50.0, "book": 25.0, "board": 10.0} if options.soak else {}
    return _figures(day, before, targets, broken, checked.code)


async def _lived(day: Day, seconds: float, share: float) -> None:
    await day.night()
    await day.live(seconds, share)


def furnish(port: int) -> None:
    """Put wards, beds and patients on the server."""
    resources = list(hospital(OCCUPIED + ADMISSIONS + 1))
    for at in range(0, len(resources), 400):
        entries = [
            {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
            for r in resources[at : at + 400]
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        status, _ = ask(port, "POST", "/fhir", json.dumps(bundle).encode())
        if status != 200:
            raise RuntimeError(f"the hospital was answered with {status}")


def double_booked(port: int) -> Iterator[str]:
    """Pairs of live Appointments that take the same actor at the same time, found by comparing their times."""
    times: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for one in _all(port, f"/fhir/Appointment?status={LIVE}&_count=1000"):
        start, end = datetime.fromisoformat(one["start"]), datetime.fromisoformat(one["end"])
        for participant in one["participant"]:
            actor = participant["actor"]["reference"]
            if not actor.startswith("Patient/"):
                times[actor].append((start, end, one["id"]))
    for actor, taken in times.items():
        taken.sort()
        for one, other in pairwise(taken):
            if other[0] < one[1]:
                yield f"{actor}: Appointment/{one[2]} and Appointment/{other[2]}"


def shared_beds(port: int) -> Iterator[str]:
    """Beds, and patients, that more than one stay has."""
    holders: dict[str, list[str]] = defaultdict(list)
    for stay in _all(port, f"/fhir/Encounter?status={STAYING}&_count=1000"):
        holders[stay["subject"]["reference"]].append(stay["id"])
        for place in stay.get("location", ()):
            bed = place["location"]["reference"]
            if place.get("status") == "active" and "b" in bed.partition("/")[2]:
                holders[bed].append(stay["id"])
    yield from (f"{what}: Encounter {', '.join(ids)}" for what, ids in holders.items() if len(ids) > 1)


def _all(port: int, path: str) -> Iterator[dict[str, Any]]:
    """The resources of all pages of a search."""
    following: str | None = path
    while following is not None:
        status, page = ask(port, "GET", following)
        if status != 200:
            raise RuntimeError(f"{following} was answered with {status}")
        yield from (entry["resource"] for entry in page.get("entry", ()))
        links = (urlsplit(link["url"]) for link in page["link"] if link["relation"] == "next")
        following = next((f"{link.path}?{link.query}" for link in links), None)


def _figures(
    day: Day, before: int, targets: Mapping[str, float], broken: list[str], code: int
) -> list[Figure]:
    loads = day.loads
    for name, allowed in (("find", {200}), ("book", {200, 409}), ("board", {200}), ("bare", {200})):
        loads[name].require(*allowed)
    for name in ("admit", "transfer", "discharge"):
        loads[name].require(200, 422)  # 422: no bed of the wards suits
    bare = loads["bare"].percentile(0.95) * 1000
    lost = loads["book"].statuses[409]
    notes = {
        "find": f"50 schedules, four weeks, {before:,} bookings before",
        "book": f"{day.booked} booked, {lost} offered times were gone meanwhile",
        "board": f"500 beds, {READERS} readers",
        "admit": f"{loads['admit'].statuses[422]} without a bed",
        "transfer": f"{loads['transfer'].statuses[422]} without a bed",
        "discharge": "",
    }
    figures = [Figure("day: bare transaction, p95", bare, "ms", note=_median(loads["bare"]))]
    for name, note in notes.items():
        load, title = loads[name], "bed-board" if name == "board" else name
        told = (
            f"{_median(load)}; {load.percentile(0.95) * 1000 / bare:.1f} times the bare transaction; {note}"
        )
        value, target = load.percentile(0.95) * 1000, targets.get(name)
        figures.append(Figure(f"day: ${title}, p95", value, "ms", None, target, at_most=True, note=told))
    named = "; ".join(broken[:3])
    figures.append(
        Figure("day: beds and times given twice", len(broken), "", None, 0, at_most=True, note=named)
    )
    figures.append(Figure("day: what osler check finds", code, "", None, 0, at_most=True))
    return figures


def _median(load: Load) -> str:
    return f"p50 {load.percentile(0.5) * 1000:.1f} ms of {load.requests}"
