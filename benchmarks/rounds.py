"""Two servers measured in turns, A B A B, so that what else the machine does meets both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.client import Load
from tests.scenarios.servers import Server

# A load of one round against a server's port.
Round = Callable[[int], Load]


@dataclass(frozen=True, slots=True)
class Side:
    """Medians of one server over the rounds: requests a second, and CPU microseconds of a request."""

    rate: float
    cpu: float
    wait: float


def in_turns(a: Server, b: Server, one_round: Round, rounds: int) -> tuple[Side, Side]:
    """Both sides after `rounds` rounds each, and one before that is not counted."""
    loads: dict[Server, list[tuple[float, float, float]]] = {a: [], b: []}
    for number in range(rounds + 1):
        for server in (a, b):
            before = server.cpu_seconds()
            load = one_round(server.port)
            cpu = (server.cpu_seconds() - before) / load.requests
            if number:
                loads[server].append((load.rate, cpu * 1e6, load.percentile(0.5)))
    return _side(loads[a]), _side(loads[b])


def _side(loads: list[tuple[float, float, float]]) -> Side:
    rates, cpus, waits = zip(*loads, strict=True)
    return Side(median(rates), median(cpus), median(waits))
