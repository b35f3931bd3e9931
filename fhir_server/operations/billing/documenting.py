"""What was printed of an Invoice that was issued, as it is kept: a DocumentReference and the Binary with the pages. Pure.

https://hl7.org/fhir/R4/documentreference.html. An invariant to keep: the same content has the same document.
"""

from __future__ import annotations

import base64
import hashlib

from fhir_server.context import Resource
from fhir_server.resources.billing.invoicing import DIGEST, extension

PDF = "application/pdf"
DOCUMENTS = "https://osler.health/fhir/CodeSystem/billing-document"


def document_id(invoice: Resource) -> str:
    """The id of the DocumentReference and Binary of what was issued: the same content has the same document."""
    told = extension(invoice, DIGEST) or {}
    text = f"{invoice['id']}|{told.get('valueString', '')}"
    return "invoice-" + hashlib.sha256(text.encode()).hexdigest()[:48]


def documents_of(
    invoice: Resource, id: str, content: bytes, title: str, at: str
) -> tuple[Resource, Resource]:
    """The DocumentReference of a printed invoice, and the Binary with the pages."""
    own = {"reference": f"Invoice/{invoice['id']}"}
    # the hash of an Attachment is SHA-1 by definition
    digest = hashlib.sha1(content, usedforsecurity=False).digest()
    document: Resource = {
        "resourceType": "DocumentReference",
        "id": id,
        "status": "current",
        "docStatus": "final",
        "type": {"coding": [{"system": DOCUMENTS, "code": "invoice", "display": "Printed invoice"}]},
        "date": at,
        "description": title,
        "content": [
            {
                "attachment": {
                    "contentType": PDF,
                    "url": f"Binary/{id}",
                    "size": len(content),
                    "hash": base64.b64encode(digest).decode(),
                    "title": title,
                    "creation": at,
                }
            }
        ],
        "context": {"related": [own]},
    }
    if "subject" in invoice:
        document["subject"] = invoice["subject"]
    if "reference" in invoice.get("issuer", {}):
        document["custodian"] = invoice["issuer"]
    numbers = [i for i in invoice.get("identifier", ()) if i.get("use") == "official"]
    if numbers:
        document["identifier"] = numbers
    binary = {
        "resourceType": "Binary",
        "id": id,
        "contentType": PDF,
        "securityContext": own,
        "data": base64.b64encode(content).decode(),
    }
    return document, binary
