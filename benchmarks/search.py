"""search: the searches that hospital applications send most, over loaded records; for orientation, without a target.

With `--resources` those of `search_speed` instead, which have targets.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from urllib.parse import quote

from benchmarks import search_speed, workload
from benchmarks.client import ask, drive, wire
from benchmarks.figures import Figure
from benchmarks.ingest import requests
from benchmarks.options import Options

PATIENTS = 400
CONNECTIONS = 8
SECONDS = 2.0

# Name, and the search; {patient} is the id of a patient.
SEARCHES = (
    ("by name", "Patient?name=ros&_count=20"),
    ("by record number", f"Patient?identifier={workload.RECORD_NUMBERS}|{{number}}"),
    ("by birth date range", "Patient?birthdate=ge1970-01-01&birthdate=lt1980-01-01&_count=20"),
    (
        "newest values of a patient",
        "Observation?patient={patient}&code=http://loinc.org|718-7&_sort=-date&_count=20",
    ),
    ("values above a limit", "Observation?code=http://loinc.org|718-7&value-quantity=gt12&_count=20"),
    ("stays of a patient since", "Encounter?patient={patient}&date=ge2022-01-01"),
    ("chained", "Observation?patient.name=ros&_count=20"),
    ("reverse chained", "Patient?_has:Observation:patient:code=http://loinc.org|718-7&_count=20"),
    ("with included", "MedicationRequest?patient={patient}&_include=MedicationRequest:patient"),
    ("with reverse included", "Patient?_id={patient}&_revinclude=Encounter:patient"),
    ("count alone", "Observation?code=http://loinc.org|718-7&_summary=count"),
)


def run(options: Options) -> list[Figure]:
    if options.resources:
        return search_speed.run(options)
    records = [workload.as_bytes(bundle) for bundle in workload.bundles(options.amount(PATIENTS))]
    with (
        tempfile.TemporaryDirectory() as folder,
        options.serving(folder) as server,
    ):
        drive(server.port, requests(records, 0, len(records)), 4).require(200)
        ids = patient_ids(server.port, len(records))
        figures = []
        for name, template in SEARCHES:
            targets = [target(template, number, id) for number, id in ids.items()]
            found = sum(matches(server.port, t) for t in targets[:20])
            if not found:
                raise RuntimeError(f"the search finds nothing, so its time means nothing: {template}")
            sent = itertools.cycle([wire("GET", t) for t in targets])
            before = server.cpu_seconds()
            load = drive(server.port, sent, CONNECTIONS, SECONDS * options.scale).require(200)
            cpu = (server.cpu_seconds() - before) / load.requests
            note = (
                f"`{template}`: p50 {load.percentile(0.5) * 1000:.1f} ms, p95 {load.percentile(0.95) * 1000:.1f} ms at"
                f" {CONNECTIONS} connections; CPU {cpu * 1e6:.0f} µs"
            )
            figures.append(Figure(f"search {name}", load.rate, "requests/s", note=note))
    return figures


def patient_ids(port: int, count: int) -> dict[int, str]:
    """The id of each patient by his number."""
    found: dict[int, str] = {}
    path = "/fhir/Patient?_count=200&_elements=identifier"
    while path:
        status, page = ask(port, "GET", path)
        assert status == 200, page
        for entry in page["entry"]:
            found[int(entry["resource"]["identifier"][0]["value"])] = entry["resource"]["id"]
        links = {link["relation"]: link["url"] for link in page["link"]}
        path = links.get("next", "").partition("127.0.0.1")[2]
        path = path[path.find("/") :] if path else ""
    assert len(found) == count, (len(found), count)
    return found


def target(template: str, number: int, id: str) -> str:
    """The request target of a search, percent-encoded."""
    text = template.format(number=f"{number:08d}", patient=id)
    return "/fhir/" + quote(text, safe="/?&=:_-.,")


def matches(port: int, path: str) -> int:
    """How many resources a search finds on its first page, or its total when it has no page."""
    status, bundle = ask(port, "GET", path)
    assert status == 200, json.dumps(bundle)
    return len(bundle.get("entry", [])) or int(bundle.get("total", 0))
