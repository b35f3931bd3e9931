"""References as FHIR writes them, taken apart: relative, absolute, urn, fragment, canonical with version.

Source: https://hl7.org/fhir/R4/references.html#literal and https://hl7.org/fhir/R4/references.html#canonical. An absolute
reference below one of the server's own bases means the same as the relative one. Total: any text gives a Reference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_r4.definitions import is_resource_type

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference: `type` and `id` of a resource at `base` ('' is this server).

    What is not of RESTful form (urn:uuid, most canonical addresses) has type '' and the whole address as id; a reference
    to a contained resource (`#x`) has nothing but a fragment. `version` is that of `/_history/` or after the `|` of
    a canonical.
    """

    type: str
    id: str
    base: str = ""
    version: str = ""
    fragment: str = ""

    @property
    def contained(self) -> bool:
        return self.id == "" and self.fragment != ""

    @property
    def local(self) -> bool:
        """Whether it names a resource of this server by type and id."""
        return self.type != "" and self.base == ""

    @property
    def urn(self) -> bool:
        return self.id.startswith("urn:")


def parse_reference(text: str, local_bases: Sequence[str] = ()) -> Reference:
    """The reference that `text` writes; `local_bases` are addresses of this server, without a slash at the end."""
    address, _, fragment = text.partition("#")
    return Reference(*split_reference(address, local_bases), fragment)


def local_id(reference: Any, type: str, local_bases: Sequence[str] = ()) -> str | None:
    """The id of the resource of `type` on this server that a Reference (the element) names, or None."""
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    found = parse_reference(text, local_bases)
    return found.id if found.local and found.type == type else None


def split_reference(text: str, local_bases: Sequence[str] = ()) -> tuple[str, str, str, str]:
    """(type, id, base, version) of a reference without fragment, as in Reference."""
    parts = text.split("/")
    count = len(parts)
    if count == 2:
        if is_resource_type(parts[0]) and _ID.fullmatch(parts[1]):
            return parts[0], parts[1], "", ""
    elif count > 3 and parts[-2] == "_history":
        return _restful(text, parts[:-2], parts[-1], local_bases)
    elif count > 2:
        return _restful(text, parts, "", local_bases)
    return _whole(text)


def _restful(
    text: str, parts: list[str], version: str, local_bases: Sequence[str]
) -> tuple[str, str, str, str]:
    last, bar, canonical_version = parts[-1].partition("|")
    if not is_resource_type(parts[-2]) or not _ID.fullmatch(last) or (bar and version):
        return _whole(text)
    base = "/".join(parts[:-2])
    if len(parts) > 2 and "://" not in base:
        return _whole(text)
    if base in local_bases:
        base = ""
    return parts[-2], last, base, version or canonical_version


def _whole(text: str) -> tuple[str, str, str, str]:
    address, _, version = text.partition("|")
    return "", address, "", version


def parse_canonical(text: str) -> tuple[str, str]:
    """(address, version or '') of a canonical; a fragment stays with the address it refines."""
    address, _, rest = text.partition("|")
    version, hash_, fragment = rest.partition("#")
    return address + hash_ + fragment, version
