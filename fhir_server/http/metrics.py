"""Prometheus metrics of the server, served at /metrics. No label holds an id or a query value."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestCounts(Collector):
    """Plain counts of requests and durations, turned into metrics when they are scraped: a request costs little."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, method: str, status: int, seconds: float) -> None:
        if method not in METHODS:
            method = "other"
        key = (method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        buckets = self._buckets.get(method)
        if buckets is None:
            buckets = self._buckets[method] = [0] * (len(BUCKETS) + 1)
        buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[method] = self._seconds.get(method, 0.0) + seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "osler_requests", "FHIR requests answered", labels=["method", "status"]
        )
        for (method, status), count in sorted(self._requests.items()):
            requests.add_metric([method, str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            "osler_request_seconds", "Duration of FHIR requests", labels=["method"]
        )
        for method, counts in sorted(self._buckets.items()):
            below, rows = 0, []
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
                below += count
                rows.append((bound, float(below)))
            durations.add_metric([method], rows, self._seconds[method])
        yield durations


class Metrics:
    """Counts and durations of requests by method and status; gauges of the store are set when they are read."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counts = RequestCounts()
        self.registry.register(counts)
        self.observe = counts.observe
        self._refreshers: list[Callable[[], Awaitable[None]]] = []
        self._up = Gauge(
            "osler_store_up", "1 when the store answered this scrape, else 0", registry=self.registry
        )
        self._resources = Gauge(
            "osler_resources", "Live resources in the store", ["type"], registry=self.registry
        )
        self._sequence = Gauge(
            "osler_last_sequence", "Sequence number of the last committed version", registry=self.registry
        )

    def follow(self, collector: Collector | None, refresh: Callable[[], Awaitable[None]]) -> None:
        """Also tell the figures of a collector; `refresh` is called before each scrape."""
        if collector is not None:
            self.registry.register(collector)
            self._refreshers.append(refresh)

    async def refresh(self) -> None:
        """Bring the figures up to date that are not counted while it happens."""
        for refresh in self._refreshers:
            await refresh()

    def text(self, counts: dict[str, int] | None, last_sequence: int | None) -> bytes:
        """The exposition text, with the store's figures of this moment; None where the store does not answer."""
        self._up.set(0 if counts is None else 1)
        self._resources.clear()
        for type, count in (counts or {}).items():
            self._resources.labels(type).set(count)
        if last_sequence is not None:
            self._sequence.set(last_sequence)
        return generate_latest(self.registry)
