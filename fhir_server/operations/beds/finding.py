"""Location/$find-bed: which beds suit, the best first, and of every other bed why it does not. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from fhir_r4.errors import InvalidRequest, Issue, NotFound
from fhir_r4.jsonio import decode_object
from fhir_server.context import FhirResponse, OperationCall, Resource, Services
from fhir_server.interactions.visibility import visible_ids
from fhir_server.operations.beds.asking import instant, reference_id, ward_ids
from fhir_server.operations.beds.board import Board
from fhir_server.operations.beds.choosing import FULL, Candidate, Wish, anonymous, candidates
from fhir_server.operations.beds.following import board_of
from fhir_server.operations.given import Given, given
from fhir_server.operations.seeing import require_seen
from fhir_server.resources.beds.places import OSLER
from fhir_server.resources.beds.stays import expected_discharge, patient_of
from fhir_server.resources.beds.surroundings import today
from fhir_server.resources.beds.wards import RULE_SYSTEM, Needs, needs_of, requirements

FIND_BED = "https://osler.health/fhir/OperationDefinition/Location-find-bed"
NOTE = OSLER + "bed-score-note"
MOST = 20


async def find_bed(call: OperationCall, services: Services) -> FhirResponse:
    """A searchset: beds that suit with `search.score`, then an OperationOutcome with an issue for each reason against others."""
    asked = given(call, FIND_BED)
    await require_seen(call, services, asked)
    wish = await _wish(call, asked, services)
    board = await board_of(services)
    for ward in wish.wards:
        if ward not in board.locations:
            raise NotFound(f"There is no Location/{ward}.")
    now = services.clock()
    found = candidates(board, wish, now, today(now, services))
    if call.request.actor.policy is not None:
        found = await _seen(call, services, board, found)
    return FhirResponse(200, resource=_searchset(call, board, found, asked))


async def _seen(
    call: OperationCall, services: Services, board: Board, found: Sequence[Candidate]
) -> list[Candidate]:
    """The beds that the actor may see; who has one is not named where the actor may not see the stay."""
    actor, seen = call.request.actor, []
    beds = await visible_ids(actor, services, "Location", (c.bed for c in found))
    stays = [r.stay for c in found for r in c.reasons if r.stay is not None]
    known = await visible_ids(actor, services, "Encounter", stays)
    for candidate in found:
        if candidate.bed in beds:
            reasons = tuple(
                r if r.stay is None or r.stay in known else anonymous(r) for r in candidate.reasons
            )
            seen.append(replace(candidate, reasons=reasons))
    return seen


async def _wish(call: OperationCall, asked: Given, services: Services) -> Wish:
    stay = await _read(services, "Encounter", reference_id(asked, "encounter", "Encounter", services))
    named = reference_id(asked, "patient", "Patient", services)
    if named is None and stay is not None:
        named = patient_of(stay, services.settings.local_bases)
    patient = await _read(services, "Patient", named)
    wards = (call.id,) if call.id is not None else ward_ids(asked, services)
    start, until = asked.one("from"), asked.one("until")
    end = None if until is None else instant(until)
    if end is None and stay is not None:
        end = expected_discharge(stay)
    return Wish(
        _needs(asked, stay, patient),
        wards,
        start=services.clock() if start is None else instant(start),
        end=end,
        stay=None if stay is None else stay["id"],
        kind=asked.one("kind") or "bed",
    )


def _needs(asked: Given, stay: Resource | None, patient: Resource | None) -> Needs:
    if patient is None:
        told = {"gender": asked.one("gender"), "birthDate": asked.one("birth-date")}
        patient = {k: v for k, v in told.items() if v is not None}
    elif "gender" in asked or "birth-date" in asked:
        raise InvalidRequest("gender and birth-date are for patients without a record.", "gender")
    extension = requirements(
        asked.all("isolation"),
        asked.one("organism"),
        asked.one("specialty"),
        asked.all("equipment"),
        asked.one("weight"),
    )
    if extension is not None:
        stay = {**(stay or {}), "extension": [extension]}
    return needs_of(stay, patient)


async def _read(services: Services, type: str, id: str | None) -> Resource | None:
    if id is None:
        return None
    found = (await services.store.read_many([(type, id)])).get((type, id))
    if found is None:
        raise NotFound(f"There is no {type}/{id}.")
    return decode_object(found.body)


def _searchset(call: OperationCall, board: Board, found: Sequence[Candidate], asked: Given) -> Resource:
    suiting = [c for c in found if not c.reasons]
    entries = [_entry(call, board, c) for c in suiting[: asked.one("_count") or MOST]]
    others = [c for c in found if c.reasons]
    if others and asked.one("rejected") is not False:
        issues = [
            Issue(
                "information",
                "business-rule",
                reason.text,
                (f"Location/{c.bed}",),
                (RULE_SYSTEM, reason.rule),
            ).as_fhir()
            for c in others
            for reason in c.reasons
        ]
        outcome = {"resourceType": "OperationOutcome", "issue": issues}
        entries.append({"resource": outcome, "search": {"mode": "outcome"}})
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(suiting)}
    return {**bundle, "entry": entries} if entries else bundle


def _entry(call: OperationCall, board: Board, candidate: Candidate) -> Resource:
    search: Resource = {"mode": "match", "score": Decimal(candidate.score) / FULL}
    if candidate.notes:
        search = {"extension": [{"url": NOTE, "valueString": note} for note in candidate.notes], **search}
    return {
        "fullUrl": f"{call.request.base}/Location/{candidate.bed}",
        "resource": board.locations[candidate.bed],
        "search": search,
    }
