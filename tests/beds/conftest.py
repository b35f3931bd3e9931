"""The store of the tests of beds.

What the rules say does not depend on the store: they are tested on one. Marked with `on_each_store` are tests of what does:
requests at once, all ways to a write, the past and what follows it.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def kind_of_store() -> str:
    return "sqlite"
