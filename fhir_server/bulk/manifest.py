"""The manifest of an export: which files hold what, and how much of it. Written by `osler export`, obeyed by `osler load`.

Its form is the one of the Bulk Data export, https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest, with
addresses relative to the manifest. It is plain JSON, not FHIR, so a JSON Schema checks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhir_r4.errors import InvalidRequest, MalformedJson
from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import format_instant

NAME = "manifest.json"

SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["transactionTime", "output"],
    "properties": {
        "transactionTime": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T"},
        "request": {"type": "string"},
        "requiresAccessToken": {"type": "boolean"},
        "output": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "url"],
                "properties": {
                    "type": {"type": "string", "pattern": "^[A-Z][A-Za-z]+$"},
                    "url": {"type": "string", "pattern": r"^[^/\\:][^\\:]*\.ndjson(\.gz|\.bz2)?$"},
                    "count": {"type": "integer", "minimum": 0},
                },
            },
        },
        "error": {"type": "array"},
        "deleted": {"type": "array", "maxItems": 0},
    },
}


@dataclass(frozen=True, slots=True)
class Output:
    """A file of the manifest; `count` is the number of resources in it, None when the manifest does not say."""

    type: str
    file: Path
    count: int | None


def write_manifest(folder: Path, names: Mapping[str, str], counts: Mapping[str, int], at: int) -> None:
    """Write the manifest of `folder`: type -> file name, type -> count, and the time of the export (microseconds)."""
    manifest = {
        "transactionTime": format_instant(at),
        "requiresAccessToken": False,
        "output": [{"type": t, "url": names[t], "count": counts[t]} for t in sorted(counts)],
        "error": [],
    }
    part = folder / f".{NAME}.part"
    part.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / NAME)


def read_manifest(file: Path) -> tuple[Output, ...]:
    """The files that a manifest names. Raises InvalidRequest with every fault: its form, files that are not there."""
    from jsonschema import Draft202012Validator

    try:
        manifest = decode_object(file.read_bytes())
    except (OSError, MalformedJson) as error:
        raise InvalidRequest(f"{file} cannot be read as a manifest: {error}") from error
    faults = [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(manifest)
    ]
    if faults:
        raise InvalidRequest(f"{file} is no manifest of an export: {'; '.join(faults)}")
    outputs = tuple(Output(o["type"], _inside(file, o["url"]), o.get("count")) for o in manifest["output"])
    missing = [str(o.file) for o in outputs if not o.file.is_file()]
    if missing:
        raise InvalidRequest(f"{file} names files that are not there: {', '.join(missing)}")
    return outputs


def _inside(manifest: Path, url: str) -> Path:
    folder = manifest.parent
    file = folder / url
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidRequest(f"{manifest} names a file outside its folder: {url}")
    return file


def governed(manifests: Iterable[Path]) -> set[Path]:
    """The manifests themselves and every file that one of them names."""
    found: set[Path] = set()
    for manifest in manifests:
        found |= {manifest, *(output.file for output in read_manifest(manifest))}
    return found
