"""Claims are found by key and end, so that those of the past cost nothing; the index has all that availability asks."""

STATEMENTS = (
    "DROP INDEX claim_key",
    "CREATE INDEX claim_key ON claim(key, hi, lo, expires, units)",
)
