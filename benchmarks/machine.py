"""The machine and the programs that figures were measured with."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec")


def describe() -> str:
    """One sentence: processor, cores, memory, wait for the disk, system, versions."""
    packages = ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory; a write of 4 KiB is on the disk after"
        f" {sync_seconds() * 1e6:.0f} µs (median of fdatasync); {platform.system()} {platform.release()};"
        f" Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def sync_seconds(times: int = 101) -> float:
    """The median time that 4 KiB need to be safe on the disk of the temporary folder."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(times):
            file.write(b"\0" * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return sorted(taken)[times // 2]
