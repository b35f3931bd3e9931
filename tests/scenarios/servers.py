"""A server in processes of its own: started on a free port, watched, ended or killed.

The port is the one the server says it listens on (`--port 0`), so nothing can take it in between. An invariant to keep:
every process that is started here is a session of its own, and ends with the `with` block.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
OSLER = (sys.executable, "-c", "from fhir_server.cli import app; app()")
READY_SECONDS = 120.0
_ADDRESS = re.compile(r"https?://(?:127\.0\.0\.1|localhost|\[::1\]):(\d+)")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class NotStarted(Exception):
    """The server ended, or did not answer in time; the text is what it printed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended and what it printed, both streams together."""

    code: int
    output: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's variables without `OSLER_*`, so that nobody's settings change what is measured or tested."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OSLER_")}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(extra or {})}


def osler(*arguments: str, timeout: float = 120, variables: Mapping[str, str] | None = None) -> Finished:
    """Run `osler` with `arguments` to its end."""
    done = subprocess.run(
        [*OSLER, *arguments],
        env=environment(variables),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout)


class Server:
    """A running server. `log` is what it printed so far, line by line."""

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str] | None = None,
        before_exec: Callable[[], None] | None = None,
    ) -> None:
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.port = 0
        self.process = subprocess.Popen(
            command,
            env=environment(variables),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=before_exec,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    @property
    def output(self) -> str:
        return "".join(self.log)

    def wait_for_port(self, timeout: float = READY_SECONDS) -> int:
        """The port that the server says it listens on. Raises NotStarted."""
        deadline = time.monotonic() + timeout
        while not self.port:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise NotStarted(self.output)
            found = _ADDRESS.search(line)
            if found:
                self.port = int(found[1])
        return self.port

    def wait_for(self, path: str, timeout: float = READY_SECONDS) -> None:
        """Return once GET `path` answers 200. Raises NotStarted."""
        self.wait_for_port(timeout)
        deadline = time.monotonic() + timeout
        ended = threading.Event()
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.status(path) == 200:
                return
            ended.wait(0.004)
        raise NotStarted(self.output)

    def status(self, path: str) -> int:
        """The status that GET `path` answers, 0 when nobody answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def terminate(self, timeout: float = 30) -> int:
        """Ask the server to end (SIGTERM); its exit code."""
        self.process.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 30) -> int:
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """SIGKILL to the server and all processes that it started; returns when the server is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def processes(self) -> list[int]:
        """The process ids of the server and what it started."""
        return [pid for pid, session, _ in _processes() if session == self.process.pid]

    def cpu_seconds(self) -> float:
        """CPU time used so far by all processes of the server that still run."""
        return sum(ticks for _, session, ticks in _processes() if session == self.process.pid) / _TICKS

    def resident_bytes(self) -> int:
        """Resident memory of all processes of the server."""
        total = 0
        for pid in self.processes():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            except FileNotFoundError:
                continue
        return total


def _processes() -> Iterator[tuple[int, int, int]]:
    """(process id, session id, CPU ticks) of every process."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            after_name = text.rpartition(")")[2].split()
            yield int(entry), int(after_name[3]), int(after_name[11]) + int(after_name[12])


def serve_command(store: str, workers: int = 1, port: int = 0) -> tuple[str, ...]:
    """The command line of `osler serve` on `store` (an address such as `sqlite:////tmp/a.db`)."""
    return (*OSLER, "serve", "--store", store, "--port", str(port), "--workers", str(workers))


@contextmanager
def serving(
    store: str,
    *,
    workers: int = 1,
    variables: Mapping[str, str] | None = None,
    before_exec: Callable[[], None] | None = None,
) -> Iterator[Server]:
    """`osler serve` on `store`, ready; killed at the end if it still runs."""
    with Server(serve_command(store, workers), variables, before_exec) as server:
        server.wait_for("/fhir/metadata")
        yield server
