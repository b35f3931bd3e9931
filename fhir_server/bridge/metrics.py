"""The figures of the bridge for /metrics. No label says anything about a patient.

At any moment `received = duplicates + the messages of all states`, the state received (what waits) among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fhir_server.bridge.sent import Sent
from hl7_bridge.figures import WireFigures
from hl7_bridge.journal import STATES, State
from hl7_bridge.tallies import Tallies

CONNECTION = ["connection"]
Reading = Callable[[WireFigures], float]


class BridgeCollector(Collector):
    """Turns tallies and counts into metrics.

    `counts` and `sent` are set before each scrape, None while the store does not answer. `wires` are the figures of
    addresses, by the connections that share them.
    """

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self.counts: Mapping[tuple[str, State], int] | None = {}
        self.sent: Mapping[str, Sent] | None = {}
        self.wires: Mapping[str, WireFigures] = {}

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
        yield from self._of_wires()
        yield from self._of_destinations()

    def _of_wires(self) -> Iterator[Metric]:
        """What came by the sockets of an address."""
        shown: tuple[tuple[bool, str, str, Reading], ...] = (
            (True, "osler_hl7_sockets", "Sockets that are open", lambda f: f.open),
            (False, "osler_hl7_sockets_opened", "Sockets that were opened", lambda f: f.opened),
            (
                False,
                "osler_hl7_sockets_refused",
                "Sockets that were refused: too many, or an address or certificate that is not allowed",
                lambda f: f.refused,
            ),
            (False, "osler_hl7_bytes", "Bytes that came", lambda f: f.bytes),
            (
                False,
                "osler_hl7_noise_bytes",
                "Bytes outside messages that are no heartbeats",
                lambda f: f.noise_bytes - f.heartbeat_bytes,
            ),
            (
                False,
                "osler_hl7_heartbeat_bytes",
                "Bytes of heartbeats",
                lambda f: f.heartbeat_bytes,
            ),
            (
                False,
                "osler_hl7_broken_off",
                "Messages within which the connection ended",
                lambda f: f.incomplete,
            ),
        )
        for gauge, name, what, read in shown:
            made: GaugeMetricFamily | CounterMetricFamily
            if gauge:
                made = GaugeMetricFamily(name, what, labels=CONNECTION)
            else:
                made = CounterMetricFamily(name, what, labels=CONNECTION)
            for connection, figures in sorted(self.wires.items()):
                made.add_metric([connection], read(figures))
            yield made

    def _of_destinations(self) -> Iterator[Metric]:
        """What became of messages to others."""
        if self.sent is None:
            return
        states = GaugeMetricFamily(
            "osler_hl7_outbound", "Messages to other systems by their state", labels=["destination", "state"]
        )
        last = GaugeMetricFamily(
            "osler_hl7_outbound_acknowledged_seconds",
            "When the last message was acknowledged, since 1970",
            labels=["destination"],
        )
        for name, sent in sorted(self.sent.items()):
            for state, count in sent.states.items():
                states.add_metric([name, state], count)
            if sent.last is not None:
                last.add_metric([name], sent.last / 1e6)
        yield from (states, last)

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
