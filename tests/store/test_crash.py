"""A process that is killed while it writes loses nothing that it acknowledged and leaves nothing half-written."""

import subprocess
import sys
from pathlib import Path

from fhir_r4.jsonio import decode
from fhir_server.search.entries import Entries
from fhir_server.store.records import Claim
from fhir_server.store.sqlite.check import check
from fhir_server.store.sqlite.store import SqliteStore

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED = 40


def entries_of(resource):
    return Entries(tokens=[("gender", "", "male")] if resource["resourceType"] == "Patient" else [])


def claims_of(resource):
    return [Claim(f"Group:{resource['id']}")] if resource["resourceType"] == "Group" else []


def write_until_killed(path, name):
    """What the process acknowledged before it was killed: id -> version of the caller's own resource."""
    command = [sys.executable, "-m", "tests.store.writing_process", "write", str(path), name]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(ACKNOWLEDGED)]
        process.kill()
        lines += process.stdout.readlines()
    finally:
        process.kill()
        process.communicate()
    whole = [line.split() for line in lines if line.endswith("\n")]
    assert len(whole) >= ACKNOWLEDGED
    return {id: int(version) for id, version in whole}


async def test_five_kills_lose_nothing_and_leave_nothing_half_written(path):
    acknowledged = {}
    for turn in range(5):
        acknowledged |= write_until_killed(path, f"t{turn}")
        store = SqliteStore(path, readers=1)
        await store.open()
        for id, version in acknowledged.items():
            own = id.rsplit("-", 1)[0]
            last = decode((await store.read_version("Basic", own, version)).body)
            assert last["text"] == id
            assert (await store.read("Patient", id)).version == 1
            assert (await store.read("Group", id)).version == 1
        counts = await store.counts()
        assert counts["Patient"] == counts["Group"]
        assert await store.last_sequence() == 3 * counts["Patient"]
        await store.close()
        report = check(path, entries_of, claims_of)
        assert report.problems == []
        assert report.resources == sum(counts.values())
