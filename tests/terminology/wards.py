"""Code systems, value sets and Parameters for the tests, and services that hold them."""

from __future__ import annotations

from typing import Any

from terminology.local import LocalTerminology

Resource = dict[str, Any]

WARDS = "http://hospital.test/CodeSystem/wards"


def parameters(**values: Any) -> Resource:
    """A Parameters resource; `a__b` stands for the name `a-b`, a list for a parameter that repeats."""
    rows = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            rows.append({"name": name.replace("__", "-"), **_value(one)})
    return {"resourceType": "Parameters", "parameter": rows}


def _value(value: Any) -> Resource:
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int):
        return {"valueInteger": value}
    if isinstance(value, dict):
        if "resourceType" in value:
            return {"resource": value}
        return {"valueCodeableConcept": value} if "coding" in value else {"valueCoding": value}
    return {"valueString": value}


def named(answer: Resource) -> Resource:
    """The values of a Parameters resource by name (the last of each)."""
    return {
        p["name"]: next((v for k, v in p.items() if k not in ("name", "part")), None)
        for p in answer["parameter"]
    }


def codes(value_set: Resource) -> list[str]:
    return [row["code"] for row in value_set["expansion"].get("contains", [])]


def value_set(*include: Resource, **parts: Any) -> Resource:
    compose = {"include": list(include), **{k: parts.pop(k) for k in ("exclude", "inactive") if k in parts}}
    return {
        "resourceType": "ValueSet",
        "url": "http://hospital.test/ValueSet/x",
        "status": "active",
        "compose": compose,
        **parts,
    }


def code_system(*concepts: Resource, **parts: Any) -> Resource:
    return {
        "resourceType": "CodeSystem",
        "url": "http://hospital.test/CodeSystem/x",
        "version": "1",
        "name": "X",
        "status": "active",
        "content": "complete",
        "caseSensitive": True,
        "concept": list(concepts),
        **parts,
    }


WARD_SYSTEM = code_system(
    {
        "code": "inpatient",
        "display": "Inpatient ward",
        "property": [{"code": "notSelectable", "valueBoolean": True}],
        "concept": [
            {
                "code": "surgical",
                "display": "Surgical ward",
                "definition": "A ward for patients before and after operations.",
                "property": [{"code": "floor", "valueInteger": 2}, {"code": "lead", "valueCode": "surgeon"}],
                "designation": [
                    {"language": "de", "value": "Chirurgische Station"},
                    {"use": {"system": "http://hospital.test/use", "code": "short"}, "value": "SURG"},
                ],
                "concept": [
                    {
                        "code": "trauma",
                        "display": "Trauma ward",
                        "property": [{"code": "floor", "valueInteger": 3}],
                    }
                ],
            },
            {
                "code": "medical",
                "display": "Medical ward",
                "property": [{"code": "child", "valueCode": "trauma"}],
            },
        ],
    },
    {"code": "lazaret", "display": "Lazaret", "property": [{"code": "status", "valueCode": "retired"}]},
    url=WARDS,
    version="2024",
    name="Wards",
    language="en",
    hierarchyMeaning="is-a",
    property=[{"code": "floor", "type": "integer"}, {"code": "lead", "type": "code"}],
)


def holding(*resources: Resource) -> LocalTerminology:
    """A service over the definitions and `resources`; of several versions the last one counts as current."""

    def find(kind: str, url: str, version: str | None) -> Resource | None:
        found = None
        for resource in resources:
            same = resource["resourceType"] == kind and resource.get("url") == url
            if same and version in (None, resource.get("version")):
                found = resource
        return found

    return LocalTerminology(find)
