"""Prometheus metrics of the server, served at /metrics. No label holds an id or a query value."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts and durations of requests by method and status; gauges of the store are set when they are read."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._seconds = Histogram(
            "osler_request_seconds",
            "Duration of FHIR requests",
            ["method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._requests = Counter(
            "osler_requests", "FHIR requests answered", ["method", "status"], registry=self.registry
        )
        self._up = Gauge(
            "osler_store_up", "1 when the store answered this scrape, else 0", registry=self.registry
        )
        self._resources = Gauge(
            "osler_resources", "Live resources in the store", ["type"], registry=self.registry
        )
        self._sequence = Gauge(
            "osler_last_sequence", "Sequence number of the last committed version", registry=self.registry
        )
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        children = self._children.get((method, status))
        if children is None:
            children = (self._requests.labels(method, str(status)), self._seconds.labels(method))
            self._children[method, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def text(self, counts: dict[str, int] | None, last_sequence: int | None) -> bytes:
        """The exposition text, with the store's figures of this moment; None where the store does not answer."""
        self._up.set(0 if counts is None else 1)
        self._resources.clear()
        for type, count in (counts or {}).items():
            self._resources.labels(type).set(count)
        if last_sequence is not None:
            self._sequence.set(last_sequence)
        return generate_latest(self.registry)
