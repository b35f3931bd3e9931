"""Index entries that parameters have in common, those of composites and positions, and what was deleted lately.

From here on a row of `param` is a set of parameters of a type, mostly of one: parameters that have an entry in common
(`code` and `combo-code`, `patient` and `subject`) share its row. `param_of` tells which sets a parameter is in. An entry of
a composite is one row: the main value of each component (`a`, `b`, `c`) with its other members beside it, so that a code
with a range of values is one range of the index; which members there are depends on the kind (`rows`). Quantities are in
order of their unit's code before that of their values.

What the steps before left in the index was made by older rules, so no fingerprint holds any more.
"""

COLUMNS = tuple(f"{part}{member}" for part in "abc" for member in ("", "_hi", "_main", "_of", "_more"))

STATEMENTS = (
    """CREATE TABLE param_of(code TEXT NOT NULL, kinds TEXT NOT NULL, type INT NOT NULL, pid INT NOT NULL,
        PRIMARY KEY(code, kinds, type, pid)) WITHOUT ROWID""",
    "INSERT INTO param_of(code, kinds, type, pid) SELECT code, '', type, pid FROM param",
    "UPDATE param SET multiple=1 WHERE pid IN (SELECT pid FROM ix_reference GROUP BY rid, pid HAVING count(*) > 1)",
    f"""CREATE TABLE ix_composite(rid INT NOT NULL, pid INT NOT NULL, n INT NOT NULL,
        {", ".join(f"{column} NOT NULL" for column in COLUMNS)}, PRIMARY KEY(rid, pid, n)) WITHOUT ROWID""",
    "CREATE INDEX ix_composite_value ON ix_composite(pid, a, b, b_hi, b_main, b_of, b_more, a_of, rid)",
    "CREATE INDEX ix_composite_long ON ix_composite(pid, a, b_hi, b, b_main, b_of, b_more, a_of, rid) WHERE b_hi > b",
    """CREATE TABLE ix_position(rid INT NOT NULL, pid INT NOT NULL, lat REAL NOT NULL, lon REAL NOT NULL,
        PRIMARY KEY(rid, pid, lat, lon)) WITHOUT ROWID""",
    "CREATE INDEX ix_position_value ON ix_position(pid, lat, lon, rid)",
    "DROP INDEX ix_quantity_value",
    "CREATE INDEX ix_quantity_value ON ix_quantity(pid, code, lo, hi, system, unit, rid)",
    "CREATE INDEX resource_deleted ON resource(type, updated) WHERE deleted=1",
    "DELETE FROM fingerprint",
)
