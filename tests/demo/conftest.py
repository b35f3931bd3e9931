"""The demo hospital, generated once for all tests of it."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.demo.generate import generate

Resource = dict[str, Any]


@pytest.fixture(scope="session")
def bundles() -> list[Resource]:
    return list(generate())


@pytest.fixture(scope="session")
def hospital(bundles: list[Resource]) -> dict[str, list[Resource]]:
    """The resources by type."""
    by_type: dict[str, list[Resource]] = {}
    for bundle in bundles:
        for entry in bundle["entry"]:
            by_type.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return by_type
