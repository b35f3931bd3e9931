"""Clients that write without pause until the server is gone: each record in the journal before it is sent, and when it is answered."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable

import httpx

from tests.scenarios.journal import KEYS, MARKS, Journal, Resource, Version, Write

HEADERS = {"content-type": "application/fhir+json"}
SHARED = 12
WORDS = ["ward", "bed", "order", "result", "charge", "dose", "visit", "stay", "claim", "note"]


class Writer:
    """One client with one request in flight. Its choices come from `seed`; resources `shared-N` are written by all.

    `may_be_down`: a 503 is an answer that the server may give.
    """

    def __init__(
        self, client: httpx.AsyncClient, journal: Journal, seed: str, *, may_be_down: bool = False
    ) -> None:
        self._client = client
        self._journal = journal
        self._may_be_down = may_be_down
        self._random = random.Random(seed)
        self._own: list[str] = []
        self._stopping = False

    def stop(self) -> None:
        """Let `run` return when its request was answered."""
        self._stopping = True

    async def run(self) -> None:
        """Write until the connection breaks or it is told to stop."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._create,
            self._create,
            self._update,
            self._update,
            self._transaction,
            self._delete,
            self._conditional_create,
        ]
        try:
            while not self._stopping:
                await self._random.choice(kinds)()
        except httpx.TransportError:
            return

    def _resource(self, type: str, **members: object) -> Resource:
        text = " ".join(self._random.choices(WORDS, k=self._random.choice((5, 40, 600))))
        narrative = f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'
        return {
            "resourceType": type,
            "text": {"status": "generated", "div": narrative},
            "identifier": [{"system": MARKS, "value": self._journal.mark()}],
            **members,
        }

    def _observation(self, subject: str) -> Resource:
        code = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
        return self._resource(
            "Observation",
            status="final",
            code=code,
            subject={"reference": subject},
            valueQuantity={"value": self._random.randrange(50, 120), "unit": "/min"},
        )

    def _settle(self, write: Write, response: httpx.Response, *expected: int) -> bool:
        """Whether the answer is an acknowledgement; notes it when it is neither that nor a refusal for others' sake."""
        if response.status_code in expected:
            return True
        if response.status_code == 503 and self._may_be_down:
            write.refused = True
        elif response.status_code != 409:
            text = f"{write.kind} was answered {response.status_code}: {response.text[:300]}"
            self._journal.unexpected.append(text)
        return False

    async def _create(self) -> None:
        resource = self._observation(f"Patient/shared-{self._random.randrange(SHARED)}")
        write = self._journal.begin("create", resource)
        response = await self._client.post("Observation", json=resource)
        if self._settle(write, response, 201):
            version = version_of(response.headers["location"])
            await self._journal.acknowledge(write, [version])
            self._own.append(version[1])

    async def _update(self) -> None:
        id = f"shared-{self._random.randrange(SHARED)}"
        resource = self._resource("Patient", id=id, birthDate="1970-01-01")
        write = self._journal.begin("update", resource)
        response = await self._client.put(f"Patient/{id}", json=resource)
        if self._settle(write, response, 200, 201):
            await self._journal.acknowledge(write, [("Patient", id, etag_of(response))])

    async def _delete(self) -> None:
        if self._own and self._random.random() < 0.7:
            type, id = "Observation", self._own.pop()
        else:
            type, id = "Patient", f"shared-{self._random.randrange(SHARED)}"
        write = self._journal.begin("delete")
        response = await self._client.delete(f"{type}/{id}")
        if self._settle(write, response, 204, 200):
            # A deletion of what is not there writes nothing and has no ETag.
            written = [(type, id, etag_of(response))] if "etag" in response.headers else []
            await self._journal.acknowledge(write, written)

    async def _conditional_create(self) -> None:
        # The writers of a store walk through the same keys together, so most are fought over.
        key = f"k{len(self._journal.writes) // 60}"
        resource = self._resource("Organization", name=key)
        resource["identifier"].append({"system": KEYS, "value": key})
        write = self._journal.begin("conditional create", resource, key=key)
        response = await self._client.post(
            "Organization", json=resource, headers={"if-none-exist": f"identifier={KEYS}|{key}"}
        )
        if self._settle(write, response, 200, 201):
            await self._journal.acknowledge(write, [version_of(response.headers["location"])])

    async def _transaction(self) -> None:
        patient_url = f"urn:uuid:{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        id = f"shared-{self._random.randrange(SHARED)}"
        patient = self._resource("Patient", birthDate="1980-02-29")
        shared = self._resource("Patient", id=id, birthDate="1990-12-31")
        observations = [self._observation(patient_url) for _ in range(self._random.randrange(1, 12))]
        entries = [
            {"fullUrl": patient_url, "resource": patient, "request": {"method": "POST", "url": "Patient"}},
            {"resource": shared, "request": {"method": "PUT", "url": f"Patient/{id}"}},
            *({"resource": o, "request": {"method": "POST", "url": "Observation"}} for o in observations),
        ]
        write = self._journal.begin("transaction", patient, shared, *observations)
        response = await self._client.post(
            "", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}
        )
        if self._settle(write, response, 200):
            versions = [version_of(e["response"]["location"]) for e in response.json()["entry"]]
            await self._journal.acknowledge(write, versions)


def version_of(location: str) -> Version:
    """Type, id and version of an address that ends in `<type>/<id>/_history/<version>`."""
    type, id, _, version = location.split("/")[-4:]
    return type, id, int(version)


def etag_of(response: httpx.Response) -> int:
    """The version that the ETag of the answer names."""
    return int(response.headers["etag"].removeprefix('W/"').removesuffix('"'))


async def write_until_gone(base: str, journal: Journal, seed: str, writers: int) -> None:
    """Let `writers` clients write at once, over as many connections, until the server is gone."""
    limits = httpx.Limits(max_connections=writers, max_keepalive_connections=writers)
    async with httpx.AsyncClient(base_url=base, limits=limits, headers=HEADERS, timeout=30) as client:
        await asyncio.gather(*(Writer(client, journal, f"{seed}/{n}").run() for n in range(writers)))
