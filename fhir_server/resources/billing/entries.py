"""The manner of ledger entries: they come with the documents that they are about and stay as they are."""

from __future__ import annotations

from fhir_r4.errors import BusinessRule
from fhir_server.resources.billing.ledger import is_entry
from fhir_server.resources.change import NOTHING, Change, Consequence


def judge_entry(change: Change) -> Consequence:
    """Refuse whatever is not the first writing of an entry by the server itself. Raises BusinessRule."""
    if is_entry(change.before):
        raise BusinessRule(
            f"Basic/{change.id} is an entry of the ledger: it stays. What is wrong is put right by a credit note or a reversal.",
            "Basic",
        )
    if is_entry(change.after) and not change.derived:
        raise BusinessRule("Entries of the ledger are written with their documents, not by hand.", "Basic")
    return NOTHING
