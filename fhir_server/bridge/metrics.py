"""The figures of the bridge for /metrics. No label says anything about a patient.

At any moment `received = duplicates + the messages of all states`, the state received (what waits) among them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hl7_bridge.journal import STATES, State
from hl7_bridge.tallies import Tallies

CONNECTION = ["connection"]


class BridgeCollector(Collector):
    """Turns tallies and counts into metrics; `counts` is set before each scrape, None while the store does not answer."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self.counts: Mapping[tuple[str, State], int] | None = {}

    def collect(self) -> Iterator[Metric]:
        tallies = self._tallies.connections
        counts = self.counts or {}
        names = sorted({name for name, _ in counts} | tallies.keys())
        entries = {name: sum(counts.get((name, state), 0) for state in STATES) for name in names}
        twice = {name: tallies[name].duplicates if name in tallies else 0 for name in names}
        received = CounterMetricFamily("osler_hl7_received", "HL7 v2 messages received", labels=CONNECTION)
        duplicates = CounterMetricFamily(
            "osler_hl7_duplicates", "Messages received before, byte for byte", labels=CONNECTION
        )
        states = GaugeMetricFamily(
            "osler_hl7_messages", "HL7 v2 messages by their state", labels=["connection", "state"]
        )
        for name in names:
            if self.counts is not None:
                received.add_metric([name], entries[name] + twice[name])
            duplicates.add_metric([name], twice[name])
            for state in STATES if self.counts is not None else ():
                states.add_metric([name, state], counts.get((name, state), 0))
        yield from (received, duplicates, states)
        yield from self._of_connections()
        reasons = CounterMetricFamily(
            "osler_hl7_problems", "Problems of messages by their reason", labels=["connection", "reason"]
        )
        for (name, reason), count in sorted(self._tallies.reasons.items()):
            reasons.add_metric([name, reason], count)
        yield reasons
        depth = GaugeMetricFamily("osler_hl7_queue_depth", "Messages that this process has in work")
        depth.add_metric([], self._tallies.depth)
        yield depth

    def _of_connections(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "osler_hl7_refused", "Messages that could not be kept", labels=CONNECTION
        )
        last = GaugeMetricFamily(
            "osler_hl7_last_message_seconds", "When the last message came, since 1970", labels=CONNECTION
        )
        silent = GaugeMetricFamily(
            "osler_hl7_silent_seconds", "For how long no message has come", labels=CONNECTION
        )
        answers = GaugeMetricFamily(
            "osler_hl7_answer_p99_seconds",
            "Within which 99 of 100 of the last answers came",
            labels=CONNECTION,
        )
        for name, tally in sorted(self._tallies.connections.items()):
            refused.add_metric([name], tally.refused)
            if tally.last:
                last.add_metric([name], tally.last / 1e6)
                silent.add_metric([name], max(0.0, time.time() - tally.last / 1e6))
            answers.add_metric([name], tally.answer_p99)
        yield from (refused, last, silent, answers)
