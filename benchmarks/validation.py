"""validation: CPU of the structural check of a decoded resource; decoding, encoding and indexing for orientation."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks import workload
from benchmarks.figures import Figure
from benchmarks.options import Options
from fhir_r4.jsonio import decode_object, encode
from fhir_server.search.extract import Extractor
from fhir_server.search.parameters import Parameters
from profiles.structure import StructuralValidator

ROUNDS = 15
ROUND_SECONDS = 0.1
AT_MOST = {"Observation": 15.0, "Patient": 40.0}


def run(options: Options) -> list[Figure]:
    validator = StructuralValidator()
    extractor = Extractor(Parameters())
    samples = {"Observation": next(workload.observations(1, 1)), "Patient": next(workload.patients(1))}
    figures = []
    for type, made in samples.items():
        body = encode(workload.with_id(made, "sample"))
        resource = decode_object(body)
        problems = validator.check(resource)
        assert problems is None, problems
        size = f"{len(body):,} bytes of JSON"
        check = cpu_microseconds(validator.check, resource, options)
        figures.append(Figure(f"validate {type}", check, "µs of CPU", None, AT_MOST[type], True, size))
        steps: tuple[tuple[str, Callable[[Any], Any], Any], ...] = (
            ("decode", decode_object, body),
            ("encode", encode, resource),
            ("index", extractor.extract, resource),
        )
        figures += [
            Figure(f"{name} {type}", cpu_microseconds(f, v, options), "µs of CPU") for name, f, v in steps
        ]
    return figures


def cpu_microseconds(function: Callable[[Any], Any], value: Any, options: Options) -> float:
    """Median over rounds of the CPU time of one call."""
    function(value)
    started = time.process_time()
    for _ in range(100):
        function(value)
    calls = max(10, int(ROUND_SECONDS * options.scale / ((time.process_time() - started) / 100 + 1e-9)))
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(calls):
            function(value)
        rounds.append((time.process_time() - started) / calls)
    return median(rounds) * 1e6
