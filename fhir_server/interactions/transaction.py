"""transaction: all entries of a Bundle or none, in one store transaction. https://hl7.org/fhir/R4/http.html#transaction

Order: deletes, creates, updates and patches, then reads. References between entries (`urn:uuid:`) and conditional
references are resolved before anything is written; the searches behind conditional entries are preconditions of the
commit, so what they found cannot change in between: then everything is resolved anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fhir_r4.definitions import is_resource_type
from fhir_r4.errors import (
    Duplicate,
    FhirError,
    InvalidRequest,
    InvalidResource,
    Issue,
    MultipleMatches,
    NotFound,
    PreconditionFailed,
)
from fhir_server.context import FhirRequest, FhirResponse, Resource, Services
from fhir_server.interactions.answering import location_of, outcome, preference
from fhir_server.interactions.batch import Dispatch, bundle_entries, entry_request, response_entry
from fhir_server.interactions.conditional import find_matches, find_none, if_match, require_single
from fhir_server.interactions.delete import MOST_DELETED
from fhir_server.interactions.patch import patched
from fhir_server.interactions.references import Linker, references
from fhir_server.interactions.retrying import retrying
from fhir_server.interactions.update import stale_version, version_preconditions
from fhir_server.interactions.visibility import require_current
from fhir_server.interactions.writing import commit, deletion, prepare
from fhir_server.store.protocol import Stale
from fhir_server.store.records import Method, Precondition, Stored, VersionIs, WriteOp

Key = tuple[str, str]

JSON_TYPES = frozenset({"application/fhir+json", "application/json"})
# criteria that are asked in one question
MOST_ASKED = 50
_CONDITIONAL_REFERENCE = re.compile(rb'"reference"\s*:\s*"[A-Za-z]+\?')


@dataclass(slots=True)
class Entry:
    """An entry on its way: where it stood, what it asks, and what came of it."""

    position: int
    request: FhirRequest
    full_url: str | None
    target: Key | None = None
    found: Stored | None = None
    targets: list[Key] = field(default_factory=list)
    resource: Resource | None = None
    ops: list[WriteOp] = field(default_factory=list)
    answer: Resource | None = None

    def place(self, part: str = "") -> str:
        return f"Bundle.entry[{self.position}]{part}"


@dataclass(slots=True)
class Plan:
    """What one attempt has resolved: preconditions of the commit and the new address of every entry.

    `new` are the positions of conditional creates whose criteria match nothing.
    """

    preconditions: list[Precondition] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    new: set[int] = field(default_factory=set)


async def transaction(
    request: FhirRequest,
    services: Services,
    dispatch: Dispatch,
    answer_error: Callable[[Exception], FhirResponse],
    *,
    looked: bool = False,
) -> FhirResponse:
    """Carry out the Bundle. Raises the first failure with its place; then nothing was written.

    `looked` says that who asks has just found none of what the conditional creates would make, and refers to nothing by
    criteria: then only the commit looks again, and everything is resolved anew when there is one by now. Reads come after the commit; one that finds nothing answers so in its own entry, for the writes stand.
    """
    bundle = request.resource
    assert bundle is not None
    problems = services.validator.check(bundle)
    if problems:
        raise InvalidResource(problems[0].diagnostics, issues=problems)
    asked = [
        (position, entry_request(request, entry, position), entry.get("fullUrl"))
        for position, entry in enumerate(bundle_entries(bundle))
    ]
    for position, inner, _ in asked:
        _refuse_unfit(inner, position)
    writes = [a for a in asked if a[1].method not in ("GET", "HEAD")]
    first = iter((looked,))
    answers = await retrying(
        lambda: _write(services, [Entry(*a) for a in writes], request, next(first, False))
    )
    for position, inner, _ in asked:
        if inner.method in ("GET", "HEAD"):
            try:
                response = await dispatch(inner)
            except Exception as error:
                response = answer_error(error)
            answers[position] = response_entry(response, request.base)
    ordered = [answers[position] for position in range(len(asked))]
    return FhirResponse(
        200, resource={"resourceType": "Bundle", "type": "transaction-response", "entry": ordered}
    )


def _refuse_unfit(request: FhirRequest, position: int) -> None:
    place = f"Bundle.entry[{position}].request.url"
    path = request.path
    if request.method in ("GET", "HEAD"):
        return
    if not path or not is_resource_type(path[0]):
        raise InvalidRequest(
            f"{'/'.join(path)!r} is no address that {request.method} can be sent to in a transaction.", place
        )
    length = {"POST": (1,), "PUT": (1, 2), "PATCH": (1, 2), "DELETE": (1, 2)}[request.method]
    if len(path) not in length or any(s.startswith(("$", "_")) for s in path):
        raise InvalidRequest(f"{request.method} {'/'.join(path)!r} is not done in a transaction.", place)
    if request.method in ("POST", "PUT"):
        found = None if request.resource is None else request.resource.get("resourceType")
        if found != path[0]:
            raise InvalidRequest(
                f"The entry asks for {path[0]}; its resource is {found or 'absent'}.",
                f"Bundle.entry[{position}].resource",
            )


async def _write(
    services: Services, entries: list[Entry], outer: FhirRequest, looked: bool
) -> dict[int, Resource]:
    plan = Plan()
    await _find_new(services, entries, plan, looked)
    for entry in entries:
        await _locate(services, entry, plan)
    _refuse_repeated(entries)
    if not looked and may_have_conditional_references(outer):
        await _resolve_conditional_references(services, entries, plan)
    linker = Linker(plan.addresses)
    for entry in entries:
        try:
            await _prepare(services, entry, plan, linker)
        except FhirError as error:
            raise _placed(error, entry) from error
    ordered = sorted(entries, key=lambda e: ("DELETE", "POST", "PUT", "PATCH").index(e.request.method))
    ops = [op for entry in ordered for op in entry.ops]
    resources = [e.resource for e in ordered if e.resource is not None and e.ops]
    try:
        versions, warnings = await commit(services, ops, plan.preconditions, resources, actor=outer.actor)
    except Stale as stale:
        if isinstance(stale.precondition, VersionIs) and not _is_own(stale.precondition, entries):
            raise stale_version(stale.precondition, stale.found) from stale
        raise
    _answer(ordered, versions, warnings, outer)
    return {e.position: e.answer for e in entries if e.answer is not None}


def _is_own(precondition: VersionIs, entries: Sequence[Entry]) -> bool:
    """Whether the version was expected by us (a patch read it), not by the client: then it may be tried again."""
    key = (precondition.type, precondition.id)
    return any(
        e.request.method == "PATCH" and e.target == key and if_match(e.request) is None for e in entries
    )


async def _find_new(services: Services, entries: Sequence[Entry], plan: Plan, looked: bool) -> None:
    """Ask at once for all conditional creates of a type: most often there is none of what they would make.

    With `looked` nothing is asked: the commit does.
    """
    asked: dict[str, list[tuple[Entry, str]]] = {}
    for entry in entries:
        criteria = entry.request.headers.get("if-none-exist")
        if entry.request.method == "POST" and criteria is not None:
            asked.setdefault(entry.request.path[0], []).append((entry, criteria))
    for type, several in asked.items():
        for start in range(0, len(several), MOST_ASKED):
            part = several[start : start + MOST_ASKED]
            if len(part) < 2 and not looked:
                continue
            criteria_of_all = [criteria for _, criteria in part]
            none = await find_none(part[0][0].request, services, type, criteria_of_all, looked=looked)
            if none is not None:
                plan.preconditions.append(none)
                plan.new.update(entry.position for entry, _ in part)


async def _locate(services: Services, entry: Entry, plan: Plan) -> None:
    """Find out which resource the entry is about, and what is expected of it."""
    request = entry.request
    type = request.path[0]
    try:
        if len(request.path) == 2:
            entry.target = (type, request.path[1])
            plan.preconditions += version_preconditions(request, *entry.target)
        elif request.method == "POST":
            await _locate_create(services, entry, plan, type)
        elif request.method == "DELETE":
            matches = await find_matches(request, services, type, request.query, MOST_DELETED + 1)
            most = 1 if services.settings.conditional_delete == "single" else MOST_DELETED
            if len(matches.ids) > most:
                raise MultipleMatches(f"The criteria match more than {most} {type}; nothing was deleted.")
            plan.preconditions.append(matches.precondition)
            entry.targets = [(type, id) for id in matches.ids]
        else:
            await _locate_conditional(services, entry, plan, type)
    except FhirError as error:
        raise _placed(error, entry) from error
    if entry.full_url is not None and entry.target is not None:
        address = "/".join(entry.target)
        if address != entry.full_url:
            plan.addresses[entry.full_url] = address
        if request.method == "POST" and entry.full_url.startswith("http"):
            # a relative reference means the entry whose fullUrl it is relative to
            relative = "/".join(entry.full_url.rsplit("/", 2)[1:])
            plan.addresses.setdefault(relative, address)


async def _locate_create(services: Services, entry: Entry, plan: Plan, type: str) -> None:
    criteria = entry.request.headers.get("if-none-exist")
    if criteria is not None and entry.position not in plan.new:
        matches = await find_matches(entry.request, services, type, criteria)
        plan.preconditions.append(matches.precondition)
        found = require_single(matches, type)
        if found is not None:
            entry.found = await services.store.read(type, found)
            if entry.found is None or entry.found.deleted:
                raise Stale(matches.precondition, found)
            entry.target = (type, found)
            return
    entry.target = (type, services.new_id())


async def _locate_conditional(services: Services, entry: Entry, plan: Plan, type: str) -> None:
    request = entry.request
    matches = await find_matches(request, services, type, request.query)
    plan.preconditions.append(matches.precondition)
    found = require_single(matches, type)
    if request.method == "PATCH":
        if found is None:
            raise NotFound(f"The criteria match no {type}.")
        entry.target = (type, found)
        plan.preconditions += version_preconditions(request, type, found)
        return
    assert request.resource is not None
    id = request.resource.get("id")
    if found is not None and id is not None and id != found and f"urn:uuid:{id}" != entry.full_url:
        raise InvalidRequest(f"The criteria match {type}/{found}, but the resource has the id {id!r}.")
    if found is None and if_match(request) is not None:
        raise PreconditionFailed(f"ifMatch was given, but the criteria match no {type}.")
    entry.target = (type, found or id or services.new_id())
    if found is not None:
        plan.preconditions += version_preconditions(request, type, found)


def _refuse_repeated(entries: Sequence[Entry]) -> None:
    seen: dict[Key, Entry] = {}
    for entry in entries:
        if entry.found is not None:
            continue
        for key in entry.targets or ([entry.target] if entry.target else []):
            if key in seen:
                raise Duplicate(
                    f"{'/'.join(key)} is written by entry {seen[key].position} already; once in a transaction is what is allowed.",
                    entry.place(),
                )
            seen[key] = entry


def may_have_conditional_references(request: FhirRequest) -> bool:
    """Whether it is worth looking: False only when the JSON text of the Bundle rules it out."""
    body = request.body
    if request.content_type not in JSON_TYPES or b"\\u" in body:
        return True
    return _CONDITIONAL_REFERENCE.search(body) is not None


async def _resolve_conditional_references(services: Services, entries: Sequence[Entry], plan: Plan) -> None:
    """`Patient?identifier=x` in a reference becomes the address of the one resource that it finds."""
    for entry in entries:
        if entry.request.resource is None:
            continue
        for reference in references(entry.request.resource):
            type, question, criteria = reference.partition("?")
            if not question or reference in plan.addresses or not is_resource_type(type):
                continue
            try:
                matches = await find_matches(entry.request, services, type, criteria)
                found = require_single(matches, type)
                if found is None:
                    raise PreconditionFailed(
                        f"The conditional reference {reference!r} finds no {type}; one was expected."
                    )
            except FhirError as error:
                raise _placed(error, entry, ".resource") from error
            plan.preconditions.append(matches.precondition)
            plan.addresses[reference] = f"{type}/{found}"


async def _prepare(services: Services, entry: Entry, plan: Plan, linker: Linker) -> None:
    """Make the write operations of an entry."""
    request = entry.request
    if request.method == "DELETE":
        keys = entry.targets or ([entry.target] if entry.target else [])
        entry.ops = [deletion(*key) for key in keys]
        return
    assert entry.target is not None
    if entry.found is not None:
        return
    if request.method == "PATCH":
        current = await require_current(request, services, *entry.target)
        plan.preconditions.append(VersionIs(*entry.target, current.version))
        entry.resource = patched(current, request.content_type, request.body)
        entry.ops = [prepare(services, "PATCH", linker.link(entry.resource), entry.target[1])]
        return
    assert request.resource is not None
    resource = request.resource
    if request.method == "PUT" and len(request.path) == 2 and resource.get("id") != entry.target[1]:
        raise InvalidRequest(
            f"The resource has the id {resource.get('id')!r}, the address {entry.target[1]!r}."
        )
    entry.resource = linker.link(resource)
    method: Method = "POST" if request.method == "POST" else "PUT"
    fresh = request.method == "POST"
    entry.ops = [prepare(services, method, entry.resource, entry.target[1], validated=True, fresh=fresh)]


def _placed(error: FhirError, entry: Entry, part: str = "") -> FhirError:
    """The same error, with the place of the entry in front of its expressions."""
    place = entry.place(part)
    issues = [
        Issue(i.severity, i.code, i.diagnostics, tuple(f"{place}: {e}" for e in i.expression) or (place,))
        for i in error.issues
    ]
    return type(error)(issues[0].diagnostics, issues=issues, headers=error.headers)


def _answer(
    ordered: Sequence[Entry], versions: Sequence[Stored], warnings: Sequence[Issue], outer: FhirRequest
) -> None:
    wanted = preference(outer, "return")
    position = 0
    for entry in ordered:
        own = versions[position : position + len(entry.ops)]
        position += len(entry.ops)
        entry.answer = response_entry(_response(entry, own, wanted), outer.base)
    if warnings and ordered:
        first = ordered[0].answer
        assert first is not None
        first["response"]["outcome"] = outcome(warnings)


def _response(entry: Entry, versions: Sequence[Stored], wanted: str | None) -> FhirResponse:
    if entry.request.method == "DELETE":
        single = versions[0] if len(versions) == 1 else None
        return FhirResponse(204, version=single.version if single is not None and single.version else None)
    stored = entry.found or versions[0]
    status = 200 if entry.found is not None or not stored.created else 201
    return FhirResponse(
        status,
        body=stored.body if wanted == "representation" else None,
        version=stored.version,
        updated=stored.updated,
        location=location_of(stored),
    )
