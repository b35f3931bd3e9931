"""Why a message, or a part of it, waits for a person: the table of reason codes, which Tasks, figures and docs share."""

from __future__ import annotations

REASON_SYSTEM = "https://osler.health/fhir/CodeSystem/hl7-reason"

# code -> (what is wrong, what resolves it)
REASONS: dict[str, tuple[str, str]] = {
    "unmatched-patient": ("No patient has this identifier.", "Link the patient, or discard with a reason."),
    "unmatched-specimen": (
        "No specimen or order has this identifier.",
        "Link the specimen, order or patient.",
    ),
    "unmatched-location": (
        "No place, or several, have this name or identifier.",
        "Give the Location the name or identifier that the sender uses, then replay.",
    ),
    "unmatched-document": (
        "No document has this number.",
        "Send the document that is meant, then replay.",
    ),
    "ambiguous-identifier": (
        "Several resources have this identifier.",
        "Merge or correct them, then replay.",
    ),
    "unmapped-code": ("No mapping for a code.", "Map the code."),
    "unmapped-unit": ("A unit is no UCUM unit and has no mapping.", "Map the unit."),
    "unmapped-type": (
        "Messages of a type that is not mapped tell of people.",
        "Have them told in another way, or discard them with a reason; they are kept.",
    ),
    "unreadable-value": (
        "A value cannot be read without guessing.",
        "Give the device a rule for values or have the sender tell it, then replay.",
    ),
    "held-result": ("Another value for the same result is there already.", "Decide which value holds."),
    "dead-letter": (
        "The message could not be mapped.",
        "Correct the cause and replay, or discard with a reason.",
    ),
    "refused": (
        "The record refused what the message says.",
        "Correct the cause and replay, or discard with a reason.",
    ),
    "unregistered-source": ("Nothing says which device sent this.", "Register the device, then replay."),
    "ambiguous-source": ("Several devices could have sent this.", "Tell the devices apart, then replay."),
    "undecodable": (
        "Some bytes are no text in any character set of the device.",
        "Set the character set, then replay.",
    ),
    "not-taken": (
        "A destination answered a message with an error.",
        "Correct the cause and replay, or discard with a reason.",
    ),
    "rejected": (
        "A destination rejected a message.",
        "Correct the cause and replay, or discard with a reason.",
    ),
    "incomplete-batch": (
        "What a batch says of itself and what is in it differ.",
        "Ask the sender what is missing, then discard.",
    ),
    "incomplete": ("A message did not come whole.", "Ask the sender to send it again, or discard."),
}
