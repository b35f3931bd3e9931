"""Which form of patch a request holds: its media type says.

Source: https://hl7.org/fhir/R4/http.html#patch. An invariant to keep: the resource that comes in is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_r4.errors import UnsupportedMediaType
from fhir_r4.jsonio import decode, decode_object
from fhir_r4.xmlio import from_xml
from fhir_server.interactions.patching.fhirpath_patch import apply_fhirpath_patch
from fhir_server.interactions.patching.json_patch import apply_json_patch

PATCH_MEDIA_TYPES = (
    "application/json-patch+json",
    "application/fhir+json",
    "application/fhir+xml",
    "application/xml-patch+xml",
)


def apply_patch(resource: Mapping[str, Any], content_type: str, body: bytes) -> dict[str, Any]:
    """The resource after the patch in `body`, whose form `content_type` says (parameters such as charset are ignored).

    Raises UnsupportedMediaType for another media type; MalformedJson, MalformedXml, InvalidResource or InvalidRequest for
    a body that is no patch of that form; InvalidPatch for one that does not fit the resource.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json-patch+json":
        return apply_json_patch(resource, decode(body))
    if media_type == "application/fhir+json":
        return apply_fhirpath_patch(resource, decode_object(body))
    if media_type == "application/fhir+xml":
        return apply_fhirpath_patch(resource, from_xml(body))
    if media_type == "application/xml-patch+xml":
        # lxml is heavy and this form of patch is rare
        from fhir_server.interactions.patching.xml_patch import apply_xml_patch

        return apply_xml_patch(resource, body)
    raise UnsupportedMediaType(
        f"A patch has one of the media types {', '.join(PATCH_MEDIA_TYPES)}; not {media_type or 'none'}."
    )
