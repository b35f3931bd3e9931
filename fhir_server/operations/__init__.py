"""$operations by domain; `catalogue` is their one table."""
