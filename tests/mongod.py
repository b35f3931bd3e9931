"""A real MongoDB for tests: the replica set at OSLER_TEST_MONGODB_URI, or one of processes that are started here.

The program is the one of the test extra (Linux on x86-64). Each process listens on a free port of this machine alone, keeps
its data in a temporary folder, and is killed when the process that started it ends, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

URI = "OSLER_TEST_MONGODB_URI"
REQUIRED = "OSLER_REQUIRE_MONGODB"
SET_NAME = "osler-tests"
READY_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


class NotStarted(Exception):
    """mongod ended, or did not answer in time; the text is the end of its log."""


def program() -> Path | None:
    """Where mongod is: in the package of the test extra, or on the path."""
    found = find_spec("fiftyone")
    for folder in found.submodule_search_locations or () if found is not None else ():
        file = Path(folder) / "db" / "bin" / "mongod"
        if os.access(file, os.X_OK):
            return file
    on_path = shutil.which("mongod")
    return None if on_path is None else Path(on_path)


def available() -> bool:
    return bool(os.environ.get(URI)) or program() is not None


def required() -> bool:
    """Whether tests that have no MongoDB fail."""
    return bool(os.environ.get(REQUIRED) or os.environ.get("CI"))


def with_database(uri: str, name: str) -> str:
    """The address of another database of the same server."""
    return urlunsplit(urlsplit(uri)._replace(path=f"/{name}"))


def client(uri: str) -> MongoClient[dict[str, Any]]:
    """A client for what a test does beside the store."""
    return MongoClient(uri, serverSelectionTimeoutMS=10_000)


def empty(database: Database[dict[str, Any]], fingerprints: Mapping[str, str]) -> None:
    """Delete what is in a database. These fingerprints of search parameters stay when there are no others."""
    for name in database.list_collection_names():
        collection = database[name]
        kept = name == "osler.fingerprints" and fingerprints == {
            found["_id"]: found["value"] for found in collection.find()
        }
        if not kept:
            collection.delete_many({})


class Member:
    """A mongod process on a port of its own. It may be killed, frozen and started again on the same data.

    `cache`: how many GB of data it keeps in memory.
    """

    def __init__(
        self, folder: Path, *arguments: str, set_name: str | None = SET_NAME, cache: float = 0.25
    ) -> None:
        self._folder = folder
        self._arguments = (*arguments, "--wiredTigerCacheSizeGB", str(cache))
        self._set_name = set_name
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self) -> str:
        """The address of this process alone, whatever its place in a set."""
        return f"mongodb://{self.address}/?directConnection=true&serverSelectionTimeoutMS=2000"

    def start(self) -> None:
        """Start the process and wait until it listens. Raises NotStarted.

        To be called from the main thread: the process ends with the thread that started it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "mongod.log"
        begins = log.stat().st_size if log.exists() else 0
        command = [str(program()), "--dbpath", str(self._folder), "--logpath", str(log), "--logappend"]
        command += ["--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket"]
        command += ["--oplogSize", "128"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # docs/stores.md: how long a member goes on asking one that has stopped answering
        command += ["--setParameter", "oplogNetworkTimeoutBufferSeconds=1"]
        if self._set_name is not None:
            command += ["--replSet", self._set_name]
        self.process = subprocess.Popen(
            [*command, *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        deadline = time.monotonic() + READY_SECONDS
        pause = threading.Event()
        while self.process.poll() is None and time.monotonic() < deadline:
            port = _listens_on(log, begins)
            if port is not None:
                self.port = port
                return
            pause.wait(0.02)
        raise NotStarted(log.read_text()[-4000:] if log.exists() else "no log")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _listens_on(log: Path, begins: int) -> int | None:
    """The port that the log says is listened on, after its first `begins` bytes."""
    if not log.exists():
        return None
    with log.open("rb") as stream:
        stream.seek(begins)
        for line in stream:
            if b"Waiting for connections" in line and line.endswith(b"\n"):
                return int(json.loads(line)["attr"]["port"])
    return None


class ReplicaSet:
    """Members that elect a primary within `election` seconds. `journaled`: a majority has it on disk before it says so.

    `name` is the one that the members were given, `of_cluster` says that they keep the configuration of a cluster.
    """

    def __init__(
        self,
        members: Sequence[Member],
        election: float = 1.0,
        *,
        journaled: bool = True,
        name: str = SET_NAME,
        of_cluster: bool = False,
    ) -> None:
        self.members = members
        self.name = name
        self._election = election
        self._journaled = journaled
        self._of_cluster = of_cluster

    @property
    def uri(self) -> str:
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    def start(self) -> None:
        for member in self.members:
            member.start()
        with MongoClient(self.members[0].uri) as client:
            client.admin.command("replSetInitiate", self._config(1))
        self.wait_for_primary()

    def start_again(self) -> None:
        """Start on data that are there, whatever ports the members had then."""
        for member in self.members:
            member.start()
        with MongoClient(self.members[0].uri) as client:
            before = client.local["system.replset"].find_one({}, {"version": 1})
            assert before is not None
            config = self._config(before["version"] + 1)
            client.admin.command("replSetReconfig", config, force=True)
        self.wait_for_primary()

    def _config(self, version: int) -> dict[str, Any]:
        config: dict[str, Any] = {
            "_id": self.name,
            "version": version,
            "members": [{"_id": n, "host": member.address} for n, member in enumerate(self.members)],
            # docs/stores.md: what a lost primary takes
            "settings": {
                "electionTimeoutMillis": int(self._election * 1000),
                "heartbeatIntervalMillis": min(1000, int(self._election * 200)),
                "catchUpTimeoutMillis": 1000,
            },
            "writeConcernMajorityJournalDefault": self._journaled,
        }
        if self._of_cluster:
            config["configsvr"] = True
        return config

    def primary(self) -> Member | None:
        """The member that says that it is the primary."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                continue
            with suppress(PyMongoError), MongoClient(member.uri, socketTimeoutMS=1000) as client:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return member
        return None

    def wait_for_primary(self) -> Member:
        deadline = time.monotonic() + READY_SECONDS
        pause = threading.Event()
        while time.monotonic() < deadline:
            found = self.primary()
            if found is not None:
                return found
            pause.wait(0.02)
        raise NotStarted("no primary was elected")

    def wait_until_whole(self) -> None:
        """Return once every member is the primary or follows it."""
        deadline = time.monotonic() + READY_SECONDS
        pause = threading.Event()
        while time.monotonic() < deadline:
            with suppress(PyMongoError), MongoClient(self.wait_for_primary().uri) as client:
                states = [
                    member["stateStr"] for member in client.admin.command("replSetGetStatus")["members"]
                ]
                if sorted(states) == ["PRIMARY"] + ["SECONDARY"] * (len(states) - 1):
                    return
            pause.wait(0.1)
        raise NotStarted("a member did not come back")

    def kill(self) -> None:
        for member in self.members:
            with suppress(ProcessLookupError):
                member.kill()


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one with room: what is tested is never that a disk keeps what it was given."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 8 * 2**30
    return tempfile.TemporaryDirectory(
        prefix="osler-mongod-", dir=memory if roomy else None, ignore_cleanup_errors=True
    )


@contextmanager
def replica_set(members: int = 1, election: float = 1.0, *, journaled: bool = True) -> Iterator[ReplicaSet]:
    """A replica set of processes of its own, ready; killed at the end."""
    with _folder() as folder:
        started = ReplicaSet(
            [Member(Path(folder) / str(number)) for number in range(members)], election, journaled=journaled
        )
        try:
            started.start()
            yield started
        finally:
            started.kill()


@contextmanager
def cluster(shards: Sequence[str]) -> Iterator[tuple[ReplicaSet, dict[str, ReplicaSet]]]:
    """The processes of a cluster with shards, but for the router: that of its configuration, and each shard by name.

    The package of the test extra has no mongos. Shards are not part of the cluster until they are added.
    """
    with _folder() as folder:

        def made(name: str, role: str) -> ReplicaSet:
            member = Member(Path(folder) / name, role, set_name=name)
            return ReplicaSet([member], name=name, of_cluster=role == "--configsvr")

        configuration = made("configuration", "--configsvr")
        found = {name: made(name, "--shardsvr") for name in shards}
        try:
            for one in (configuration, *found.values()):
                one.start()
            yield configuration, found
        finally:
            for one in (configuration, *found.values()):
                one.kill()
