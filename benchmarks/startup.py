"""startup: from the start of `osler serve` on a new file to the first 200 on /fhir/metadata, and the memory it then has."""

from __future__ import annotations

import tempfile
import time
from statistics import median

from benchmarks.figures import Figure
from benchmarks.options import Options
from tests.scenarios.servers import Server, serve_command

STARTS = 5
AT_MOST_SECONDS = 1.5
AT_MOST_MEGABYTES = 150


def run(options: Options) -> list[Figure]:
    seconds, megabytes, cpu = [], [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with Server(serve_command(f"sqlite:///{folder}/osler.db", options.workers)) as server:
                server.wait_for("/fhir/metadata")
                seconds.append(time.perf_counter() - started)
                megabytes.append(server.resident_bytes() / 1e6)
                cpu.append(server.cpu_seconds())
    note = f"median of {STARTS}; slowest {max(seconds):.2f} s; CPU {median(cpu):.2f} s"
    return [
        Figure(
            "start to first 200 on /fhir/metadata", median(seconds), "s", None, AT_MOST_SECONDS, True, note
        ),
        Figure("resident memory after start", median(megabytes), "MB", None, AT_MOST_MEGABYTES, True),
    ]
