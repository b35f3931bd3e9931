"""How the bridge stands: what `osler hl7 status` shows, from a running server over HTTP, from a store, or from a journal of its own.

An invariant to keep: what is not known from there is None, never a number that was made up. How long answers take is known to the
server that gives them alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from fhir_r4.jsonio import decode_object
from fhir_r4.temporal import format_instant
from fhir_server.bridge.sent import figures_of
from fhir_server.bridge.store_journal import StoreJournal
from fhir_server.context import Services
from fhir_server.search.tree import TokenIs, all_of, any_of
from hl7_bridge.delivery import Resource, Unreachable
from hl7_bridge.http_server import HttpServer
from hl7_bridge.journal import Journal, State
from hl7_bridge.outgoing import DESTINATION
from hl7_bridge.reasons import REASON_SYSTEM
from hl7_bridge.work import OPEN, input_of, reason_of

Standing = dict[str, Any]
MOST_TASKS = 10_000
PAGE = 500
FHIR = "/fhir"


async def of_store(services: Services, names: Iterable[str] = (), journal: Journal | None = None) -> Standing:
    """What a store tells of connections, those in `names` included; `journal` is the one of its own. Raises Unavailable."""
    made = await _of_journal(journal or StoreJournal(services), names)
    made["destinations"] = {
        name: _destination(sent.states, sent.last) for name, sent in (await figures_of(services)).items()
    }
    return _with_tasks(made, await _tasks(services))


async def of_journal(journal: Journal, names: Iterable[str] = ()) -> Standing:
    """What a journal tells; people's work and destinations are not in it."""
    return await _of_journal(journal, names)


async def of_server(
    address: str, token: str = "", transport: httpx.AsyncBaseTransport | None = None
) -> Standing:
    """What a running server tells, at its own address or its FHIR base. Raises Unreachable or Refused."""
    origin = address.rstrip("/").removesuffix(FHIR)
    metrics = _samples(await _metrics(origin, token, transport))
    if "osler_hl7_queue_depth" not in metrics:
        raise Unreachable(f"{origin}: this server has no HL7 v2 bridge")
    server = HttpServer(origin + FHIR, token, transport)
    try:
        query = [("code", f"{REASON_SYSTEM}|"), ("status", ",".join(sorted(OPEN)))]
        tasks = await server.find("Task", query, MOST_TASKS)
    finally:
        await server.close()
    return _with_tasks(_of_metrics(metrics), tasks)


def _of_metrics(metrics: Mapping[str, list[tuple[Mapping[str, str], float]]]) -> Standing:
    connections: dict[str, Any] = {}

    def of(labels: Mapping[str, str]) -> dict[str, Any]:
        unknown = {**_connection({}, None), "entries": None, "queue_depth": None}
        one: dict[str, Any] = connections.setdefault(labels["connection"], unknown)
        return one

    for labels, _ in metrics.get("osler_hl7_silent_seconds", ()):
        of(labels)
    for labels, value in metrics.get("osler_hl7_messages", ()):
        of(labels)["states"][labels["state"]] = int(value)
    for name, key in (
        ("osler_hl7_silent_seconds", "silent_seconds"),
        ("osler_hl7_answer_p99_seconds", "answer_p99_seconds"),
    ):
        for labels, value in metrics.get(name, ()):
            of(labels)[key] = value
    for name, key in (("osler_hl7_duplicates_total", "duplicates"), ("osler_hl7_refused_total", "refused")):
        for labels, value in metrics.get(name, ()):
            of(labels)[key] = int(value)
    for labels, value in metrics.get("osler_hl7_last_message_seconds", ()):
        of(labels)["last_message"] = format_instant(int(value * 1e6))
    for labels, value in metrics.get("osler_hl7_problems_total", ()):
        of(labels)["problems"][labels["reason"]] = int(value)
    up = any(value for _, value in metrics.get("osler_store_up", ())) or "osler_hl7_messages" in metrics
    for one in connections.values():
        if up:
            one["entries"] = sum(one["states"].values())
            one["queue_depth"] = one["states"].get("received", 0)
    sent: dict[str, dict[str, int]] = {}
    for labels, value in metrics.get("osler_hl7_outbound", ()):
        sent.setdefault(labels["destination"], {})[labels["state"]] = int(value)
    acknowledged = {
        labels["destination"]: int(value * 1e6)
        for labels, value in metrics.get("osler_hl7_outbound_acknowledged_seconds", ())
    }
    destinations = {name: _destination(states, acknowledged.get(name)) for name, states in sent.items()}
    return {"connections": connections, "destinations": destinations, "waiting_for_people": {}}


async def _of_journal(journal: Journal, names: Iterable[str]) -> Standing:
    states: dict[str, dict[State, int]] = {name: {} for name in names}
    for (name, state), count in (await journal.counts()).items():
        states.setdefault(name, {})[state] = count
    connections = {name: _connection(counts, await journal.last(name)) for name, counts in states.items()}
    return {"connections": connections, "destinations": {}, "waiting_for_people": {}}


def _connection(states: Mapping[Any, int], last: int | None) -> dict[str, Any]:
    """What is known of a connection that is not asked over HTTP."""
    return {
        "entries": sum(states.values()),
        "states": dict(states),
        "queue_depth": states.get("received", 0),
        "last_message": None if last is None else format_instant(last),
        "silent_seconds": None if last is None else max(0.0, time.time() - last / 1e6),
        "answer_p99_seconds": None,
        "duplicates": None,
        "refused": None,
        "problems": {},
        "waiting_for_people": {},
    }


def _destination(states: Mapping[str, int], last: int | None) -> dict[str, Any]:
    told = None if last is None else format_instant(last)
    return {**states, "last_acknowledged": told, "waiting_for_people": {}}


def _with_tasks(made: Standing, tasks: Iterable[Resource]) -> Standing:
    """The figures with the Tasks that are open, by reason: of all, and of each connection or destination that a Task names."""
    whole: dict[str, int] = {}
    for task in tasks:
        reason = reason_of(task) or ""
        whole[reason] = whole.get(reason, 0) + 1
        one = made["connections"].get(input_of(task, "connection"))
        if one is None:
            tags = task.get("meta", {}).get("tag", ())
            to = next((tag.get("code") for tag in tags if tag.get("system") == DESTINATION), None)
            one = made["destinations"].get(to)
        if one is not None:
            one["waiting_for_people"][reason] = one["waiting_for_people"].get(reason, 0) + 1
    made["waiting_for_people"] = dict(sorted(whole.items()))
    return made


async def _tasks(services: Services) -> list[Resource]:
    """The open Tasks of the bridge, so many at the most."""
    is_open = any_of(TokenIs("status", None, status) for status in sorted(OPEN))
    where = all_of([TokenIs("code", REASON_SYSTEM, None), is_open])
    ids = list(await services.store.matching_ids("Task", where, MOST_TASKS))
    found: list[Resource] = []
    for start in range(0, len(ids), PAGE):
        keys = [("Task", id) for id in ids[start : start + PAGE]]
        stored = await services.store.read_many(keys)
        found += [decode_object(one.body) for one in stored.values() if not one.deleted]
    return found


async def _metrics(origin: str, token: str, transport: httpx.AsyncBaseTransport | None) -> str:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(headers=headers, timeout=60, transport=transport) as client:
        try:
            answer = await client.get(f"{origin}/metrics")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"{origin}: {error or type(error).__name__}") from error
    if not answer.is_success:
        raise Unreachable(f"{origin}/metrics: the server answered {answer.status_code}")
    return answer.text


def _samples(text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """The figures of the bridge by their names."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith(("osler_hl7_", "osler_store_up")):
                    found.setdefault(sample.name, []).append((sample.labels, sample.value))
    except ValueError as error:
        raise Unreachable("what was answered are no metrics") from error
    return found
