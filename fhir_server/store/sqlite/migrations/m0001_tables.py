"""The first schema: versions, current resources, index entries, claims, interned names.

`version` is the history and the change feed: rows are added in order of `seq` and never rewritten. `resource` has the
current state, deleted ones too, and points at its version. Each index table is kept twice: by resource (the primary
key: for updates, sorting, and testing a candidate) and by value (to find candidates); both cover every query. A commit
costs by the pages it changes: all references to one resource lie together, whatever their parameter, and so do equal
quantities.
"""

SPAN = 93_600_000_000  # 26 hours in microseconds: a day in any zone, with an hour that the clock is put back

STATEMENTS = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE name(nid INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "INSERT INTO name(nid, text) VALUES (0, '')",
    """CREATE TABLE param(
        pid INTEGER PRIMARY KEY, type INT NOT NULL, code TEXT NOT NULL, multiple INT NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX param_code ON param(code, type)",
    "CREATE TABLE fingerprint(param TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE version(
        seq INTEGER PRIMARY KEY, rid INT NOT NULL, version INT NOT NULL, type INT NOT NULL, id TEXT NOT NULL,
        updated INT NOT NULL, method INT NOT NULL, created INT NOT NULL, body BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX version_of ON version(rid, version)",
    "CREATE INDEX version_type ON version(type, seq)",
    """CREATE TABLE resource(
        rid INTEGER PRIMARY KEY, type INT NOT NULL, id TEXT NOT NULL, version INT NOT NULL, seq INT NOT NULL,
        updated INT NOT NULL, deleted INT NOT NULL, kinds INT NOT NULL)""",
    "CREATE UNIQUE INDEX resource_id ON resource(type, id)",
    "CREATE INDEX resource_live ON resource(type) WHERE deleted=0",
    "CREATE INDEX resource_updated ON resource(type, updated) WHERE deleted=0",
    """CREATE TABLE ix_token(rid INT NOT NULL, pid INT NOT NULL, code TEXT NOT NULL, system INT NOT NULL,
        PRIMARY KEY(rid, pid, code, system)) WITHOUT ROWID""",
    "CREATE INDEX ix_token_value ON ix_token(pid, code, system, rid)",
    """CREATE TABLE ix_string(rid INT NOT NULL, pid INT NOT NULL, norm TEXT NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY(rid, pid, norm, text)) WITHOUT ROWID""",
    "CREATE INDEX ix_string_value ON ix_string(pid, norm, text, rid)",
    """CREATE TABLE ix_date(rid INT NOT NULL, pid INT NOT NULL, lo INT NOT NULL, hi INT NOT NULL,
        PRIMARY KEY(rid, pid, lo, hi)) WITHOUT ROWID""",
    "CREATE INDEX ix_date_value ON ix_date(pid, lo, hi, rid)",
    "CREATE INDEX ix_date_high ON ix_date(pid, hi, lo, rid)",
    f"CREATE INDEX ix_date_long ON ix_date(pid, hi, lo, rid) WHERE hi - lo > {SPAN}",
    """CREATE TABLE ix_number(rid INT NOT NULL, pid INT NOT NULL, lo REAL NOT NULL, hi REAL NOT NULL,
        PRIMARY KEY(rid, pid, lo, hi)) WITHOUT ROWID""",
    "CREATE INDEX ix_number_value ON ix_number(pid, lo, hi, rid)",
    "CREATE INDEX ix_number_long ON ix_number(pid, hi, lo, rid) WHERE hi > lo",
    """CREATE TABLE ix_quantity(rid INT NOT NULL, pid INT NOT NULL, lo REAL NOT NULL, hi REAL NOT NULL,
        system INT NOT NULL, code TEXT NOT NULL, unit TEXT NOT NULL,
        PRIMARY KEY(rid, pid, lo, hi, system, code, unit)) WITHOUT ROWID""",
    "CREATE INDEX ix_quantity_value ON ix_quantity(lo, pid, hi, system, code, unit, rid)",
    "CREATE INDEX ix_quantity_long ON ix_quantity(pid, hi, lo, system, code, unit, rid) WHERE hi > lo",
    """CREATE TABLE ix_reference(rid INT NOT NULL, pid INT NOT NULL, type INT NOT NULL, id TEXT NOT NULL,
        base INT NOT NULL, version TEXT NOT NULL,
        PRIMARY KEY(rid, pid, id, type, base, version)) WITHOUT ROWID""",
    "CREATE INDEX ix_reference_value ON ix_reference(id, pid, type, base, rid, version)",
    """CREATE TABLE ix_uri(rid INT NOT NULL, pid INT NOT NULL, uri TEXT NOT NULL,
        PRIMARY KEY(rid, pid, uri)) WITHOUT ROWID""",
    "CREATE INDEX ix_uri_value ON ix_uri(pid, uri, rid)",
    """CREATE TABLE claim(rid INT NOT NULL, n INT NOT NULL, key TEXT NOT NULL, units TEXT NOT NULL,
        capacity TEXT NOT NULL, lo INT, hi INT, expires INT, PRIMARY KEY(rid, n)) WITHOUT ROWID""",
    "CREATE INDEX claim_key ON claim(key)",
)
