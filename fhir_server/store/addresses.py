"""Addresses of stores as they may be told: a database without user, password and options, which may hold secrets."""

from __future__ import annotations

MONGODB = ("mongodb://", "mongodb+srv://")


def without_secrets(address: str) -> str:
    """The address for logs and messages: of a database only its hosts and its name, or less when it is malformed."""
    if "://" not in address or address.startswith("sqlite:"):
        return address
    scheme, rest = address.split("://", 1)
    secret, _, told = rest.rpartition("@")
    return f"{scheme}://..." if "?" in secret else f"{scheme}://{told.partition('?')[0]}"
