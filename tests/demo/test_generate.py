"""The demo is the same everywhere, is valid, complete and loads in order."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from typing import Any

import pytest

from fhir_r4.jsonio import encode
from fhir_server.demo.generate import ANCHOR, MOST_ENTRIES, generate
from fhir_server.interactions.references import references
from profiles.structure import StructuralValidator

Resource = dict[str, Any]

WANTED = """
Organization HealthcareService Schedule Slot Encounter Condition Observation ServiceRequest Specimen DiagnosticReport
MedicationRequest MedicationStatement Medication MedicationDispense AllergyIntolerance Immunization Procedure
DocumentReference Appointment Coverage ChargeItemDefinition Account Questionnaire QuestionnaireResponse CareTeam CarePlan
Task Flag
"""


def test_two_runs_give_the_same_bytes(bundles: list[Resource]) -> None:
    assert [encode(b) for b in generate()] == [encode(b) for b in bundles]


def test_another_process_with_another_hash_seed_gives_the_same_bytes(bundles: list[Resource]) -> None:
    program = (
        "import hashlib; from fhir_r4.jsonio import encode; from fhir_server.demo.generate import generate;"
        "print(hashlib.sha256(b''.join(encode(b) for b in generate())).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(digests) == 1


def test_another_seed_makes_another_hospital_of_the_same_size(bundles: list[Resource]) -> None:
    other = list(generate(seed=2))
    assert encode(other[-1]) != encode(bundles[-1])
    patients = [e for b in other for e in b["entry"] if e["resource"]["resourceType"] == "Patient"]
    assert len(patients) == 200


def test_the_anchor_moves_the_bookings() -> None:
    day = date(2027, 3, 1)
    starts = [
        e["resource"]["start"]
        for b in generate(anchor=day)
        for e in b["entry"]
        if e["resource"]["resourceType"] == "Slot"
    ]
    assert starts
    assert min(starts) > day.isoformat()


@pytest.mark.parametrize("anchor", [ANCHOR, date(2024, 2, 29), date(2026, 3, 29), date(2026, 10, 25)])
def test_every_bundle_is_valid(anchor: date) -> None:
    validator = StructuralValidator()
    assert [i for b in generate(anchor=anchor) for i in validator.check(b) or ()] == []


def test_entries_are_updates_under_unique_ids(bundles: list[Resource]) -> None:
    addresses = [e["request"]["url"] for b in bundles for e in b["entry"]]
    assert len(addresses) == len(set(addresses))
    for bundle in bundles:
        assert bundle["type"] == "transaction"
        assert 0 < len(bundle["entry"]) <= MOST_ENTRIES
        for entry in bundle["entry"]:
            resource = entry["resource"]
            assert entry["request"] == {
                "method": "PUT",
                "url": f"{resource['resourceType']}/{resource['id']}",
            }


def test_references_point_into_the_same_or_an_earlier_bundle(bundles: list[Resource]) -> None:
    known: set[str] = set()
    count = 0
    for bundle in bundles:
        known |= {e["request"]["url"] for e in bundle["entry"]}
        for entry in bundle["entry"]:
            for reference in references(entry["resource"]):
                assert reference in known, f"{entry['request']['url']} refers to {reference}"
                count += 1
    assert count > 20_000


def test_the_counts_are_as_promised(hospital: dict[str, list[Resource]]) -> None:
    beds = [place for place in hospital["Location"] if place["physicalType"]["coding"][0]["code"] == "bd"]
    assert len(beds) == 60
    assert len(hospital["Practitioner"]) == len(hospital["PractitionerRole"]) == 25
    assert len(hospital["Patient"]) == 200
    wanted = WANTED.split()
    assert [t for t in wanted if not hospital.get(t)] == []


def test_prices_keep_their_cents(hospital: dict[str, list[Resource]]) -> None:
    prices = [d["propertyGroup"][0]["priceComponent"][0]["amount"] for d in hospital["ChargeItemDefinition"]]
    assert b'{"value":12.50,"currency":"EUR"}' in [encode(p) for p in prices]
    assert all(p["currency"] == "EUR" and p["value"].as_tuple().exponent == -2 for p in prices)


def test_names_come_from_several_scripts(hospital: dict[str, list[Resource]]) -> None:
    names = "".join(p["name"][0]["family"] for p in hospital["Patient"])
    assert any("à" <= c <= "ÿ" for c in names)
    assert any("а" <= c <= "я" for c in names)
    assert any("一" <= c <= "鿿" for c in names)


def test_what_is_done_has_a_price(hospital: dict[str, list[Resource]]) -> None:
    charged = {
        (c["system"], c["code"]) for d in hospital["ChargeItemDefinition"] for c in d["code"]["coding"]
    }
    done = [*hospital["Procedure"], *hospital["DiagnosticReport"]]
    codes = {(c["system"], c["code"]) for one in done for c in one["code"]["coding"]}
    assert codes <= charged, codes - charged
    assert ("https://osler.health/fhir/CodeSystem/charge-event", "bed-day") in charged
