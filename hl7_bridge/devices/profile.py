"""A device profile: what is particular to one kind of sender, compiled from YAML once when it is loaded.

An invariant to keep: a profile is data; what it says is checked by `schema.json` and by its own samples before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hl7_bridge.devices.conditions import Condition, Pick
from hl7_bridge.devices.value_rules import ValueRules


@dataclass(frozen=True, slots=True)
class Transport:
    """How bytes become messages.

    `role`: whether the sender connects to us (`client`) or we to it (`server`); `framing`: `mllp`, `length` (4 bytes, big-endian), `none`
    (a message ends where the next one begins or where nothing comes for a while) or `astm`; `heartbeat`: bytes outside of frames that mean nothing.
    """

    role: str = "client"
    framing: str = "mllp"
    heartbeat: bytes = b""
    charsets: tuple[str, ...] = ()
    strict_charset: bool = False


@dataclass(frozen=True, slots=True)
class Answering:
    """Which acknowledgement the sender likes.

    `mode`: `auto` (as MSH-15 and MSH-16 say), `original`, `enhanced` or `none`; `when`: `stored` or `mapped`; `version` '' echoes
    the sender's; `type` is MSH-9 of the answer ('': as the version has it); `echo` are fields of the message that the answer carries: (from, to), e.g. ("OBX-1", "MSA-4").
    """

    mode: str = "auto"
    when: str = "stored"
    version: str = ""
    type: str = ""
    echo: tuple[tuple[str, str], ...] = ()
    accepted_text: str = ""


@dataclass(frozen=True, slots=True)
class SpecimenRule:
    """Where the number of the specimen stands: the first of `paths` that tells one. `system` '' is the connection's own.

    `position`: whether SPM stands `before` or `after` its OBR; `auto` finds out from the first.
    """

    paths: tuple[Pick, ...]
    system: str = ""
    position: Literal["auto", "before", "after"] = "auto"


@dataclass(frozen=True, slots=True)
class PatientRule:
    """How the patient of a result is found.

    `match`: by the `identifier`s of the message and, when it has none, by specimen or order; or by `specimen` (or order) alone,
    whatever the device says of the patient. `paths` replaces PID-3 (and its kin); `unmatched`: the message is held, or a
    patient is created of what PID says (for senders that are the source of patients).
    """

    match: Literal["identifier", "specimen"] = "identifier"
    paths: tuple[Pick, ...] = ()
    system: str = ""
    unmatched: Literal["hold", "create"] = "hold"


@dataclass(frozen=True, slots=True)
class ResultRules:
    """What of OBX is a result, and how it is read.

    `key`: what a result belongs to, by which it is found again: the first of these that is told. `code`, `name`, `flags`:
    where they stand, in order. `counts`: an OBX counts when one of these holds (none: all do) and none of `ignored` does.
    `status` is meant where OBX-11 and OBR-25 are empty. `repeat`: what happens when another value comes for the same
    result, of the same rank and later: the `newest` holds, a person decides (`hold`), or `each` is kept as a result of its own.
    `unmapped`: a result whose code has no LOINC is kept under the code that it has, or waits (`hold`). `asks`: fields beside
    OBX-3 whose own codes people are asked to map (OBR-4, OBX-5, SPM-4). `notes`: whether NTE stands `before` or `after` what it
    belongs to.
    """

    key: tuple[Literal["filler", "specimen", "placer"], ...] = ("filler", "specimen", "placer")
    code: tuple[Pick, ...] = ()
    name: tuple[Pick, ...] = ()
    system: str = ""
    flags: tuple[Pick, ...] = ()
    flag_words: Mapping[str, str] = field(default_factory=dict)
    counts: tuple[Condition, ...] = ()
    ignored: tuple[Condition, ...] = ()
    status: str = "final"
    repeat: Literal["newest", "hold", "each"] = "newest"
    unmapped: Literal["keep", "hold"] = "keep"
    asks: tuple[str, ...] = ()
    notes: Literal["after", "before"] = "after"
    units: Mapping[str, str] = field(default_factory=dict)
    values: ValueRules = field(default_factory=ValueRules)


@dataclass(frozen=True, slots=True)
class Test:
    """A test of a device: its code on the wire, what it is called everywhere, and what its values are written in.

    `specimens` are the types (SPM-4) for which this row holds, none: all. `decimals`: what the number is rounded to, None: not at all.
    `critical`: the numbers below and above which a result is critical.
    """

    code: str
    aliases: tuple[str, ...] = ()
    specimens: tuple[str, ...] = ()
    loinc: str = ""
    display: str = ""
    unit: str = ""
    decimals: int | None = None
    words: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    critical: tuple[str, str] = ("", "")

    # a class of the product, not a test of it
    __test__ = False


@dataclass(frozen=True, slots=True)
class Recognition:
    """How quality control and calibration are told from patients' results: one of the conditions holds."""

    quality_control: tuple[Condition, ...] = ()
    calibration: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """By which a sender is known: all `fields` (a path and a pattern of its text) hold, or it came by a connection that names the profile."""

    fields: Condition | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A message made up for a profile and what must become of it: `kind`, and what each result shall have, by its code."""

    name: str
    message: bytes
    kind: str
    specimen: str | None
    results: Mapping[str, Mapping[str, object]]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Everything about a kind of sender: what is remembered of one belongs to this very profile. `name` and `digest` pin which rules a message was mapped by.

    `systems` gives the identifier system of an assigning authority (a namespace, or NAMESPACE&OID&ISO); `zone` '' is that of the
    server. `orders`: how the device is told what to do: `none`, `broadcast`, `law` (query,
    then OML^O33), `rsp-k11`, `qry-dsr`, `orr` (it asks by ORM^O01) or `z01`.
    """

    name: str = "generic"
    digest: str = ""
    transport: Transport = Transport()
    answering: Answering = Answering()
    zone: str = ""
    systems: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    identity: Identity = Identity()
    specimen: SpecimenRule = SpecimenRule(())
    patient: PatientRule = PatientRule()
    results: ResultRules = ResultRules()
    recognition: Recognition = Recognition()
    orders: Literal["none", "broadcast", "law", "rsp-k11", "qry-dsr", "orr", "z01"] = "none"
    tests: tuple[Test, ...] = ()
    samples: tuple[Sample, ...] = ()
    # code or alias -> the rows that name it
    tests_by_code: Mapping[str, tuple[Test, ...]] = field(default_factory=dict)

    def test(self, code: str, specimen: str = "") -> Test | None:
        """The row of a code, that of the specimen's type before one for all types."""
        found: Test | None = None
        for one in self.tests_by_code.get(code, ()):
            if specimen and specimen in one.specimens:
                return one
            if not one.specimens:
                found = found or one
        return found
