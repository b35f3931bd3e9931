"""A first draft of a profile, from messages that a new device has sent: what can be seen in them, and what a person must say.

An invariant to keep: a draft claims nothing that the messages do not show; what it cannot know it asks for in a comment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from hl7_bridge.devices.loading import load
from hl7_bridge.devices.samples import mapped, summary
from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.draft import Draft, Held
from hl7_bridge.mapping.results.grouping import results_of
from hl7_bridge.mapping.units import read_unit
from hl7_bridge.message import NULL, Message, Segment, is_astm, parse

# Where the number of a specimen may stand, the likeliest first.
_SPECIMENS = ("SPM-2.1.1", "SPM-2.2.1", "SAC-3.1", "OBR-3.1", "OBR-2.1")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_COMMA = re.compile(r"[+-]?\d+,\d+")


def draft_profile(name: str, raws: Sequence[bytes]) -> str:
    """The YAML of a profile with the messages as its samples. Raises NotHl7, and ValueError when there are no messages."""
    if not raws:
        raise ValueError("a profile is drafted from messages; there are none")
    messages = [parse(raw) for raw in raws]
    results = [message for message in messages if message.type in ("ORU", "OUL")]
    data: dict[str, Any] = {"name": name, "title": _title(messages)}
    identity = _identity(messages)
    if identity:
        data["identity"] = identity
    framing = "astm" if all(is_astm(raw) for raw in raws) else "mllp"
    data["transport"] = {"role": "client", "framing": framing, "charsets": _charsets(messages)}
    data["answering"] = {"mode": "auto", "when": "stored"}
    path = _specimen(results)
    if path:
        data["specimen"] = {"paths": [path]}
    data["patient"] = {"match": "identifier" if _all_named(results) else "specimen"}
    data["recognition"] = _recognition(results)
    data["orders"] = _orders(messages)
    data["results"] = _rules(results)
    values = _values(results)
    if values:
        data["values"] = values
    data["tests"] = _tests(results)
    data["samples"] = [
        _sample(n, message, raw) for n, (message, raw) in enumerate(zip(messages, raws, strict=True), 1)
    ]
    data = {key: value for key, value in data.items() if value not in ({}, [])}
    _expect(data)
    return "\n".join([*_questions(data, messages, results), _written(data)])


def continue_profile(text: str, raws: Sequence[bytes] = (), name: str = "profile") -> str:
    """The YAML of a profile that a person has worked on, with what its samples and more messages become by it now.

    Comments are not kept. Raises BadProfile and NotHl7.
    """
    load(text, name)
    data = yaml.safe_load(text)
    first = len(data["samples"]) + 1
    data["samples"] += [_sample(n, parse(raw), raw) for n, raw in enumerate(raws, first)]
    for sample in data["samples"]:
        for told in ("specimen", "results", "problems"):
            sample.pop(told, None)
    _expect(data)
    return "\n".join(["# Its samples were filled in anew: read what they become.", _written(data)])


def is_loinc(code: str) -> bool:
    """Whether a code has the form of LOINC, with the check digit that its number gives (modulus 10)."""
    number, dash, check = code.strip().partition("-")
    if not dash or not number.isascii() or not number.isdigit() or len(number) > 7:
        return False
    digits = [int(one) for one in reversed(number)]
    doubled = "".join(str(2 * one) for one in digits[::2])
    total = sum(map(int, doubled)) + sum(digits[1::2])
    return check == str(-total % 10)


def _title(messages: Iterable[Message]) -> str:
    first = next(iter(messages)).header
    told = " ".join(
        part for field in (4, 3) for part in first.value(field).components() if part and part != NULL
    )
    return told or "A device that does not say its name"


def _identity(messages: Sequence[Message]) -> dict[str, str]:
    """Components of MSH-3 and MSH-4 that are the same in every message."""
    found = {}
    for path in ("MSH-3.1", "MSH-3.2", "MSH-4.1"):
        told = {message.get(path) for message in messages}
        if len(told) == 1 and "" not in told:
            found[path] = re.escape(told.pop())
    return found


def _charsets(messages: Iterable[Message]) -> list[str]:
    return list(dict.fromkeys(message.charset for message in messages)) or ["utf-8"]


def _specimen(results: Sequence[Message]) -> str:
    """The first place that has another number in (nearly) every message."""
    best = ""
    for path in _SPECIMENS:
        told = [message.get(path).strip() for message in results]
        full = [one for one in told if one not in ("", NULL)]
        if results and len(full) == len(results) and len(set(full)) >= max(1, len(results) // 2):
            # small counters number racks and orders, not tubes
            if all(len(one) > 3 for one in full):
                return path
            best = best or path
    return best


def _all_named(results: Sequence[Message]) -> bool:
    return bool(results) and all(message.get("PID-3").strip() not in ("", NULL) for message in results)


def _recognition(results: Sequence[Message]) -> dict[str, Any]:
    """What the standard and known devices say of controls, where a message shows it; else none, to be confirmed."""
    controls: list[dict[str, str]] = []
    calibrations: list[dict[str, str]] = []
    for path, code in (("MSH-11.1", "Q"), ("SPM-11.1", "Q"), ("MSH-16.1", "2")):
        if any(message.get(path) == code for message in results):
            controls.append({path: code})
    for path, code in (("SPM-11.1", "C"), ("SPM-11.1", "L"), ("MSH-16.1", "1")):
        if any(message.get(path) == code for message in results):
            calibrations.append({path: code})
    return {"quality_control": controls or "none", "calibration": calibrations or "none"}


def _orders(messages: Iterable[Message]) -> str:
    types = {(message.type, message.trigger) for message in messages}
    if ("QBP", "Z01") in types or ("QBP", "Z03") in types:
        return "z01"
    if any(kind == "QBP" for kind, _ in types):
        law = any("LAB-27" in message.get("MSH-21") or "WOS" in message.get("QPD-1") for message in messages)
        return "law" if law else "rsp-k11"
    if any(kind == "QRY" for kind, _ in types):
        return "qry-dsr"
    return (
        "orr"
        if any(message.get("ORC-1") == "RF" for message in messages if message.type == "ORM")
        else "none"
    )


def _results(messages: Iterable[Message]) -> Iterable[Segment]:
    return (segment for message in messages for segment in message.all("OBX"))


def _rules(results: Sequence[Message]) -> dict[str, Any]:
    rules: dict[str, Any] = {"key": ["specimen", "filler", "placer"], "repeat": "hold"}
    segments = list(_results(results))
    if segments and all(not one.text(3).strip() for one in segments):
        rules["code"] = ["OBX-4.1"]
        rules["name"] = ["OBX-4.1"]
    if any(one.text(3, 4) == "S_OTHER" for one in segments):
        rules["ignored"] = [{"OBX-3.4": "S_OTHER"}]
    if any(one.text(29) == "RSLT" for one in segments):
        rules.setdefault("ignored", []).append({"OBX-29.1": "(?!RSLT).+"})
    if any(one.text(9).strip() for one in segments):
        rules["flags"] = ["OBX-8", "OBX-9"]
    return rules


def _values(results: Sequence[Message]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    numbers = [one.text(5).strip() for one in _results(results) if one.text(2) in ("NM", "")]
    commas = [one for one in numbers if _COMMA.fullmatch(one)]
    # three digits after a comma may be thousands: that is for a person to say
    if commas and all(len(one.partition(",")[2]) != 3 for one in commas):
        values["decimal"] = ".," if any("." in one for one in numbers) else ","
    odd = Counter(
        one for one in numbers if one and not _NUMBER.fullmatch(one) and re.fullmatch(r"[*.\-]+", one)
    )
    if odd:
        values["sentinels"] = [{"pattern": re.escape(one), "absent": "error"} for one in sorted(odd)]
    return values


def _tests(results: Sequence[Message]) -> list[dict[str, Any]]:
    """A row for each code, with the unit that it was told in where that is UCUM."""
    found: dict[str, dict[str, Any]] = {}
    for segment in _results(results):
        code = segment.text(3).strip() or segment.text(4).strip()
        if code in ("", NULL) or code in found:
            continue
        row: dict[str, Any] = {"code": code}
        if segment.text(3, 3) == "LN" and is_loinc(code):
            continue
        name = segment.text(3, 2).strip() or segment.text(4).strip()
        if name and name != code:
            row["display"] = name
        unit = read_unit(segment.text(6, 1), segment.text(6, 2), segment.text(6, 3))
        if unit.code:
            row["unit"] = unit.code
        found[code] = row
    return list(found.values())


def _sample(n: int, message: Message, raw: bytes) -> dict[str, Any]:
    text = raw.decode(message.charset, "replace").replace("\r\n", "\n").replace("\r", "\n").strip()
    return {"name": f"message {n}: {message.type}^{message.trigger}", "message": text, "kind": "result"}


def _expect(data: dict[str, Any]) -> None:
    """Fill in what the samples become now, for a person to read and confirm. Raises BadProfile."""
    profile = load(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), data["name"])
    for sample, compiled in zip(data["samples"], profile.samples, strict=True):
        message = parse(compiled.message, profile.transport.charsets)
        sample["kind"] = classify(message, profile).kind
        if sample["kind"] != "result":
            continue
        try:
            draft = mapped(profile, compiled.message)
        except Held:
            continue
        numbers = {
            one.number
            for event in results_of(message, profile)
            for report in event.reports
            for one in report.specimens
        }
        if len(numbers) == 1:
            sample["specimen"] = numbers.pop()
        sample["results"] = dict(_become(draft))
        problems = sorted({problem.reason for problem in draft.problems})
        if problems:
            sample["problems"] = problems


def _become(draft: Draft) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for entry in draft.entries:
        resource = entry.resource
        if resource is not None and resource["resourceType"] == "Observation":
            codings = resource["code"].get("coding", [])
            code = codings[-1]["code"] if codings else resource["code"].get("text", "")
            yield code, summary(resource)


def _questions(data: Mapping[str, Any], messages: Sequence[Message], results: Sequence[Message]) -> list[str]:
    """What the messages do not tell."""
    asked = [
        "# Drafted from messages. Read all of it; take patients' data out of the samples before you share it.",
        "# When you have answered what is asked here, let the samples be filled in anew: osler hl7 onboard --continue FILE",
        "# Then try it (osler hl7 profiles FILE), and put it into the folder that `profiles` in hl7.yaml names.",
    ]
    odd = dict.fromkeys(warning for message in messages for warning in message.warnings)
    asked += [f"# odd: {warning}" for warning in odd]
    if "identity" not in data:
        asked.append("# identity: the messages do not name the device; the connection must.")
    asked += _about_specimens(data, results)
    if data["recognition"]["quality_control"] == "none":
        asked.append(
            "# recognition: no control was among the messages. How does the device mark one? Keep `none` only if it never sends any."
        )
    if any(_COMMA.fullmatch(one.text(5).strip()) for one in _results(results)) and "decimal" not in data.get(
        "values", {}
    ):
        asked.append("# values: there are commas in numbers; say `decimal` or `thousands`.")
    settings = dict.fromkeys(
        f"{one.text(3, 1)} {one.text(3, 2)}".strip() for one in _results(results) if one.text(2) == "IS"
    )
    if settings:
        asked.append(
            f"# results: these look like settings and marks of the device, not results; name those to leave out in `ignored`: {', '.join(settings)}"
        )
    false = dict.fromkeys(
        one.text(3)
        for one in _results(results)
        if one.text(3, 3) == "LN" and not is_loinc(one.text(3).strip())
    )
    if false:
        asked.append(f"# tests: these say that they are LOINC codes and are none: {', '.join(false)}")
    if "tests" in data:
        asked.append("# tests: give each its `loinc`.")
    return asked


def _about_specimens(data: Mapping[str, Any], results: Sequence[Message]) -> list[str]:
    if "specimen" not in data:
        return ["# specimen: no place has a number in every message; say where it stands."]
    (path,) = data["specimen"]["paths"]
    short = [one for one in dict.fromkeys(message.get(path).strip() for message in results) if len(one) <= 3]
    if short:
        return [
            f"# specimen: {path} is short ({', '.join(short[:3])}): the number of a tube, or of a place in a rack?"
        ]
    return []


class _Dumper(yaml.SafeDumper):
    """YAML with messages as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def _written(data: Mapping[str, Any]) -> str:
    written: str = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=200)
    return written
