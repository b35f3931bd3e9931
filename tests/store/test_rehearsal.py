"""A rehearsed transaction is judged like any other and leaves nothing behind."""

import pytest

from fhir_server.store.protocol import ClaimRefused, Stale
from fhir_server.store.records import Claim, VersionIs
from tests.store.making import put


async def test_a_rehearsal_tells_what_would_be_and_writes_nothing(store):
    (first,) = await store.transact([put("a")])
    one, other = await store.transact([put("a"), put("b")], rehearse=True)
    assert (one.version, other.version) == (2, 1)
    assert (one.created, other.created) == (False, True)
    assert b'"versionId":"2"' in one.body
    assert await store.read("Patient", "a") == first
    assert await store.read("Patient", "b") is None
    assert await store.last_sequence() == first.sequence


async def test_a_rehearsal_is_refused_like_a_write(store):
    await store.transact([put("a", claims=(Claim("k"),))])
    with pytest.raises(ClaimRefused):
        await store.transact([put("b", claims=(Claim("k"),))], rehearse=True)
    with pytest.raises(Stale):
        await store.transact([put("b")], [VersionIs("Patient", "a", 7)], rehearse=True)


async def test_a_rehearsal_takes_no_claim(store):
    await store.transact([put("a", claims=(Claim("k"),))], rehearse=True)
    (stored,) = await store.transact([put("b", claims=(Claim("k"),))])
    assert stored.version == 1
