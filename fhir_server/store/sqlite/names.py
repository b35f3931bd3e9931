"""Interned texts: resource types, systems, bases and parameters as the integers that index rows hold.

A number once committed never changes, so a cache may trust what was read from a committed state; what a transaction
has added is trusted after its commit only. An invariant to keep: nothing is looked up by a number that was rolled back.
"""

from __future__ import annotations

import sqlite3

# Enough for any real vocabulary; beyond it the cache starts anew, so that odd data cannot fill the memory.
CACHE_LIMIT = 50_000


class Names:
    """The interned texts as one connection sees them; `add_*` are for the writer inside its transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {"": 0}
        self._texts: dict[int, str] = {0: ""}
        self._pids: dict[tuple[int, str], int] = {}
        self._multiple: set[int] = set()
        self._dirty = False

    def number(self, text: str) -> int | None:
        found = self._numbers.get(text)
        if found is None:
            row = self._connection.execute("SELECT nid FROM name WHERE text=?", (text,)).fetchone()
            if row is None:
                return None
            found = self._keep(text, row[0])
        return found

    def text(self, number: int) -> str:
        found = self._texts.get(number)
        if found is None:
            row = self._connection.execute("SELECT text FROM name WHERE nid=?", (number,)).fetchone()
            found = str(row[0])
            self._keep(found, number)
        return found

    def pid(self, type_number: int, code: str) -> int | None:
        key = (type_number, code)
        found = self._pids.get(key)
        if found is None:
            row = self._connection.execute(
                "SELECT pid FROM param WHERE code=? AND type=?", (code, type_number)
            ).fetchone()
            if row is None:
                return None
            found = self._pids[key] = row[0]
        return found

    def pids(self, type_names: tuple[str, ...], code: str) -> tuple[int, ...]:
        """The numbers of a parameter for the types (none given: for every type)."""
        if not type_names:
            rows = self._connection.execute("SELECT pid FROM param WHERE code=?", (code,)).fetchall()
            return tuple(row[0] for row in rows)
        numbers = (self.number(name) for name in type_names)
        found = (self.pid(number, code) for number in numbers if number is not None)
        return tuple(pid for pid in found if pid is not None)

    def multiple(self, pids: tuple[int, ...]) -> bool:
        """Whether some resource has had two values for one of the parameters (read anew each time: it may become true)."""
        marks = ",".join("?" * len(pids))
        sql = f"SELECT 1 FROM param WHERE pid IN ({marks}) AND multiple=1"
        return self._connection.execute(sql, pids).fetchone() is not None

    def add(self, text: str) -> int:
        found = self.number(text)
        if found is None:
            self._dirty = True
            inserted = self._connection.execute("INSERT INTO name(text) VALUES (?)", (text,))
            found = self._keep(text, int(inserted.lastrowid or 0))
        return found

    def add_pid(self, type_number: int, code: str) -> int:
        found = self.pid(type_number, code)
        if found is None:
            self._dirty = True
            inserted = self._connection.execute(
                "INSERT INTO param(type, code) VALUES (?, ?)", (type_number, code)
            )
            found = self._pids[type_number, code] = int(inserted.lastrowid or 0)
        return found

    def mark_multiple(self, pid: int) -> None:
        if pid not in self._multiple:
            self._dirty = True
            self._connection.execute("UPDATE param SET multiple=1 WHERE pid=?", (pid,))
            self._multiple.add(pid)

    def committed(self) -> None:
        self._dirty = False
        if len(self._numbers) > CACHE_LIMIT:
            self._forget()

    def rolled_back(self) -> None:
        if self._dirty:
            self._forget()

    def _forget(self) -> None:
        self._numbers = {"": 0}
        self._texts = {0: ""}
        self._pids = {}
        self._multiple = set()
        self._dirty = False

    def _keep(self, text: str, number: int) -> int:
        if len(self._numbers) > 2 * CACHE_LIMIT:
            self._numbers = {"": 0}
            self._texts = {0: ""}
        self._numbers[text] = number
        self._texts[number] = text
        return number
