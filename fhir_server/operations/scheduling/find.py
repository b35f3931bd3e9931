"""Appointment/$find (IHE ITI-115): the times that can be had, as proposed Appointments.

https://profiles.ihe.net/ITI/Scheduling/ITI-115.html. Reads only. What the answer has not taken into account, and why
it is empty, stands in an OperationOutcome beside the proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_r4.errors import Issue
from fhir_r4.jsonio import encode
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.answering import information
from fhir_server.interactions.bundles import bundle, outcome_entry, query_string
from fhir_server.operations.given import given
from fhir_server.operations.scheduling.offering import Offers, offers
from fhir_server.operations.scheduling.proposed import Wishes, proposed
from fhir_server.operations.scheduling.question import Question, read_question
from fhir_server.operations.scheduling.required import with_required
from fhir_server.operations.seeing import require_seen

DEFINITION = "https://osler.health/fhir/OperationDefinition/Appointment-find"
MOST_REASONS = 20


async def find(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset of proposed Appointments: `total` is how many there are, `_count` how many are told."""
    taken = given(call, DEFINITION)
    await require_seen(call, services, taken)
    question = await read_question(taken, services, call.request.base, call.request.actor.policy)
    question = await with_required(question, services)
    found = await offers(services, question)
    wishes = Wishes(
        question.patients,
        question.new_patients,
        question.reasons,
        question.referral,
        question.service,
        question.service_sequence,
    )
    base = call.request.base
    entries = [_entry(base, proposed(offer, wishes, services.settings), services) for offer in found.offers]
    issues = [*_issues(question), *(information(reason) for reason in found.reasons[:MOST_REASONS])]
    if issues:
        entries.append(outcome_entry(issues))
    return bundle("searchset", _links(call, question, found), entries, found.total)


def _entry(base: str, appointment: Resource, services: Services) -> bytes:
    id = appointment.get("id")
    address = f"{base}/Appointment/{id}" if id is not None else f"urn:uuid:{services.new_id()}"
    entry: dict[str, Any] = {"fullUrl": address, "resource": appointment, "search": {"mode": "match"}}
    return encode(entry)


def _issues(question: Question) -> Sequence[Issue]:
    if question.insured:
        return [information("insurance-reference was not looked at: nothing here says who takes which plan.")]
    return []


def _links(call: OperationCall, question: Question, found: Offers) -> list[tuple[str, str]]:
    """The address of the question and of the next page; only a question that was asked by GET has one."""
    if call.request.method != "GET":
        return []
    address = f"{call.request.base}/Appointment/$find"
    pairs = [(n, v) for n, v in call.request.query if n != "_offset"]
    links = [("self", f"{address}?{query_string(list(call.request.query))}")]
    after = question.offset + len(found.offers)
    if found.offers and after < found.total:
        links.append(("next", f"{address}?{query_string([*pairs, ('_offset', str(after))])}"))
    return links
