"""The figures of the bridge for /metrics. No label says anything about a patient.

At any moment `received = duplicates + the messages of all states`, the state received (what waits) among them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fhir_server.bridge.sent import Sent
from hl7_bridge.figures import WireFigures
from hl7_bridge.journal import STATES, State
from hl7_bridge.tallies import Tallies

CONNECTION = ["connection"]
# of sockets: whether it may fall, the name, what it is, and how it is called in `of_wire`
WIRES = (
    (True, "sockets", "Sockets that are open", "open"),
    (False, "sockets_opened", "Sockets that were opened", "opened"),
    (
        False,
        "sockets_refused",
        "Sockets that were refused: too many, or an address or certificate that is not allowed",
        "refused",
    ),
    (False, "bytes", "Bytes that came", "bytes"),
    (False, "noise_bytes", "Bytes outside messages that are no heartbeats", "noise"),
    (False, "heartbeat_bytes", "Bytes of heartbeats", "heartbeats"),
    (False, "broken_off", "Messages within which the connection ended", "broken_off"),
)


def of_wire(figures: WireFigures) -> dict[str, int]:
    """What is shown of the sockets of an address."""
    return {
        "open": figures.open,
        "opened": figures.opened,
        "refused": figures.refused,
        "bytes": figures.bytes,
        "noise": figures.noise_bytes - figures.heartbeat_bytes,
        "heartbeats": figures.heartbeat_bytes,
        "broken_off": figures.incomplete,
    }


class BridgeCollector(Collector):
    """Turns tallies and counts into metrics.

    `counts` and `sent` are set before each scrape, None while the store does not answer; `tallies` are those of all processes
    of this server. `wires` are the figures of addresses, by the connections that share them. `last` says when the last message
    of a connection came as far as the store knows, `silent_since` since when one is waited for that has never come;
    microseconds since 1970.
    """

    def __init__(self, tallies: Tallies) -> None:
        self.tallies = tallies
        self.counts: Mapping[tuple[str, State], int] | None = {}
        self.sent: Mapping[str, Sent] | None = {}
        self.wires: Mapping[str, Mapping[str, int]] = {}
        self.last: Mapping[str, int] = {}
        self.silent_since: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        tallies = self.tallies.connections
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
        for (name, reason), count in sorted(self.tallies.reasons.items()):
            reasons.add_metric([name, reason], count)
        yield reasons
        depth = GaugeMetricFamily("osler_hl7_queue_depth", "Messages that the server has in work")
        depth.add_metric([], self.tallies.depth)
        yield depth
        yield from self._of_wires()
        yield from self._of_destinations()

    def _of_wires(self) -> Iterator[Metric]:
        """What came by the sockets of an address."""
        for gauge, name, what, key in WIRES:
            made: GaugeMetricFamily | CounterMetricFamily
            if gauge:
                made = GaugeMetricFamily(f"osler_hl7_{name}", what, labels=CONNECTION)
            else:
                made = CounterMetricFamily(f"osler_hl7_{name}", what, labels=CONNECTION)
            for connection, figures in sorted(self.wires.items()):
                made.add_metric([connection], figures[key])
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
        for name, tally in sorted(self.tallies.connections.items()):
            refused.add_metric([name], tally.refused)
            if tally.answers:
                answers.add_metric([name], tally.answer_p99)
        tallied = {name: tally.last for name, tally in self.tallies.connections.items() if tally.last}
        for name in sorted({*tallied, *self.last, *self.silent_since}):
            came = max(tallied.get(name, 0), self.last.get(name, 0))
            if came:
                last.add_metric([name], came / 1e6)
            since = came or self.silent_since.get(name, 0)
            if since:
                silent.add_metric([name], max(0.0, time.time() - since / 1e6))
        yield from (refused, last, silent, answers)
