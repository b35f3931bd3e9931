"""Services that the tests ask."""

from __future__ import annotations

import pytest

from terminology.local import LocalTerminology

from .wards import WARD_SYSTEM, holding


@pytest.fixture(scope="session")
def defined() -> LocalTerminology:
    """The service over the definitions alone."""
    return LocalTerminology()


@pytest.fixture
def wards() -> LocalTerminology:
    return holding(WARD_SYSTEM)
