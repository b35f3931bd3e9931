"""startup: from the start of `osler serve` on a new file to the first 200 on /fhir/metadata, and the memory it then has.

The modules are compiled already, as they are where the package was installed, whatever the environment says of bytecode.
"""

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
    with tempfile.TemporaryDirectory() as bytecode:
        compiled = {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
        for number in range(STARTS + 1):
            with tempfile.TemporaryDirectory() as folder:
                command = serve_command(f"sqlite:///{folder}/osler.db", options.workers)
                started = time.perf_counter()
                with Server(command, compiled) as server:
                    server.wait_for("/fhir/metadata")
                    waited = time.perf_counter() - started
                    if number:
                        seconds.append(waited)
                        megabytes.append(server.resident_bytes() / 1e6)
                        cpu.append(server.cpu_seconds())
    note = f"median of {STARTS}; slowest {max(seconds):.2f} s; CPU {median(cpu):.2f} s"
    return [
        Figure(
            "start to first 200 on /fhir/metadata", median(seconds), "s", None, AT_MOST_SECONDS, True, note
        ),
        Figure("resident memory after start", median(megabytes), "MB", None, AT_MOST_MEGABYTES, True),
    ]
