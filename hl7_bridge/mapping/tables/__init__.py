"""Code tables: every value of a closed table is decided."""
