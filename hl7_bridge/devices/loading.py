"""Device profiles from YAML: read safely, checked by `schema.json`, compiled, and tried on their own samples.

An invariant to keep: `activate` and `library` give only profiles whose samples become what the profile says they become.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jsonschema
import yaml

from hl7_bridge.charsets import encode
from hl7_bridge.devices.conditions import Condition, Pick, compile_condition, compile_pick
from hl7_bridge.devices.profile import (
    Answering,
    Identity,
    PatientRule,
    Profile,
    Recognition,
    ResultRules,
    Sample,
    SpecimenRule,
    Test,
    Transport,
)
from hl7_bridge.devices.value_rules import Sentinel, ValueRules, word_key
from hl7_bridge.mapping.tables.results import INTERPRETATION

Data = Mapping[str, Any]
# What result words mean where a profile names no system for them.
WORDS = INTERPRETATION


class BadProfile(ValueError):
    """A profile that cannot be used; the text says where and why."""


def library(folder: Path | None = None) -> dict[str, Profile]:
    """The profiles that come with the bridge, and those of a folder, which replace ones of the same name. Raises BadProfile."""
    found = {profile.name: profile for profile in map(activate, _shipped())}
    if folder is not None:
        for path in sorted(folder.glob("*.yaml")):
            profile = activate(path.read_text(encoding="utf-8"), path.name)
            found[profile.name] = profile
    return found


def shipped(name: str) -> Profile:
    """A profile that comes with the bridge. Raises BadProfile."""
    place = files("hl7_bridge.devices") / "library" / f"{name}.yaml"
    if not place.is_file():
        raise BadProfile(f"there is no profile {name!r}")
    return activate(place.read_text(encoding="utf-8"), f"{name}.yaml")


def _shipped() -> Iterable[str]:
    places = (files("hl7_bridge.devices") / "library").iterdir()
    names = sorted((place for place in places if place.name.endswith(".yaml")), key=lambda one: one.name)
    return [place.read_text(encoding="utf-8") for place in names]


def activate(text: str, name: str = "profile") -> Profile:
    """A profile that has passed its own samples. Raises BadProfile."""
    from hl7_bridge.devices.samples import failures

    profile = load(text, name)
    wrong = [told for sample in profile.samples for told in failures(profile, sample)]
    if wrong:
        raise BadProfile(f"{name}: its samples do not become what it says: {'; '.join(wrong[:5])}")
    return profile


def load(text: str, name: str = "profile") -> Profile:
    """A profile of YAML, whether its samples pass or not. Raises BadProfile."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadProfile(f"{name}: no YAML: {' '.join(str(error).split())}") from error
    wrong = sorted(
        _validator().iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path]
    )
    if wrong:
        first = wrong[0]
        place = "/".join(str(part) for part in first.absolute_path) or "the file"
        raise BadProfile(f"{name}: at {place}: {_told(first)}")
    try:
        return _profile(data, hashlib.sha256(text.encode()).hexdigest()[:16])
    except ValueError as error:
        raise BadProfile(f"{name}: {error}") from error


def _told(error: Any) -> str:
    """What is wrong, without much of what stands there: a sample has many lines."""
    if error.validator == "pattern" and "message" in list(error.absolute_path)[-1:]:
        return "a message of HL7 v2 begins with MSH, one of ASTM with H and its delimiters"
    shown = " ".join(str(error.message).split())
    return shown if len(shown) <= 300 else f"{shown[:150]} ... {shown[-145:]}"


@cache
def _validator() -> Any:
    schema = json.loads((files("hl7_bridge.devices") / "schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _profile(data: Data, digest: str) -> Profile:
    zone = data.get("zone", "")
    if zone:
        _require_zone(zone)
    tests = tuple(_test(one) for one in data.get("tests", ()))
    recognition = data.get("recognition", {})
    identity = data.get("identity")
    patient = data.get("patient", {})
    specimen = data.get("specimen", {})
    answering = {**data.get("answering", {})}
    answering["echo"] = tuple(answering.get("echo", {}).items())
    transport = {**data.get("transport", {})}
    transport["heartbeat"] = bytes.fromhex(transport.get("heartbeat", ""))
    transport["charsets"] = tuple(transport.get("charsets", ()))
    return Profile(
        name=data["name"],
        digest=digest,
        transport=Transport(**transport),
        answering=Answering(**answering),
        zone=zone,
        systems=data.get("systems", {}),
        title=data["title"],
        identity=Identity(None if identity is None else compile_condition(identity)),
        specimen=SpecimenRule(
            _picks(specimen.get("paths", ())), specimen.get("system", ""), specimen.get("position", "auto")
        ),
        patient=PatientRule(
            patient.get("match", "identifier"),
            _picks(patient.get("paths", ())),
            patient.get("system", ""),
            patient.get("unmatched", "hold"),
        ),
        results=_results(data.get("results", {}), data.get("values", {})),
        recognition=Recognition(
            _recognised(recognition.get("quality_control", "none")),
            _recognised(recognition.get("calibration", "none")),
        ),
        orders=data.get("orders", "none"),
        tests=tests,
        samples=tuple(_sample(one) for one in data["samples"]),
        tests_by_code=_by_code(tests),
    )


def _results(data: Data, values: Data) -> ResultRules:
    rules = {**data}
    for name in ("code", "name", "flags"):
        rules[name] = _picks(rules.get(name, ()))
    for name in ("counts", "ignored"):
        rules[name] = tuple(compile_condition(one) for one in rules.get(name, ()))
    for name in ("key", "asks"):
        if name in rules:
            rules[name] = tuple(rules[name])
    rules["flag_words"] = {word_key(word): code for word, code in rules.get("flag_words", {}).items()}
    return ResultRules(**rules, values=_values(values))


def _values(data: Data) -> ValueRules:
    rules = {**data}
    rules["words"] = _words(rules.get("words", {}))
    try:
        rules["sentinels"] = tuple(
            Sentinel(re.compile(one["pattern"]), one.get("absent", "unknown"), one.get("status", ""))
            for one in rules.get("sentinels", ())
        )
    except re.error as error:
        raise ValueError(f"a sentinel is no pattern: {error}") from error
    made = ValueRules(**rules)
    if made.thousands and made.thousands in made.decimal:
        raise ValueError("the mark of decimals and that of thousands are the same")
    return made


def _test(data: Data) -> Test:
    critical = data.get("critical", {})
    return Test(
        data["code"],
        tuple(data.get("aliases", ())),
        tuple(data.get("specimens", ())),
        data.get("loinc", ""),
        data.get("display", ""),
        data.get("unit", ""),
        data.get("decimals"),
        _words(data.get("words", {})),
        (critical.get("low", ""), critical.get("high", "")),
    )


def _by_code(tests: Iterable[Test]) -> dict[str, tuple[Test, ...]]:
    found: dict[str, tuple[Test, ...]] = {}
    for test in tests:
        for code in dict.fromkeys((test.code, *test.aliases)):
            rivals = found.get(code, ())
            if any(set(one.specimens) == set(test.specimens) for one in rivals):
                raise ValueError(f"two tests have the code {code!r} for the same specimens")
            found[code] = (*rivals, test)
    return found


def _sample(data: Data) -> Sample:
    message = data["message"].strip("\n").replace("\r\n", "\n").replace("\n", "\r") + "\r"
    return Sample(
        data["name"],
        encode(message),
        data["kind"],
        data.get("specimen"),
        data.get("results", {}),
        tuple(data.get("problems", ())),
    )


def _picks(told: Iterable[str | Data]) -> tuple[Pick, ...]:
    return tuple(
        compile_pick(one) if isinstance(one, str) else compile_pick(one["path"], one["pattern"])
        for one in told
    )


def _recognised(told: str | list[Data]) -> tuple[Condition, ...]:
    return () if isinstance(told, str) else tuple(compile_condition(one) for one in told)


def _words(told: Data) -> dict[str, tuple[str, str, str]]:
    return {
        word_key(text): (one.get("system", WORDS), one["code"], one.get("display", ""))
        for text, one in told.items()
    }


def _require_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{zone!r} is no time zone") from error
