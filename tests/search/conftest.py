"""The parameters of R4, read once for all tests of search, and short ways to ask."""

from collections.abc import Callable
from urllib.parse import parse_qsl

import pytest

from fhir_server.search.extract import Extractor
from fhir_server.search.parameters import Parameters
from fhir_server.search.parse import ParsedSearch, parse_search

NOW = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
BASE = "http://osler.test/fhir"


@pytest.fixture(scope="session")
def parameters() -> Parameters:
    return Parameters()


@pytest.fixture(scope="session")
def extractor(parameters: Parameters) -> Extractor:
    return Extractor(parameters, local_bases=(BASE,))


Ask = Callable[..., ParsedSearch]


@pytest.fixture
def ask(parameters: Parameters) -> Ask:
    """Parses a query string for a type (or a tuple of types)."""

    def parse(types: str | tuple[str, ...], query: str, **options: object) -> ParsedSearch:
        pairs = parse_qsl(query, keep_blank_values=True)
        names = (types,) if isinstance(types, str) else types
        return parse_search(names, pairs, parameters, now=NOW, local_bases=(BASE,), **options)

    return parse
