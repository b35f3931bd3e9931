"""Interned texts: resource types, systems, bases and parameters as the integers that index rows hold.

A number once committed never changes, so a cache may trust what was read from a committed state; what a transaction
has added is trusted after its commit only. The type of what is contained (`Medication#`) has the number of the type itself
below zero and no row of its own. An invariant to keep: nothing is looked up by a number that was rolled back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from fhir_r4.definitions import is_resource_type
from fhir_server.search.contained import contained_type, is_contained, outer_type

_UNITS = """
WITH RECURSIVE found(pid, code) AS (
    SELECT value, (SELECT min(code) FROM ix_quantity INDEXED BY ix_quantity_value WHERE pid=value) FROM json_each(?)
    UNION ALL
    SELECT f.pid, (SELECT min(q.code) FROM ix_quantity q INDEXED BY ix_quantity_value WHERE q.pid=f.pid AND q.code>f.code)
    FROM found f WHERE f.code IS NOT NULL)
SELECT code FROM found WHERE code IS NOT NULL
"""
# Enough for any real vocabulary; beyond it the cache starts anew, so that odd data cannot fill the memory.
CACHE_LIMIT = 50_000


class Interned(dict[str, Any]):
    """Numbers by text, which remember what `number` says of a text that is asked for first."""

    def __init__(self, number: Callable[[str], int | None]) -> None:
        super().__init__({"": 0})
        self._number = number

    def __missing__(self, text: str) -> int | None:
        found = self[text] = self._number(text)
        return found


class Names:
    """The interned texts as one connection sees them; `add_*` are for the writer inside its transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers = Interned(self.add)
        self._texts: dict[int, str] = {0: ""}
        self._sets: dict[tuple[int, tuple[str, ...], str], int] = {}
        self._multiple: set[int] = set()
        self._dirty = False

    @property
    def interning(self) -> Mapping[str, int]:
        """Numbers by text; asking for a new text interns it, as `add` does. To be asked for anew after each commit."""
        return self._numbers

    def number(self, text: str) -> int | None:
        found: int | None = self._numbers.get(text)
        if found is None:
            if is_contained_type(text):
                outer = self.number(outer_type(text))
                return None if outer is None else -outer
            row = self._connection.execute("SELECT nid FROM name WHERE text=?", (text,)).fetchone()
            if row is None:
                return None
            found = self._keep(text, row[0])
        return found

    def text(self, number: int) -> str:
        if number < 0:
            return contained_type(self.text(-number))
        found = self._texts.get(number)
        if found is None:
            row = self._connection.execute("SELECT text FROM name WHERE nid=?", (number,)).fetchone()
            found = str(row[0])
            self._keep(found, number)
        return found

    def pids(self, type_names: tuple[str, ...], code: str, kinds: str = "") -> tuple[int, ...]:
        """The numbers of the sets that a parameter of the types (none given: of every type that stands alone) is in.

        Read anew each time: there may be more. `kinds` are those of a composite's components.
        """
        numbers = {number for name in type_names if (number := self.number(name)) is not None}
        if type_names and not numbers:
            return ()
        rows = self._connection.execute(
            "SELECT type, pid FROM param_of WHERE code=? AND kinds=?", (code, kinds)
        ).fetchall()
        return tuple(pid for number, pid in rows if (number in numbers if numbers else number > 0))

    def all_pids(self, type_names: tuple[str, ...], code: str) -> tuple[int, ...]:
        """The same whatever the components are, of composites and others."""
        rows = self._connection.execute(
            "SELECT DISTINCT kinds FROM param_of WHERE code=?", (code,)
        ).fetchall()
        return tuple(pid for (kinds,) in rows for pid in self.pids(type_names, code, kinds))

    def units(self, pids: tuple[int, ...]) -> tuple[str, ...]:
        """The codes of units that quantities of the parameters have; the index is skipped through from one to the next."""
        rows = self._connection.execute(_UNITS, (json.dumps(pids),)).fetchall()
        return tuple(dict.fromkeys(code for (code,) in rows))

    def set_number(self, type_number: int, codes: tuple[str, ...], kinds: str = "") -> int | None:
        """The number of a set of parameters of a type that have entries in common."""
        key = (type_number, codes, kinds)
        found = self._sets.get(key)
        if found is None:
            row = self._connection.execute(
                "SELECT pid FROM param WHERE code=? AND type=?", (_set_name(codes, kinds), type_number)
            ).fetchone()
            if row is None:
                return None
            found = self._sets[key] = row[0]
        return found

    def multiple(self, type_names: tuple[str, ...], code: str) -> bool:
        """Whether some resource has had two values for the parameter (read anew each time: it may become true)."""
        numbers = {number for name in type_names if (number := self.number(name)) is not None}
        rows = self._connection.execute(
            "SELECT type FROM param WHERE code=? AND multiple=1", (code,)
        ).fetchall()
        return any(not type_names or type_number in numbers for (type_number,) in rows)

    def add(self, text: str) -> int:
        found = self.number(text)
        if found is None:
            if is_contained_type(text):
                return -self.add(outer_type(text))
            self._dirty = True
            inserted = self._connection.execute("INSERT INTO name(text) VALUES (?)", (text,))
            found = self._keep(text, int(inserted.lastrowid or 0))
        return found

    def add_set(self, type_number: int, codes: tuple[str, ...], kinds: str = "") -> int:
        found = self.set_number(type_number, codes, kinds)
        if found is None:
            self._dirty = True
            inserted = self._connection.execute(
                "INSERT INTO param(type, code) VALUES (?, ?)", (type_number, _set_name(codes, kinds))
            )
            found = self._sets[type_number, codes, kinds] = int(inserted.lastrowid or 0)
            self._connection.executemany(
                "INSERT INTO param_of(code, kinds, type, pid) VALUES (?, ?, ?, ?)",
                [(code, kinds, type_number, found) for code in codes],
            )
        return found

    def mark_multiple(self, type_number: int, code: str) -> None:
        pid = self.add_set(type_number, (code,))
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
        self._numbers = Interned(self.add)
        self._texts = {0: ""}
        self._sets = {}
        self._multiple = set()
        self._dirty = False

    def _keep(self, text: str, number: int) -> int:
        if len(self._numbers) > 2 * CACHE_LIMIT:
            self._numbers = Interned(self.add)
            self._texts = {0: ""}
        self._numbers[text] = number
        self._texts[number] = text
        return number


def is_contained_type(text: str) -> bool:
    """Whether a text names the type of contained resources; systems and addresses may end in `#` too."""
    return is_contained(text) and is_resource_type(outer_type(text))


def _set_name(codes: tuple[str, ...], kinds: str) -> str:
    name = " ".join(sorted(codes))
    return f"{name} ({kinds})" if kinds else name
