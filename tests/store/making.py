"""Writes, questions and clocks for tests of stores."""

from fhir_server.search.contained import contained_key
from fhir_server.search.entries import Contained, Entries
from fhir_server.search.tree import FullText
from fhir_server.store.records import Body, Claim, WriteOp

START = 1_767_225_600_000_000


class Clock:
    """Microseconds since 1970 that a test sets."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def put(
    id: str, type: str = "Patient", claims: tuple[Claim, ...] = (), text: str = "", **entries: list[tuple]
) -> WriteOp:
    said = f',"text":"{text}"' if text else ""
    body = Body(f'{{"resourceType":"{type}","id":"{id}"{said},"meta":{{'.encode(), b"}}")
    return WriteOp("PUT", type, id, body, Entries(**entries), tuple(claims))


def delete(id: str, type: str = "Patient") -> WriteOp:
    return WriteOp("DELETE", type, id, None, Entries())


class Written:
    """Makes entries anew as they were written: the bodies that tests make do not tell them."""

    def __init__(self):
        self._entries = {}

    def keep(self, ops, stored):
        for op, one in zip(ops, stored, strict=True):
            self._entries[one.type, one.id, str(one.version)] = op.entries

    def __call__(self, resource):
        return self._entries[resource["resourceType"], resource["id"], resource["meta"]["versionId"]]


def container(
    id: str, type: str = "Group", inner: tuple[Contained, ...] = (), **entries: list[tuple]
) -> WriteOp:
    """A write of a resource that contains others and refers to each by `member`."""
    links = [("member:contained", *contained_key((type, id), one.type, one.id), "", "") for one in inner]
    own = put(id, type, **{"references": [("member", "", "", "", ""), *links], **entries})
    own.entries.contained = inner
    return own


def narrated(id, text, type="Patient", note=""):
    body = Body(
        f'{{"resourceType":"{type}","id":"{id}","text":{{"div":"<p>{text}</p>"}},"note":"{note}","meta":{{'.encode(),
        b"}}",
    )
    return WriteOp("PUT", type, id, body, Entries(references=[("subject", "Patient", "1", "", "")]))


def mentions(*words, field="text"):
    return FullText(field, ((tuple(words),),))


async def ids(store, where, type="Patient"):
    return await store.matching_ids(type, where, 100)
