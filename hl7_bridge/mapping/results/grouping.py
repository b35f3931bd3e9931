"""From segments to events: which OBX, NTE, SPM and ORC belong to which OBR, in whatever order a device sends them.

Source: HL7 v2.5.1 chapter 7.3 (ORU_R01, OUL_R22 to R24, ORU_R30) and what devices make of it: SPM before or after OBR, NTE before or after
what it says something about, OBX after SPM, no PID, no ORC, no OBR. An invariant to keep: every OBX ends up in exactly one report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hl7_bridge.devices.conditions import picked
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.classification import is_control
from hl7_bridge.mapping.results.events import Reported, Results, Sampled, Subject
from hl7_bridge.mapping.segments.obr import report_of
from hl7_bridge.mapping.segments.obx import counts, observed_of
from hl7_bridge.mapping.segments.spm import container_into, sampled_of
from hl7_bridge.message import Message, Segment


@dataclass(slots=True)
class Group:
    """The segments of one OBR. `results` are OBX with their NTE."""

    request: Segment | None = None
    order: Segment | None = None
    specimens: list[list[Segment]] = field(default_factory=list)
    results: list[tuple[Segment, list[Segment]]] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)
    timings: list[Segment] = field(default_factory=list)
    diagnoses: list[Segment] = field(default_factory=list)
    medication: bool = False


@dataclass(slots=True)
class Patient:
    """The segments of one PID."""

    person: Segment | None = None
    visit: Segment | None = None
    groups: list[Group] = field(default_factory=list)


def results_of(message: Message, profile: Profile) -> list[Results]:
    """The events of a message, one for each patient that it tells results of."""
    sent = message.header.text(7)
    found: list[Results] = []
    for patient in grouped(message, profile):
        groups = [group for group in patient.groups if not _of_control(group, profile)]
        if groups:
            reports = [reported_of(group, profile) for group in groups]
            found.append(Results(subject_of(patient, profile), reports, sent, message.delimiters))
    return found


def _of_control(group: Group, profile: Profile) -> bool:
    """Whether a group is about a control or calibrator that stands among patients' specimens."""
    return bool(group.specimens) and any(
        one.name == "SPM" and is_control(one, profile) for segments in group.specimens for one in segments
    )


def grouped(message: Message, profile: Profile) -> list[Patient]:
    """The segments by patient and OBR."""
    walk = _Walk(message, profile)
    for n, segment in enumerate(message.segments):
        step = _STEPS.get(segment.name)
        if step is not None:
            step(walk, segment, n)
    walk.finish()
    return walk.patients


_OF_SPECIMENS = frozenset(("SPM", "SAC", "OBR"))


class _Walk:
    """Where we are in a message. `leading`: specimens stand before their OBR."""

    def __init__(self, message: Message, profile: Profile) -> None:
        self.names = [segment.name for segment in message.segments]
        position = profile.specimen.position
        self.leading = position == "before" or (position == "auto" and self._leads(message))
        kind = message.type
        self.order_follows = kind == "OUL"
        # an order may be told by ORC alone: that it is cancelled, or taken
        self.orders_alone = kind not in ("ORU", "OUL")
        self.notes_precede = profile.results.notes == "before"
        self.patients: list[Patient] = []
        self.patient = Patient()
        self.group: Group | None = None
        self.order: Segment | None = None
        self.specimens: list[list[Segment]] = []
        self.used = True
        self.notes: list[Segment] = []
        self.timings: list[Segment] = []
        self.target: list[Segment] | None = None

    def _leads(self, message: Message) -> bool:
        for name in self.names:
            if name in _OF_SPECIMENS:
                return name != "OBR"
        return False

    def finish(self) -> None:
        """The end of a patient."""
        self.alone()
        if self.specimens and not self.used and self.group is not None:
            self.group.specimens.extend(self.specimens)
        if self.group is not None and self.notes:
            self.group.notes.extend(self.notes)
        if self.patient.groups or self.patient.person is not None:
            self.patients.append(self.patient)
        self.specimens, self.notes, self.group, self.order, self.target = [], [], None, None, None

    def pid(self, segment: Segment, n: int) -> None:
        if self.patient.person is not None or self.patient.groups:
            self.finish()
            self.patient = Patient()
        self.patient.person = segment
        self.target = None

    def pv1(self, segment: Segment, n: int) -> None:
        self.patient.visit = segment

    def orc(self, segment: Segment, n: int) -> None:
        current = self.group
        belongs = current is not None and current.order is None and not current.results
        if current is not None and belongs and (self.order_follows or self._following(n) == "OBX"):
            current.order = segment
        else:
            self.alone()
            self.order = segment
        self.target = None

    def _following(self, n: int) -> str:
        """What comes first after an ORC of what it can belong to."""
        return next((name for name in self.names[n + 1 :] if name in ("OBR", "OBX", "ORC", "SPM", "PID")), "")

    def alone(self) -> None:
        if self.orders_alone and self.order is not None:
            self.begin(None)

    def obr(self, segment: Segment, n: int) -> None:
        self.begin(segment)
        assert self.group is not None
        self.target = self.group.notes

    def begin(self, request: Segment | None) -> None:
        self.group = Group(request, self.order, [*self.specimens] if self.leading else [])
        self.group.timings, self.timings = self.timings, []
        self.used = True
        self.order = None
        self.patient.groups.append(self.group)

    def spm(self, segment: Segment, n: int) -> None:
        if self.leading or self.group is None:
            if self.used:
                self.specimens, self.used = [], False
            self.specimens.append([segment])
        else:
            self.group.specimens.append([segment])
        self.target = None

    def sac(self, segment: Segment, n: int) -> None:
        place = self.specimens if self.leading or self.group is None else self.group.specimens
        if place and all(one.name != "SAC" for one in place[-1]):
            place[-1].append(segment)
        else:
            self.spm(segment, n)

    def obx(self, segment: Segment, n: int) -> None:
        if self.group is None or (self.leading and not self.used):
            self.begin(None)
        assert self.group is not None
        notes: list[Segment] = []
        if self.notes_precede:
            notes, self.notes = self.notes, []
        self.group.results.append((segment, notes))
        self.target = notes

    def nte(self, segment: Segment, n: int) -> None:
        if self.notes_precede:
            self.notes.append(segment)
        elif self.target is not None:
            self.target.append(segment)
        elif self.group is not None:
            self.group.notes.append(segment)

    def timing(self, segment: Segment, n: int) -> None:
        if self.order is not None:
            self.timings.append(segment)
        elif self.group is not None:
            self.group.timings.append(segment)

    def diagnosis(self, segment: Segment, n: int) -> None:
        if self.group is not None:
            self.group.diagnoses.append(segment)

    def medication(self, segment: Segment, n: int) -> None:
        if self.order is not None:
            self.begin(None)
        if self.group is not None:
            self.group.medication = True

    def other(self, segment: Segment, n: int) -> None:
        """INV and the like stand between an OBX and the NTE that is not about it; TCD does not part them."""
        self.target = self.group.notes if self.group is not None else None


_STEPS = {
    "PID": _Walk.pid,
    "PV1": _Walk.pv1,
    "ORC": _Walk.orc,
    "OBR": _Walk.obr,
    "SPM": _Walk.spm,
    "SAC": _Walk.sac,
    "OBX": _Walk.obx,
    "NTE": _Walk.nte,
    "INV": _Walk.other,
    "TQ1": _Walk.timing,
    "DG1": _Walk.diagnosis,
    "RXO": _Walk.medication,
    "RXE": _Walk.medication,
}


def subject_of(patient: Patient, profile: Profile) -> Subject:
    person = patient.person
    subject = Subject(segment=person)
    if person is not None:
        subject.identifiers = person.values(3) or (
            (*person.values(2), *person.values(4)) if profile.patient.match == "identifier" else ()
        )
    if profile.patient.paths:
        at_hand = {one.name: one for one in (person, patient.visit) if one is not None}
        for group in patient.groups:
            at_hand.update((one.name, one) for one in (group.request, group.order) if one is not None)
        subject.number = picked(profile.patient.paths, at_hand)
    if patient.visit is not None:
        subject.visit = patient.visit.value(19)
    return subject


def reported_of(group: Group, profile: Profile) -> Reported:
    report = report_of(group.request, group.order, profile)
    at_hand = {one.name: one for one in (group.request, group.order) if one is not None}
    report.specimens = [_specimen(segments, at_hand, profile) for segments in group.specimens]
    if not report.specimens:
        request = group.request
        # without paths of the profile it is OBR-15 alone that tells of one
        if profile.specimen.paths or (request is not None and request.raw(15)):
            told = sampled_of(None, at_hand, profile)
            if told.number or not told.kind.empty:
                report.specimens = [told]
    if group.notes:
        report.notes = list(texts_of(group.notes))
    rules = profile.results
    chosen = bool(rules.counts or rules.ignored)
    for n, (segment, notes) in enumerate(group.results, 1):
        if not chosen or counts(segment, rules):
            observed = observed_of(segment, notes, rules)
            observed.where = f"OBX[{segment.text(1) or n}]"
            if notes:
                observed.notes = list(texts_of(notes))
            report.results.append(observed)
    return report


def _specimen(segments: list[Segment], at_hand: dict[str, Segment], profile: Profile) -> Sampled:
    named = {**at_hand, **{one.name: one for one in segments}}
    sampled = sampled_of(named.get("SPM"), named, profile)
    container = named.get("SAC")
    if container is not None:
        container_into(sampled, container)
    return sampled


def texts_of(notes: list[Segment]) -> Iterator[str]:
    for note in notes:
        text = "\n".join(value.whole() for value in note.values(3)).strip()
        if text and text != '""':
            yield text
