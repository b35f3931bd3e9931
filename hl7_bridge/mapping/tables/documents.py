"""The code tables of documents: HL7 tables 0191, 0270, 0271, 0273, 0291. https://hl7.org/fhir/uv/v2mappings/ (concept maps)."""

from __future__ import annotations

# table 0271 -> DocumentReference.docStatus
COMPLETION = {
    "AU": "final",
    "DI": "preliminary",
    "DO": "preliminary",
    "IN": "preliminary",
    "IP": "preliminary",
    "LA": "final",
    "PA": "preliminary",
}

# table 0273 -> DocumentReference.status; UN: not available to patients' care
AVAILABILITY = {"AV": "current", "CA": "entered-in-error", "OB": "superseded", "UN": "current"}

# table 0270 -> LOINC
TYPES: dict[str, tuple[str, str]] = {
    "CN": ("11488-4", "Consult note"),
    "DI": ("18748-4", "Diagnostic imaging study"),
    "DS": ("18842-5", "Discharge summary"),
    "ED": ("34111-5", "Emergency department Note"),
    "HP": ("34117-2", "History and physical note"),
    "OP": ("11504-8", "Surgical operation note"),
    "PN": ("11506-3", "Progress note"),
    "PR": ("28570-0", "Procedure note"),
    "SP": ("11526-1", "Pathology study"),
    "TS": ("18761-7", "Transfer summary note"),
}

# tables 0191 and 0291 -> media type
MEDIA = {
    "AP": "application/octet-stream",
    "APPLICATION": "application/octet-stream",
    "DICOM": "application/dicom",
    "GIF": "image/gif",
    "HTML": "text/html",
    "JPEG": "image/jpeg",
    "JPG": "image/jpeg",
    "MSWORD": "application/msword",
    "PDF": "application/pdf",
    "PNG": "image/png",
    "RTF": "application/rtf",
    "TEXT": "text/plain",
    "TIFF": "image/tiff",
    "TX": "text/plain",
    "XML": "application/xml",
}
