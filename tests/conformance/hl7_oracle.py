"""Compare what messages are mapped to with the bundles that other converters make of them, field by field.

`python -m tests.conformance.hl7_oracle DIR`: DIR has `manifest.csv` with the columns `file` and `expected` (addresses below DIR). What others
make of a message is no truth: each disagreement is counted by its reason, and what has no reason is told in full.
"""

from __future__ import annotations

import asyncio
import collections
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_r4.temporal import parse_interval
from fhir_server.bridge.in_process import InProcess
from fhir_server.settings import Settings
from hl7_bridge.devices.profile import Profile
from hl7_bridge.mapping.datatypes.times import told_in_zone
from hl7_bridge.mapping.draft import Draft, Held
from hl7_bridge.mapping.segments.pid import create_patient, new_patient
from hl7_bridge.mapping.table import MAPPINGS
from hl7_bridge.message import Message, NotHl7, parse
from tests.bridge.people import context_of
from tests.conformance.hl7_reasons import reason_for
from tests.conftest import start, stop

Fact = tuple[str, str]
Resource = dict[str, Any]
Read = Callable[[Resource], Iterator[str]]


def texts(*path: str) -> Read:
    """The texts at a path of members."""

    def read(resource: Resource) -> Iterator[str]:
        for value in _walk(resource, path):
            if isinstance(value, str | int | bool | Decimal):
                yield " ".join(str(value).split())

    return read


def codes(*path: str) -> Read:
    """The codes of a CodeableConcept or Coding at a path; its text when it has none."""

    def read(resource: Resource) -> Iterator[str]:
        for concept in _walk(resource, path):
            codings = concept.get("coding", [concept] if "code" in concept else [])
            found = [one["code"] for one in codings if one.get("code")]
            yield from dict.fromkeys(found or [one for one in [concept.get("text")] if one])

    return read


def times(*path: str) -> Read:
    """The instants at a path, whatever zone they are written in; days as they are."""

    def read(resource: Resource) -> Iterator[str]:
        for value in _walk(resource, path):
            # to the second: some bundles know more than the message that was made of them
            yield str(parse_interval(value)[0] // 1_000_000) if "T" in str(value) else str(value)

    return read


def numbers(*path: str) -> Read:
    def read(resource: Resource) -> Iterator[str]:
        for value in _walk(resource, path):
            yield str(Decimal(str(value)).normalize())

    return read


def numbered_at(*paths: tuple[str, ...]) -> Read:
    """The numbers of identifiers at several places; of a number with subcomponents (`1&LAB`), which others keep whole, the number."""

    def read(resource: Resource) -> Iterator[str]:
        for path in paths:
            for value in texts(*path)(resource):
                yield value.partition("&")[0]

    return read


def reached(*path: str) -> Read:
    """Numbers of telephones by their last ten digits, however they are written; other ways of reaching somebody as they are."""

    def read(resource: Resource) -> Iterator[str]:
        for value in texts(*path)(resource):
            digits = re.sub(r"\D", "", value)
            yield digits[-10:] if len(digits) >= 7 and not re.search(r"[a-wyz@]", value.lower()) else value

    return read


def _walk(node: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(node, list):
        for one in node:
            yield from _walk(one, path)
    elif not path:
        yield node
    elif isinstance(node, dict) and path[0] in node:
        yield from _walk(node[path[0]], path[1:])


# what is compared, by type of resource
FIELDS: dict[str, dict[str, Read]] = {
    "Patient": {
        "identifier": texts("identifier", "value"),
        "family": texts("name", "family"),
        "given": texts("name", "given"),
        "prefix": texts("name", "prefix"),
        "gender": texts("gender"),
        "birthDate": texts("birthDate"),
        "address.line": texts("address", "line"),
        "address.city": texts("address", "city"),
        "address.state": texts("address", "state"),
        "address.postalCode": texts("address", "postalCode"),
        "address.country": texts("address", "country"),
        "maritalStatus": codes("maritalStatus"),
        "language": codes("communication", "language"),
        "deceasedDateTime": times("deceasedDateTime"),
        "multipleBirthInteger": texts("multipleBirthInteger"),
        "telecom": reached("telecom", "value"),
    },
    "Encounter": {
        "class": codes("class"),
        "identifier": texts("identifier", "value"),
        "start": times("period", "start"),
        "end": times("period", "end"),
        "admitSource": codes("hospitalization", "admitSource"),
        "dischargeDisposition": codes("hospitalization", "dischargeDisposition"),
        "dietPreference": codes("hospitalization", "dietPreference"),
        "preAdmissionIdentifier": texts("hospitalization", "preAdmissionIdentifier", "value"),
        "type": codes("type"),
        "serviceType": codes("serviceType"),
    },
    "AllergyIntolerance": {
        "code": codes("code"),
        "category": texts("category"),
        "criticality": texts("criticality"),
    },
    "Condition": {"code": codes("code"), "onset": times("onsetDateTime")},
    "Procedure": {"code": codes("code"), "performed": times("performedDateTime")},
    "Coverage": {
        "class": texts("class", "value"),
        "start": times("period", "start"),
        "end": times("period", "end"),
        "type": codes("type"),
    },
    "RelatedPerson": {
        "family": texts("name", "family"),
        "given": texts("name", "given"),
        "gender": texts("gender"),
        "birthDate": texts("birthDate"),
        "telecom": reached("telecom", "value"),
    },
    "Account": {"identifier": texts("identifier", "value")},
    "ChargeItem": {
        "code": codes("code"),
        "quantity": numbers("quantity", "value"),
        "price": numbers("priceOverride", "value"),
        "reason": codes("reason"),
    },
    "Appointment": {
        "status": texts("status"),
        "identifier": texts("identifier", "value"),
        "start": times("start"),
        "end": times("end"),
        "minutes": texts("minutesDuration"),
    },
    "DocumentReference": {
        "status": texts("status"),
        "docStatus": texts("docStatus"),
        "identifier": texts("masterIdentifier", "value"),
        "type": codes("type"),
    },
    "Observation": {
        "status": texts("status"),
        "code": codes("code"),
        "value": numbers("valueQuantity", "value"),
        "unit": texts("valueQuantity", "unit"),
        "text": texts("valueString"),
        "concept": codes("valueCodeableConcept"),
        "interpretation": codes("interpretation"),
        "effective": times("effectiveDateTime"),
        "issued": times("issued"),
    },
    "DiagnosticReport": {
        "status": texts("status"),
        "code": codes("code"),
        "identifier": numbered_at(("identifier", "value")),
        "effective": times("effectiveDateTime"),
        "issued": times("issued"),
    },
    # the guide tells SPM-3 in parent and SPM-30 in accessionIdentifier, and R4 ORC-4 in requisition; others tell them beside the rest
    "Specimen": {
        "type": codes("type"),
        "identifier": numbered_at(
            ("identifier", "value"), ("accessionIdentifier", "value"), ("parent", "identifier", "value")
        ),
    },
    "ServiceRequest": {
        "code": codes("code"),
        "identifier": numbered_at(("identifier", "value"), ("requisition", "value")),
    },
}


PERSON = ("Patient", "RelatedPerson", "AllergyIntolerance", "Condition", "Coverage", "Procedure", "Account")
RESULTS = ("Patient", "Observation", "DiagnosticReport", "Specimen")
# what messages are about; what others make of the rest of them is not looked at
ABOUT: dict[str, tuple[str, ...]] = {
    "ADT": (*PERSON, "Encounter"),
    "BAR": PERSON,
    "DFT": (*PERSON, "Encounter", "ChargeItem"),
    "MDM": ("Patient", "Encounter", "DocumentReference"),
    "OMG": ("Patient", "ServiceRequest"),
    "OML": ("Patient", "ServiceRequest", "Specimen"),
    "ORM": ("Patient", "ServiceRequest"),
    "ORU": RESULTS,
    "OUL": RESULTS,
    "SIU": ("Patient", "Appointment"),
}


def facts(resources: list[Resource]) -> collections.Counter[Fact]:
    """What is told of the fields; a fact that is told of several resources of a type counts as often."""
    found: collections.Counter[Fact] = collections.Counter()
    for resource in resources:
        for name, read in FIELDS.get(resource["resourceType"], {}).items():
            for value in dict.fromkeys(read(resource)):
                found[f"{resource['resourceType']}.{name}", value] += 1
    return found


# the zones of the machines on which the others were run; and senders who leave the status of a result empty do not mean final
ZONES = {"microsoft/FHIR-Converter": "Asia/Kolkata"}
PROFILE = Profile(results=replace(Profile().results, status="unknown"))
ORDERED = ("ORU", "OUL", "ORM", "OML", "OMG")


def numbered(raw: bytes) -> bytes:
    """The message with a number for a patient who has none: others map results of nobody, here somebody links them first."""
    lines = raw.decode("utf-8", "surrogateescape").replace("\r\n", "\r").replace("\n", "\r").split("\r")
    for n, line in enumerate(lines):
        fields = line.split("|")
        if fields[0] == "PID" and not "".join(fields[2:5]).strip("^&~ "):
            lines[n] = "|".join([*(fields + [""] * 4)[:3], "ORACLE", *fields[4:]])
    return "\r".join(lines).encode("utf-8", "surrogateescape")


async def mapped(raw: bytes, zone: str) -> list[Resource]:
    """The resources that a message becomes on an empty server. Raises Held, and KeyError when it is not mapped."""
    client = await start(Settings(store="memory:", log_level="error"))
    try:
        told: Message = parse(numbered(raw))
        context = told_in_zone(told, context_of(raw, "adt", PROFILE, zone))
        server = InProcess(client.app.dispatch)
        draft = Draft(server, context.receipt.id)
        known: list[Resource] = []
        pid = told.first("PID")
        if pid is not None and told.type in ORDERED:
            # who is examined is known before the result comes
            known = [new_patient(pid, draft, context)]
            create_patient(known[0], draft)
            await server.deliver(draft.bundle())
            draft = Draft(server, context.receipt.id)
        await MAPPINGS[told.type, told.trigger](told, draft, context)
        return known + [entry.resource for entry in draft.entries if entry.resource is not None]
    finally:
        await stop(client)


def compare(type: str, ours: list[Resource], theirs: list[Resource], raw: str) -> tuple[int, list[Fact], int]:
    """How many facts of theirs are ours too, which are not, and how many cannot be read in the message at all."""
    about = ABOUT[type]
    told = [one for one in theirs if one["resourceType"] in about and _in_message(one, raw)]
    known, asked = facts(ours), facts(told)
    beside = facts([one for one in theirs if one["resourceType"] in about]) - asked
    missing = asked - known
    foreign = [fact for fact in missing.elements() if not readable(fact, raw)]
    left = [fact for fact in missing.elements() if readable(fact, raw)]
    return sum(asked.values()) - sum(missing.values()), left, len(foreign) + sum(beside.values())


def _in_message(resource: Resource, raw: str) -> bool:
    """Whether what a result or procedure is called stands in the message: some bundles were what a message was made of."""
    if resource["resourceType"] not in ("Observation", "Procedure", "Condition", "DiagnosticReport"):
        return True
    found = list(codes("code")(resource))
    return not found or any(one in raw for one in found)


# these say something other than what they are written as
CODED = (
    "gender",
    "class",
    "status",
    "docStatus",
    "category",
    "criticality",
    "language",
    "maritalStatus",
    "minutes",
    "multipleBirthInteger",
)


TIMES = ("start", "end", "onset", "performed", "effective", "issued", "deceasedDateTime")


def readable(fact: Fact, raw: str) -> bool:
    """Whether a message tells a fact: the text of it, or a time."""
    field, value = fact
    if field.rpartition(".")[2] in CODED:
        return True
    where = raw
    if field.startswith("Patient."):
        where = "\r".join(line for line in re.split(r"[\r\n]+", raw) if line.startswith("PID"))
    if re.fullmatch(r"-?\d{8,}", value) and field.rpartition(".")[2] in TIMES:
        digits = datetime.fromtimestamp(int(value), UTC)
        return any(abs(then - digits) < timedelta(hours=15) for then in _moments(where))
    if re.fullmatch(r"\d{4}-\d\d(-\d\d)?", value):
        return value.replace("-", "") in where
    plain = re.sub(r"\\[A-Z]\\", "&", where)
    try:
        if any(Decimal(one) == Decimal(value) for one in re.findall(r"\d+(?:\.\d+)?", plain)):
            return True
    except ArithmeticError:
        pass
    squeezed = "".join(plain.split()).lower()
    return "".join(value.split()).lower() in squeezed


def _moments(raw: str) -> list[datetime]:
    found = []
    for one in re.findall(r"(?<!\d)(\d{12}(?:\d\d)?)", raw):
        try:
            found.append(datetime.strptime(one.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC))
        except ValueError:
            continue
    return found


async def run(folder: Path, verbose: bool) -> int:
    """Compare everything in the folder; how many disagreements have no reason."""
    agreed = 0
    reasons: collections.Counter[str] = collections.Counter()
    unexplained: list[str] = []
    left_out: collections.Counter[str] = collections.Counter()
    compared = foreign = 0
    for row in csv.DictReader((folder / "manifest.csv").open(encoding="utf-8")):
        if not row["expected"]:
            continue
        raw = (folder / row["file"]).read_bytes()
        try:
            theirs = [
                one["resource"]
                for one in json.loads((folder / row["expected"]).read_text("utf-8-sig"))["entry"]
            ]
            ours = await mapped(raw, ZONES.get(row["source"], "UTC"))
        except (NotHl7, KeyError):
            left_out["not mapped"] += 1
            continue
        except ValueError:
            left_out["the other's bundle is no JSON"] += 1
            continue
        except Held as held:
            left_out[f"held: {held.problem.reason}"] += 1
            continue
        compared += 1
        # notes tell of results that were taken out of the message
        text = re.sub(r"(?m)^NTE.*$", "", raw.decode("utf-8", "replace").replace("\r", "\n"))
        same, missing, beside = compare(parse(raw).type, ours, theirs, text)
        agreed += same
        foreign += beside
        for fact in missing:
            reason = reason_for(fact, row["source"], facts(ours), text)
            if reason is None:
                unexplained.append(f"{row['file']}: {fact[0]} = {fact[1]!r}")
            else:
                reasons[reason] += 1
    total = agreed + sum(reasons.values()) + len(unexplained)
    _say(f"messages compared: {compared}; left out: {dict(left_out)}")
    _say(f"facts that the messages do not tell: {foreign}")
    _say(f"facts: {total}; agreed: {agreed} ({agreed / max(total, 1):.1%})")
    _say(f"with the reasons below: {(agreed + sum(reasons.values())) / max(total, 1):.1%}")
    for reason, number in reasons.most_common():
        _say(f"{number:6} {reason}")
    by_field = collections.Counter(re.sub(r".*: (\S+) = .*", r"\1", one) for one in unexplained)
    _say(f"without a reason: {len(unexplained)} {dict(by_field.most_common())}")
    if verbose:
        _say("\n".join(unexplained))
    return len(unexplained)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), "-v" in sys.argv))
