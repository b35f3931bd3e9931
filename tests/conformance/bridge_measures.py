"""The figures of docs/bridge-conformance.md, each measured when it is asked for.

An invariant to keep: what was not measured, or was measured for a shorter time than the target says, says so.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.hl7 import mapping, taking
from fhir_server.settings import Settings
from hl7_bridge.bridge import Known
from hl7_bridge.devices.loading import library
from hl7_bridge.devices.profile import Profile
from hl7_bridge.devices.samples import failures, mapped
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.publishing import fields
from hl7_bridge.mapping.rows import mapped as mapped_rows
from hl7_bridge.mapping.rows import skipped as skipped_rows
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.mapping.tables.results import OBSERVATION_STATUS, RANKS, REPORT_STATUS
from hl7_bridge.message import parse
from hl7_bridge.simulator import BEHAVIOURS
from tests.bridge.core import House, bridge_of, until
from tests.bridge.test_core_queues import resolve
from tests.bridge.test_results_values import SPELLINGS_OF_VALUES, UNITS
from tests.conformance.bridge_corpus import Outcome, corpus, read_all, tell, units_of
from tests.conftest import start, stop
from tests.scenarios.hl7_kills import run_kills
from tests.scenarios.hl7_load import Isolation, isolation, large, soak, store_away
from tests.scenarios.servers import ROOT, environment

# `partly`: what was measured is as it should be, and it is less than the target says
Verdict = Literal["met", "partly", "not met", "not measured"]
CORPUS, KILLS, SOAK_SECONDS, DAMAGED, WAITING, PAIRED = 1413, 1000, 600.0, 100_000, 100_000, 372
P99_SECONDS, LONGEST_SECONDS, QUEUE_SECONDS, DELAY, PROFILES = 0.25, 5.0, 5.0, 0.2, 8
ASSERTIONS = 8
MOST_MEGABYTES = 512


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the long runs are: seconds, and numbers of kills and messages."""

    soak: float = SOAK_SECONDS
    away: float = SOAK_SECONDS
    waiting: int = WAITING
    patience: float = 1200.0
    kills: int = KILLS
    damaged: int = DAMAGED
    rounds: int = 5
    round: float = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    figure: str
    verdict: Verdict
    how: str


@dataclass(slots=True)
class Measures:
    """Measures by the number of their statement; `folder` has messages, where there is one."""

    lengths: Lengths
    folder: Path | None = None
    _outcome: Outcome | None = None

    def of(self, number: int) -> Measured | None:
        """The figure of a statement that is not proved by its tests alone."""
        measures: Mapping[int, Callable[[], Measured]] = {
            1: self.reading, 2: self.speed_of_reading, 3: self.speed_of_mapping, 4: self.taking, 5: self.away,
            6: self.kills, 7: self.twice, 10: self.controls, 11: self.values, 12: self.units, 13: self.status,
            14: self.others, 15: self.guide, 18: self.hostile, 19: self.queues, 20: self.balance, 21: self.isolation,
            22: self.law, 24: self.profiles, 26: self.devices,
        }  # fmt: skip
        return measures[number]() if number in measures else None

    def told(self) -> Outcome | None:
        """What telling the messages of the folder came to."""
        if self._outcome is None and self.folder is not None:
            self._outcome = asyncio.run(tell(corpus(self.folder)))
        return self._outcome

    def reading(self) -> Measured:
        if self.folder is None:
            return _without_corpus()
        found = read_all(corpus(self.folder))
        kinds = ", ".join(f"{kind} {count}" for kind, count in found.otherwise.most_common())
        peer = (
            f"against {found.peer}: {found.fields:,} fields of {found.compared} messages, {found.otherwise.total()}"
            f" differences ({kinds or 'none'})"
            if found.peer
            else "no other parser was there to compare with"
        )
        figure = f"{found.read} of {found.messages} read, {found.exact} byte for byte, {found.lost} segments lost; {peer}"
        good = found.read == found.exact == found.messages and not found.lost
        whole = found.messages >= CORPUS and bool(found.peer)
        return Measured(figure, _verdict(good, whole), f"a corpus of {found.messages} messages")

    def speed_of_reading(self) -> Measured:
        messages, large = [taking.oru(number) for number in range(2_000)], taking.oru(1, 300)
        rate = taking._rate(lambda: [parse(raw) for raw in messages], len(messages))
        slow = 1000 / taking._rate(lambda: [parse(large) for _ in range(20)], 20)
        good = rate >= taking.PARSED_A_SECOND and slow < taking.LARGE_MILLISECONDS
        return Measured(
            f"{rate:,.0f} a second; {slow:.2f} ms", _verdict(good), "processor time, best of 7 rounds"
        )

    def speed_of_mapping(self) -> Measured:
        rates = {count: mapping.rate(2, count) for count in (1, 3, 5)}
        figure = ", ".join(f"{rate:,.0f} with {count}" for count, rate in rates.items())
        good = rates[3] >= mapping.LIMIT
        return Measured(
            f"{figure} results", _verdict(good), "processor time; the target is held to 3 results"
        )

    def taking(self) -> Measured:
        (eight, used), (one, _) = soak(self.lengths.soak, 8), soak(self.lengths.soak, 1)
        good = (
            eight.rate >= taking.TAKEN_BY_EIGHT
            and one.rate >= taking.TAKEN_BY_ONE
            and not (eight.refused or one.refused)
        )
        figure = (
            f"{eight.rate:,.0f} a second on 8 connections (p99 {eight.waited.quantile(0.99) * 1e3:.0f} ms),"
            f" {one.rate:,.0f} on one (p99 {one.waited.quantile(0.99) * 1e3:.0f} ms); {eight.refused + one.refused} refused"
        )
        how = (
            f"`osler serve --hl7` on SQLite, {self.lengths.soak:.0f} s each, senders on the same machine; {used * 1e3:.2f} ms of"
            " processor time a message, mapping meanwhile included"
        )
        return Measured(figure, _verdict(good, self.lengths.soak >= SOAK_SECONDS), how)

    def away(self) -> Measured:
        figures, good, done = [], True, True
        for kind, what in (("mongodb", "MongoDB stopped"), ("sqlite", "SQLite file locked")):
            found = store_away(kind, self.lengths.away, self.lengths.waiting, patience=self.lengths.patience)
            p99, longest = found.load.waited.quantile(0.99), found.load.waited.longest
            good &= p99 < P99_SECONDS and longest < LONGEST_SECONDS and not found.load.refused
            good &= not (found.unbalanced or found.disordered) and found.megabytes < MOST_MEGABYTES
            done &= not found.left
            figures.append(
                f"{what}: p99 {p99 * 1e3:.0f} ms, longest {longest * 1e3:.0f} ms, {found.load.refused} refused,"
                f" {found.waiting:,} waiting; {found.mapped:,} of them mapped {found.seconds:.0f} s after it was back,"
                f" {found.rate:,.0f} a second ({1e3 * found.cpu_seconds / max(found.mapped, 1):.1f} ms of processor time each);"
                f" {found.megabytes:.0f} MB; {found.unbalanced} of {found.looks} looks out of balance,"
                f" {found.disordered} patients out of order"
            )
        whole = done and self.lengths.away >= SOAK_SECONDS and self.lengths.waiting >= WAITING
        how = f"8 senders, with `hl7_journal`, away for {self.lengths.away:.0f} s and {self.lengths.waiting:,} messages at least"
        return Measured("; ".join(figures), _verdict(good, whole), how)

    def kills(self) -> Measured:
        found = run_kills(self.lengths.kills)
        figure = f"{found.kills} kills, {found.acknowledged:,} messages acknowledged, {len(found.problems)} lost, doubled or wrong"
        how = "SIGKILL of `osler serve --hl7` under load; then `osler check`, and everything sent again"
        return Measured(figure, _verdict(not found.problems, found.kills >= KILLS), how)

    def twice(self) -> Measured:
        found = self.told()
        if found is None:
            return Measured("made-up messages alone", "partly", "tests; the corpus was not given")
        changed = ", ".join(f"{type} {count}" for type, count in found.changed_again.most_common())
        figure = (
            f"{found.sent} messages again: {found.written_again} versions written. Beyond that, {found.mapped_again} mapped anew"
            f" in one go: {found.changed_again.total()} of {found.known} resources say something else ({changed or 'none'})"
        )
        return Measured(
            figure, _verdict(not found.written_again), f"a corpus of {found.sent} messages; tests"
        )

    def controls(self) -> Measured:
        samples = [
            (p, s)
            for p in library().values()
            for s in p.samples
            if s.kind in ("quality-control", "calibration")
        ]
        written = sum(
            entry.resource is not None and entry.resource["resourceType"] == "Observation"
            for profile, sample in samples
            for entry in mapped(profile, sample.message).entries
        )
        figure = f"{written} Observations of {len(samples)} controls among the samples of profiles"
        found = self.told()
        if found is not None:
            figure += f"; {found.observations_of_controls} of {found.controls} in the corpus"
            written += found.observations_of_controls
        return Measured(figure, _verdict(not written), "samples of profiles; corpus; tests")

    def values(self) -> Measured:
        figure, good = f"{len(SPELLINGS_OF_VALUES)} spellings", len(SPELLINGS_OF_VALUES) >= 60
        found = self.told()
        if found is None:
            return Measured(figure, _verdict(good, False), "table; the corpus was not given")
        figure += (
            f"; {found.invented} of {found.quantities} numbers in Observations do not stand in their messages"
        )
        return Measured(
            figure, _verdict(good and not found.invented), f"table; a corpus of {found.sent} messages"
        )

    def units(self) -> Measured:
        if self.folder is None:
            return Measured(
                f"{len(UNITS)} spellings in the table", "partly", "table; the corpus was not given"
            )
        raws = corpus(self.folder)
        found = units_of(raws)
        nothing = found.told - found.coded - found.text
        figure = (
            f"{found.told} distinct units: {found.coded} have a UCUM code, {found.text} are text and asked about, {nothing} say"
            f" nothing; {found.wrong} codes are not UCUM"
        )
        return Measured(
            figure, _verdict(not found.wrong), f"a corpus of {len(raws)} messages; {len(UNITS)} in a table"
        )

    def status(self) -> Measured:
        decided = sum(one is None or one in RANKS for one in OBSERVATION_STATUS.values())
        reports = sum(one in RANKS for one in REPORT_STATUS.values())
        good = decided == len(OBSERVATION_STATUS) >= 14 and reports == len(REPORT_STATUS) >= 13
        return Measured(f"{decided} of OBX-11, {reports} of OBR-25", _verdict(good), "tables; tests")

    def others(self) -> Measured:
        if self.folder is None:
            return _without_corpus()
        done = subprocess.run(
            [sys.executable, "-m", "tests.conformance.hl7_oracle", str(self.folder)],
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
        )  # fmt: skip
        compared = _figure(r"messages compared: (\d+)", done.stdout)
        left_out = sum(
            map(int, re.findall(r": (\d+)", done.stdout.partition("left out: ")[2].partition("\n")[0]))
        )
        facts, agreed = _figure(r"facts: (\d+)", done.stdout), _figure(r"agreed: (\d+)", done.stdout)
        unexplained = _figure(r"without a reason: (\d+)", done.stdout)
        reasons = len(re.findall(r"(?m)^ +\d+ \S", done.stdout))
        share = agreed / max(facts, 1)
        figure = (
            f"{agreed:,} of {facts:,} facts agree ({share:.1%}); with {reasons} reasons {1 - unexplained / max(facts, 1):.1%};"
            f" {unexplained} without a reason; {left_out} messages left out"
        )
        good = compared > 0 and share >= 0.95 and not unexplained
        return Measured(figure, _verdict(good, compared >= PAIRED), f"{compared} paired messages")

    def guide(self) -> Measured:
        done, left_out = mapped_rows().keys(), skipped_rows().keys()
        shares, rows, carried = {}, 0, 0
        for name, names in fields().items():
            of = [f"{name}-{n}" for n in range(1, len(names) + 1)]
            shares[name] = sum(row in done or row in left_out for row in of) / len(of)
            rows, carried = rows + len(of), carried + sum(row in done for row in of)
        least = min(shares.values())
        figure = f"{least:.0%} at least, of {len(shares)} segments; {carried} of {rows} rows are mapped, the rest left out for a reason"
        return Measured(figure, _verdict(least >= 0.9), "[bridge-mapping.md](bridge-mapping.md)")

    def hostile(self) -> Measured:
        done = subprocess.run(
            [sys.executable, "-m", "tests.scenarios.hl7_fuzz", "--messages", str(self.lengths.damaged)],
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
        )  # fmt: skip
        slowest, memory = _figure(r"slowest (\d+) ms", done.stdout), _figure(r"(\d+) MB", done.stdout)
        problems = len(done.stdout.strip().splitlines()) - 1
        figure = f"{self.lengths.damaged:,} damaged messages: {problems} failures, slowest {slowest} ms, {memory} MB"
        return Measured(
            figure, _verdict(done.returncode == 0, self.lengths.damaged >= DAMAGED), "made-up messages; tests"
        )

    def queues(self) -> Measured:
        count = 50
        seconds = asyncio.run(_resolved(count))
        figure = f"{count} results of a patient that was linked: {seconds:.2f} s"
        return Measured(figure, _verdict(seconds < QUEUE_SECONDS), "in process; tests on both stores")

    def balance(self) -> Measured:
        found = self.told()
        if found is None:
            return Measured(
                "made-up messages alone", "met", "tests that look at random moments, on both stores"
            )
        states = ", ".join(f"{state} {count}" for state, count in sorted(found.states.items()))
        good = not found.unbalanced and sum(found.states.values()) >= found.distinct
        figure = (
            f"{found.distinct} messages = {states}; {found.looks} looks, {found.unbalanced} out of balance"
        )
        return Measured(
            figure, _verdict(good), f"a corpus of {found.sent} messages; tests look at random moments"
        )

    def isolation(self) -> Measured:
        found = isolation(self.lengths.rounds, self.lengths.round)
        beside = isolation(self.lengths.rounds, self.lengths.round, large)
        figure = (
            f"poison: p99 {found.delay:+.0%} (ms without/with, by round: {_by_round(found)});"
            f" messages of 100 kB, six a second, which are no fault: {beside.delay:+.0%} ({_by_round(beside)});"
            f" {found.refused + beside.refused} refused"
        )
        how = f"4 senders of 25 a second; {self.lengths.rounds} rounds of {self.lengths.round:.0f} s, median; {found.messages} messages"
        return Measured(figure, _verdict(found.delay < DELAY and not found.refused), how)

    def law(self) -> Measured:
        text = "".join(file.read_text() for file in (ROOT / "tests/bridge").glob("test_*.py"))
        named = set(re.findall(r"(?i)lab27[-_ ]?(00[1-8])", text))
        figure = (
            f"query, orders, DC, rerun; {len(named)} of {ASSERTIONS} assertions have a test of their name"
        )
        return Measured(
            figure, _verdict(True, len(named) == ASSERTIONS), "tests; no analyser of IHE's own was at hand"
        )

    def profiles(self) -> Measured:
        shipped = library()
        named = {name: p for name, p in shipped.items() if p.samples}
        wrong = [told for p in named.values() for sample in p.samples for told in failures(p, sample)]
        samples = sum(len(p.samples) for p in named.values())
        figure = f"{len(named)} profiles with {samples} samples, {len(wrong)} of which fail"
        good = len(named) >= PROFILES and not wrong
        return Measured(
            figure, _verdict(good, False), "samples of profiles; the time that a person needs was not taken"
        )

    def devices(self) -> Measured:
        return Measured(
            f"{len(BEHAVIOURS)} devices simulated", "met", "simulated devices on sockets; no real one"
        )


def _by_round(found: Isolation) -> str:
    return ", ".join(f"{a * 1e3:.0f}/{b * 1e3:.0f}" for a, b in zip(found.calm, found.troubled, strict=True))


def _figure(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _verdict(good: bool, whole: bool = True) -> Verdict:
    if not good:
        return "not met"
    return "met" if whole else "partly"


def _without_corpus() -> Measured:
    return Measured("", "not measured", "no corpus was given")


async def _resolved(count: int) -> float:
    """How long after a patient was linked all results that waited for it are there."""
    client = await start(Settings(store="memory:", log_level="error"))
    bridge = bridge_of(client, Known(MAPPINGS, classify, {"generic": Profile()}))
    bridge.pipeline.start()
    lab = House(client, bridge)
    try:
        for n in range(count):
            await lab.send(taking.oru(50 * (n + 1), 1))
        states = await lab.quiet()
        assert states == {"held": count}, states
        made = await client.post_json("Patient", {"resourceType": "Patient"})
        (task,) = await lab.tasks()
        reference = {"valueReference": {"reference": f"Patient/{made.json()['id']}"}}
        began = time.perf_counter()
        answer = await resolve(lab, task, "link", reference=reference)
        assert answer.status_code == 200, answer.text
        await until(lab.states, lambda found: found == {"mapped": count}, 60)
        return time.perf_counter() - began
    finally:
        await bridge.pipeline.close()
        await stop(client)


def tally(verdicts: Sequence[str]) -> str:
    """How many of each."""
    found = Counter(verdicts)
    return ", ".join(f"{found[one]} {one}" for one in ("met", "partly", "not met", "not measured"))
