"""Device profiles: what is refused, that samples decide, and that messages make a draft which passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hl7_bridge.devices.loading import BadProfile, activate, library, load, shipped
from hl7_bridge.devices.onboarding import draft_profile
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.classification import classify
from hl7_bridge.message import parse
from tests.bridge.results_parts import message_of

SMALL = """
name: small
title: A small device
samples:
  - name: one result
    kind: result
    message: |
      MSH|^~\\&|DEV|LAB|||20260301||ORU^R01|1|P|2.5.1
      PID|1||MRN-1
      OBR|1||F-1
      OBX|1|NM|2345-7^Glucose^LN||5.3|mmol/L|||||F
    results:
      2345-7: {status: final, value: "5.3"}
"""


def test_every_profile_that_comes_with_the_bridge_passes_its_samples() -> None:
    profiles = library()
    assert len(profiles) >= 9
    assert all(profile.name == name and len(profile.digest) == 16 for name, profile in profiles.items())
    assert all(profile.samples for profile in profiles.values())


@pytest.mark.parametrize("name", sorted(library()))
def test_controls_among_the_samples_are_never_results(name: str) -> None:
    profile = shipped(name)
    for sample in profile.samples:
        message = parse(sample.message, profile.transport.charsets)
        assert classify(message, profile).kind == sample.kind


def test_profile_of_a_folder_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SMALL.replace("name: small", "name: generic"))
    assert library(tmp_path)["generic"].title == "A small device"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('value: "5.3"', 'value: "5.4"', "value is '5.3', not '5.4'"),
        ("2345-7: {", "9999-9: {", "9999-9 is no result"),
        ("kind: result", "kind: calibration", "it is result, not calibration"),
        ("PID|1||MRN-1", "PV1|1", "held"),
    ],
)
def test_profile_whose_sample_becomes_something_else_is_not_used(old: str, new: str, told: str) -> None:
    assert activate(SMALL).name == "small"
    with pytest.raises(BadProfile, match=told):
        activate(SMALL.replace(old, new))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("colour: red", "colour"),
        ("identity: {MSH-3.1: '('}", "no pattern"),
        ("specimen: {paths: [OBR3]}", "specimen"),
        ("zone: Mars/Olympus", "no time zone"),
        ("values: {decimal: ',', thousands: ','}", "the same"),
        ("tests: [{code: A}, {code: B, aliases: [A]}]", "two tests"),
        ("results: {repeat: always}", "results/repeat"),
        ("transport: {heartbeat: xx}", "transport/heartbeat"),
        ("title: [", "no YAML"),
        ("title: !!python/object/apply:os.getcwd []", "no YAML"),
    ],
)
def test_profile_that_says_nonsense_is_refused_with_the_place(more: str, told: str) -> None:
    with pytest.raises(BadProfile, match=told):
        load(SMALL + more)


def test_digest_pins_the_text() -> None:
    assert load(SMALL).digest == load(SMALL).digest
    assert load(SMALL).digest != load(SMALL + "\n# changed").digest


def test_row_of_the_specimens_type_comes_before_the_one_for_all() -> None:
    rows = "tests: [{code: GLU, loinc: 2345-7}, {code: GLU, specimens: [UR], loinc: 2350-7}]"
    profile = load(SMALL + rows)
    assert [profile.test("GLU", kind).loinc for kind in ("", "SER", "UR")] == ["2345-7", "2345-7", "2350-7"]  # type: ignore[union-attr]
    assert profile.test("NA") is None


MAGLUMI = """MSH|^~\\&|P1^Maglumi||LIS||2026030714300{n}||ORU^R01|MG{n}|P|2.4|||NE|NE||UTF-8
PID|1||PT000{n}||EXAMPLE^JANE
SPM|1|SN-202600{n}^^^SER^||SER
OBR|1|||TSH^Thyroid Stimulating Hormone
OBX|1||TSH||2.3{n}^|µIU/mL|0.35-4.94|N|||F|||20260307142500"""
CONTROL = """MSH|^~\\&|P1^Maglumi||LIS||20260307143009||ORU^R01|MG9|Q|2.4|||NE|NE||UTF-8
SPM|1|QC-1||SER
OBR|1|||TSH
OBX|1||TSH||1.02^|µIU/mL"""


def test_messages_of_a_new_device_make_a_profile_that_passes() -> None:
    raws = [message_of(MAGLUMI.format(n=n)) for n in (1, 2, 3)] + [message_of(CONTROL)]
    text = draft_profile("new-one", raws)
    profile = activate(text)
    data = yaml.safe_load(text)
    assert data["identity"] == {"MSH-3.1": "P1", "MSH-3.2": "Maglumi"}
    assert data["specimen"] == {"paths": ["SPM-2.1.1"]}
    assert data["recognition"]["quality_control"] == [{"MSH-11.1": "Q"}]
    assert data["tests"] == [{"code": "TSH", "unit": "u[IU]/mL"}]
    assert [sample.kind for sample in profile.samples] == ["result"] * 3 + ["quality-control"]
    assert profile.samples[0].results["TSH"]["value"] == "2.31"


def test_draft_asks_what_the_messages_do_not_tell() -> None:
    raw = message_of(MAGLUMI.format(n=1).replace("2.31^", "60,961^").replace("P1^Maglumi", ""))
    text = draft_profile("new-one", [raw])
    assert "# identity:" in text
    assert "# recognition:" in text
    assert "# values:" in text
    assert "decimal" not in yaml.safe_load(text).get("values", {})


def test_draft_asks_about_settings_false_loinc_short_numbers_and_odd_letters() -> None:
    raw = (
        "MSH|^~\\&|H360|Erba|||20260101080000||ORU^R01|1|P|2.3.1||||||BIG5\r"
        "PID|1||100001||Ünal^Ayşe\rOBR|1||7|01001^Count^99MRC\r"
        "OBX|1|IS|02001^Take Mode^99MRC||O||||||F\rOBX|2|NM|11092^Mentzer^LN||18.67||||||F\r"
        "OBX|3|NM|6690-2^WBC^LN||7.5|10*9/L|||||F\r"
    ).encode()
    told = draft_profile("counter", [raw])
    for asked in ("02001 Take Mode", "are none: 11092", "OBR-3.1 is short (7)", "odd: the bytes are not"):
        assert asked in told
    assert "6690-2" not in told.partition("samples:")[0]


def test_a_sample_is_in_the_character_set_that_it_says() -> None:
    text = (
        "name: counter\ntitle: A counter\nsamples:\n- name: one\n  kind: result\n  specimen: S-1001\n  message: |\n"
        "    MSH|^~\\&|X||||20260101080000||ORU^R01|1|P|2.5||||||8859/1\n    SPM|1|S-1001\n    OBR|1|||X\n"
        "    OBX|1|ST|FLU^Flu^L||NON DÉTECTÉ||||||F\n  results: {FLU: {status: final, text: NON DÉTECTÉ}}\n"
        "  problems: [unmapped-code]\n"
    )
    (sample,) = activate(text).samples
    assert "DÉTECTÉ".encode("iso-8859-1") in sample.message


def test_draft_without_messages_is_refused() -> None:
    with pytest.raises(ValueError, match="none"):
        draft_profile("x", [])


ADT = "MSH|^~\\&|A|B|||20260301||ADT^A40|1|P|2.5\nPID|1||NEW-1\nMRG|OLD-1"


def test_key_of_a_message_is_that_of_its_patients_or_specimens() -> None:
    plain = Profile()
    assert classify(parse(message_of(ADT)), plain).partition.split("\n") == ["patient NEW-1", "patient OLD-1"]
    oul = MAGLUMI.format(n=1)
    assert classify(parse(message_of(oul)), shipped("snibe-maglumi")).partition == "specimen SN-2026001"
    assert classify(parse(message_of(CONTROL)), shipped("generic")).kind == "quality-control"


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("ORM^O01", "order"),
        ("QBP^Q11", "query"),
        ("SIU^S12", "patient"),
        ("SSU^U03", "administrative"),
        ("ZZZ^Z01", "administrative"),
    ],
)
def test_kind_of_a_message_is_that_of_its_type(type: str, kind: str) -> None:
    assert classify(parse(message_of(f"MSH|^~\\&|A|B|||1||{type}|1|P|2.5")), Profile()).kind == kind
