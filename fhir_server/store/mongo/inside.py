"""What resources contain, in documents of their own: `Group/1#m` in the collection `Patient#` (docs/adr/0011).

A document of a contained resource has the state of its container (`s`, `u`, `v`), so its body is found by sequence, and in `o`
whose it is. The container's document names in `i` the types of all that it contains or has contained. An invariant to keep:
these documents are written in the transaction that writes their container, and stay when it contains them no more, so that
the place in the order of creation is theirs for good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fhir_server.search.contained import contained_key, contained_type, logical_id
from fhir_server.search.entries import Entries
from fhir_server.store.mongo.connections import Connection, Document, Session
from fhir_server.store.mongo.entries import indexed
from fhir_server.store.records import Stored

Key = tuple[str, str]

# What is contained in a resource comes after it and before the next one: by so small parts of a sequence.
_PART = 2.0**-20


@dataclass(slots=True)
class Inner:
    """The state of a contained resource: its place in the order of creation, and whether the database has a document."""

    created: float
    deleted: bool
    stored: bool


Inside = dict[Key, Inner]


def text_of(container: Key) -> str:
    """What a document says about whose it is."""
    return f"{container[0]}/{container[1]}"


def types_inside(entries: Iterable[Entries | None]) -> set[str]:
    """The types of what is contained, as it is searched."""
    return {contained_type(one.type) for made in entries if made is not None for one in made.contained}


async def known_inside(
    connection: Connection, session: Session, containers: Mapping[Key, Collection[str]]
) -> dict[Key, Inside]:
    """What each of the containers contains or has contained, of the types that its document names."""
    found: dict[Key, Inside] = {container: {} for container in containers}
    of = {text_of(container): container for container in containers}
    by_type: dict[str, list[str]] = {}
    for container, types in containers.items():
        for type in types:
            by_type.setdefault(type, []).append(text_of(container))
    for type, texts in by_type.items():
        there = connection.of_type(type).find(
            {"o": {"$in": texts}}, {"o": 1, "c": 1, "d": 1}, session=session
        )
        for document in await there.to_list():
            inner = Inner(document["c"], document["d"], stored=True)
            found[of[document["o"]]][type, document["_id"]] = inner
    return found


def plan(container: Key, inside: Inside, sequence: int, entries: Entries) -> dict[Key, Entries | None]:
    """What is written of contained resources together with a version of their container: None for what is so no more.

    `inside` is brought up to date.
    """
    planned: dict[Key, Entries | None] = {
        contained_key(container, one.type, one.id): one.entries for one in entries.contained
    }
    for key in planned:
        if key not in inside:
            inside[key] = Inner(sequence + (len(inside) + 1) * _PART, False, stored=False)
        inside[key].deleted = False
    for key, inner in inside.items():
        if key not in planned and not inner.deleted:
            inner.deleted = True
            planned[key] = None
    return planned


def document_of(key: Key, inner: Inner, container: Stored, entries: Entries | None) -> Document:
    """The document of what is contained, as of a version of its container."""
    document: Document = {
        "_id": key[1],
        "v": container.version,
        "s": container.sequence,
        "u": container.updated,
        "c": inner.created,
        "d": entries is None,
        "o": text_of((container.type, container.id)),
    }
    if entries is not None:
        document["f"] = logical_id(key[1])
        document.update(indexed(entries))
    return document


def mark(document: Document, inside: Inside) -> None:
    """Let the document of a container name the types of what is in it."""
    if inside:
        document["i"] = sorted({type for type, _ in inside})
