"""PaymentNotices: that an invoice was paid, for who has sent it. https://hl7.org/fhir/R4/paymentnotice.html"""

from __future__ import annotations

from fhir_server.context import Resource

STATUS = "http://terminology.hl7.org/CodeSystem/paymentstatus"


def notice(id: str, invoice: Resource, payment: Resource, amount: Resource) -> Resource:
    """The PaymentNotice of a payment of an Invoice."""
    return {
        "resourceType": "PaymentNotice",
        "id": id,
        "status": "active",
        "request": {"reference": f"Invoice/{invoice['id']}"},
        "created": payment["created"],
        "payment": {"reference": f"PaymentReconciliation/{payment['id']}"},
        "paymentDate": payment["paymentDate"],
        "recipient": invoice.get("issuer", {"display": "the issuer of the invoice"}),
        "amount": amount,
        "paymentStatus": {"coding": [{"system": STATUS, "code": "paid", "display": "Paid"}]},
    }
