"""PID: who the patient is. A patient is found by the identifiers of PID-3 (PID-2, PID-4), never by a name.

https://hl7.org/fhir/uv/v2mappings/ (PID to Patient).
"""

from __future__ import annotations

from typing import Any

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.changes import Changes, changed, merged, tell, tell_all, with_extensions
from hl7_bridge.mapping.datatypes.codes import TABLES, coding, concept
from hl7_bridge.mapping.datatypes.identifiers import identifier, type_of, typed
from hl7_bridge.mapping.datatypes.people import address, called_by, contact_point, human_name, told
from hl7_bridge.mapping.datatypes.texts import text
from hl7_bridge.mapping.datatypes.times import date_time, day
from hl7_bridge.mapping.draft import Draft, Held, Problem, identified
from hl7_bridge.mapping.records import Context
from hl7_bridge.mapping.rows import maps
from hl7_bridge.mapping.tables.languages import LANGUAGES
from hl7_bridge.mapping.tables.people import GENDERS, NOT_OF_PERSONS
from hl7_bridge.message import NULL, Segment, Value

EXTENSIONS = "http://hl7.org/fhir/StructureDefinition/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
BCP_47 = "urn:ietf:bcp:47"
SSN = "http://hl7.org/fhir/sid/us-ssn"
MARITAL = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
OMB_RACES = frozenset(("1002-5", "2028-9", "2054-5", "2076-8", "2106-3"))

SKIPS = {
    "PID-1": "The number of the segment says nothing of the patient.",
    "PID-21": "A mother's identifier alone makes no RelatedPerson; NK1 does.",
    "PID-27": "Military status is administrative and kept in the raw message.",
    "PID-31, PID-32, PID-34": "How sure the sender is of the identity is kept in the raw message.",
    "PID-33": "When the sender changed the record is the time of the event (EVN).",
    "PID-37, PID-38": "Strain and production class of animals are kept in the raw message.",
    "PID-39": "Tribal citizenship is kept in the raw message.",
}


@maps("PID-2", "PID-3", "PID-4", "PID-19", "PID-20")
def identifiers(pid: Segment, context: Context) -> list[dict[str, Any]]:
    """All identifiers of the patient; those of PID-3 first."""
    found = [identifier(value, context) for field in (3, 2, 4) for value in pid.values(field)]
    if pid.raw(19) and told(pid.value(19), 1):
        found.append(typed({"system": SSN, "value": told(pid.value(19), 1)}, "SS"))
    licence = pid.value(20)
    if licence.raw and told(licence, 1):
        state = licence.text(2).strip()
        one = typed({"system": f"https://osler.health/fhir/hl7v2/authority/DL-{state}".rstrip("-")}, "DL")
        one["value"] = told(licence, 1)
        until = day(licence.text(3))
        found.append({**one, "period": {"end": until}} if until is not None else one)
    unique: dict[tuple[str, str], dict[str, Any]] = {}
    for each in found:
        if each is not None:
            unique.setdefault((each["system"], each["value"]), each)
    return list(unique.values())


async def find_patient(pid: Segment, draft: Draft, context: Context) -> Resource | None:
    """The Patient that the segment means, through merges; None when there is none.

    Raises Held when the identifiers are those of several patients, or when there is no identifier.
    """
    keys = _keys(identifiers(pid, context))
    if not keys:
        raise Held(Problem("unmatched-patient", "The message has no patient identifier.", "PID-3", "", True))
    found: dict[str, Resource] = {}
    for patient in await draft.any_of("Patient", keys):
        surviving = await survivor(patient, draft) if "link" in patient else patient
        found[surviving["id"]] = surviving
    if len(found) > 1:
        said = " ".join(value for _, value in keys)
        problem = "The identifiers are those of several patients."
        raise Held(Problem("ambiguous-identifier", problem, "PID-3", said, True))
    return next(iter(found.values()), None)


async def survivor(patient: Resource, draft: Draft) -> Resource:
    """The Patient that has replaced this one, or itself."""
    for _ in range(10):
        link = next((one for one in patient.get("link", []) if one["type"] == "replaced-by"), None)
        if link is None:
            return patient
        id = link["other"].get("reference", "").rpartition("/")[2]
        following = await draft.find("Patient", [("_id", id)])
        if not following:
            return patient
        patient = following[0]
    return patient


def new_patient(pid: Segment, draft: Draft, context: Context) -> Resource:
    """The Patient that the segment tells of."""
    return with_patient({"resourceType": "Patient"}, pid, draft, context)


def create_patient(patient: Resource, draft: Draft) -> str:
    """Make a Patient unless somebody has made it meanwhile; the reference to it."""
    system, value = _keys(patient["identifier"])[0]
    return draft.create(patient, identified(system, value))


def with_patient(patient: Resource, pid: Segment, draft: Draft, context: Context) -> Resource:
    """The Patient with what the segment tells."""
    changes: Changes = {}
    known = identifiers(pid, context)
    if known:
        changes["identifier"] = merged(patient.get("identifier", []), known)
    _describe(changes, pid, context)
    _reach(changes, pid, context)
    _gender(changes, pid, draft)
    _life(changes, pid, context)
    return with_extensions(changed(patient, changes), _extensions(pid, context))


@maps("PID-5", "PID-9", "PID-15", "PID-16")
def _describe(changes: Changes, pid: Segment, context: Context) -> None:
    tell_all(changes, "name", pid, 5, human_name, context)
    tell_all(changes, "name", pid, 9, human_name, context)
    nicknames = [one for one in map(called_by, pid.values(5)) if one is not None]
    if nicknames and changes.get("name"):
        changes["name"] = [*changes["name"], *nicknames]
    language = spoken(pid.value(15), context)
    if pid.raw(15) == NULL:
        changes["communication"] = None
    elif language is not None:
        changes["communication"] = [{"language": language, "preferred": True}]
    tell(changes, "maritalStatus", pid, 16, _marital_status, context)


def spoken(value: Value, context: Context) -> dict[str, Any] | None:
    """A language; codes of ISO 639 without another system are told as BCP 47 has them, before the code that was sent."""
    found = concept(value, context, "0296")
    if found is None or "coding" not in found:
        return found
    codings: dict[str, dict[str, Any]] = {}
    for one in found["coding"]:
        code = one["code"].lower()
        short = LANGUAGES.get(code, code if len(code) == 2 and code.isalpha() else "")
        if short and one["system"] in (TABLES + "0296", BCP_47):
            codings.setdefault(short, {"system": BCP_47, "code": short})
    kept = [one for one in found["coding"] if one["system"] != BCP_47]
    return {**found, "coding": [*codings.values(), *kept]}


@maps("PID-11", "PID-12", "PID-13", "PID-14", "PID-40")
def _reach(changes: Changes, pid: Segment, context: Context) -> None:
    tell_all(changes, "address", pid, 11, address, context)
    county = told(pid.value(12), 1)
    if county and changes.get("address"):
        first = changes["address"][0]
        changes["address"][0] = {"district": county, **first}
    tell_all(changes, "telecom", pid, 13, lambda value, c: contact_point(value, c, "home"), context)
    tell_all(changes, "telecom", pid, 14, lambda value, c: contact_point(value, c, "work"), context)
    tell_all(changes, "telecom", pid, 40, contact_point, context)


@maps("PID-8")
def _gender(changes: Changes, pid: Segment, draft: Draft) -> None:
    code = pid.text(8).strip()
    if code == NULL:
        changes["gender"] = changes["_gender"] = None
    elif code:
        word = {"MALE": "M", "FEMALE": "F", "OTHER": "O", "UNKNOWN": "U"}.get(code.upper(), code.upper())
        mapped = draft.codes.get(("PID-8", code), {}).get("code")
        meant = GENDERS.get(word, mapped if mapped in GENDERS.values() else None)
        if meant is None:
            draft.problem("unmapped-code", f"No mapping for the sex {code!r}.", "PID-8", code)
        else:
            changes["gender"] = meant
            said = [{"url": EXTENSIONS + "originalText", "valueString": code}]
            changes["_gender"] = {"extension": said} if word in ("A", "N", "X") else None


@maps("PID-7", "PID-24", "PID-25", "PID-29", "PID-30")
def _life(changes: Changes, pid: Segment, context: Context) -> None:
    tell(changes, "birthDate", pid, 7, lambda value, _: day(value), context)
    born = date_time(pid.value(7), context)
    if changes.get("birthDate") is not None and born is not None and "T" in born:
        exact = [{"url": EXTENSIONS + "patient-birthTime", "valueDateTime": born}]
        changes["_birthDate"] = {"extension": exact}
    order = told(pid.value(25), 1)
    if order.isascii() and order.isdigit():
        _either(changes, "multipleBirth", "Integer", int(order))
    elif pid.text(24) in ("Y", "N"):
        _either(changes, "multipleBirth", "Boolean", pid.text(24) == "Y")
    elif pid.text(24) == NULL:
        _either(changes, "multipleBirth", "Boolean", None)
    died = date_time(pid.value(29), context)
    if died is not None:
        _either(changes, "deceased", "DateTime", died)
    elif pid.text(30) in ("Y", "N"):
        _either(changes, "deceased", "Boolean", pid.text(30) == "Y")
    elif NULL in (pid.raw(29), pid.raw(30)):
        _either(changes, "deceased", "Boolean", None)


def _either(changes: Changes, element: str, type: str, value: object) -> None:
    """An element that has one of several types."""
    changes.update(dict.fromkeys((element + "Boolean", element + "Integer", element + "DateTime")))
    changes[element + type] = value


@maps("PID-6", "PID-10", "PID-17", "PID-22", "PID-23", "PID-26", "PID-28", "PID-35", "PID-36")
def _extensions(pid: Segment, context: Context) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}

    def tell_extension(field: int, url: str, made: list[dict[str, Any]]) -> None:
        if pid.raw(field) == NULL:
            found[url] = []
        elif made:
            found[url] = made

    maiden = human_name(pid.value(6), context)
    if maiden is not None and "family" in maiden:
        url = EXTENSIONS + "patient-mothersMaidenName"
        tell_extension(6, url, [{"url": url, "valueString": maiden["family"]}])
    url = US_CORE + "us-core-race"
    tell_extension(10, url, _categories(pid.values(10), url, context))
    url = US_CORE + "us-core-ethnicity"
    tell_extension(22, url, _categories(pid.values(22), url, context))
    religion = concept(pid.value(17), context, "0006")
    url = EXTENSIONS + "patient-religion"
    tell_extension(17, url, [{"url": url, "valueCodeableConcept": religion}] if religion else [])
    place = text(pid.value(23))
    url = EXTENSIONS + "patient-birthPlace"
    tell_extension(23, url, [{"url": url, "valueAddress": {"text": place}}] if place else [])
    for field, name in ((26, "patient-citizenship"), (28, "patient-nationality")):
        url = EXTENSIONS + name
        countries = [c for c in (concept(value, context, "0171") for value in pid.values(field)) if c]
        made = [{"url": "code", "valueCodeableConcept": country} for country in countries]
        tell_extension(field, url, [{"url": url, "extension": [one]} for one in made])
    species, breed = concept(pid.value(35), context, "0446"), concept(pid.value(36), context, "0447")
    url = EXTENSIONS + "patient-animal"
    parts = [{"url": "species", "valueCodeableConcept": species}] if species else []
    if species and breed:
        parts.append({"url": "breed", "valueCodeableConcept": breed})
    tell_extension(35, url, [{"url": url, "extension": parts}] if parts else [])
    return found


def _categories(values: tuple[Value, ...], url: str, context: Context) -> list[dict[str, Any]]:
    """Race or ethnicity, after US Core: the codes of the OMB, others as details, and the words."""
    parts: list[dict[str, Any]] = []
    words: list[str] = []
    for value in values:
        found = coding(value, context, "0005" if url.endswith("race") else "0189")
        if found is not None:
            top = found["code"] in OMB_RACES or found["code"] in ("2135-2", "2186-5")
            parts.append({"url": "ombCategory" if top else "detailed", "valueCoding": found})
        words.append(told(value, 2) or told(value, 1))
    said = ", ".join(word for word in words if word)
    if not said:
        return []
    return [{"url": url, "extension": [*parts, {"url": "text", "valueString": said}]}]


def _marital_status(value: Value, context: Context) -> dict[str, Any] | None:
    found = concept(value, context, "0002")
    if found is None or "coding" not in found:
        return found
    meant = _MARITAL.get(found["coding"][0]["code"].upper())
    if meant is None:
        return found
    first = {"system": MARITAL, "code": meant}
    own = [one for one in found["coding"] if one["system"] != MARITAL]
    return {**found, "coding": [first, *own]}


# table 0002 -> v3-MaritalStatus; A (separated), G, O, T and U have no code there
_MARITAL = {
    "B": "U",
    "C": "C",
    "D": "D",
    "E": "L",
    "I": "I",
    "M": "M",
    "N": "A",
    "P": "T",
    "R": "T",
    "S": "S",
    "W": "W",
}


def _keys(known: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(system, value) of the identifiers that mean a person and nobody else."""
    return [(one["system"], one["value"]) for one in known if type_of(one) not in NOT_OF_PERSONS]
