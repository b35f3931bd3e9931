"""The paths of search parameters against another implementation of FHIRPath."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from fhir_server.search.paths import Item, follow
from tests.search import resources as r

# It has no resolve() and no hasExtension(), and does not take `Resource` for the root of a resource of another type.
BEYOND_IT = ("resolve()", "hasExtension(", "Resource.")


def of_type(expression: str) -> str:
    """R4 writes `as` where there can be several items, which FHIRPath allows of ofType() alone."""
    return re.sub(r" as (\w+)\)", r".ofType(\1))", expression).replace(".as(", ".ofType(")


def plain(value: Any) -> Any:
    """JSON in which numbers are floats, whatever they came as."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return float(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def comparable(values: list[Any]) -> list[str]:
    return sorted({json.dumps(plain(value), sort_keys=True) for value in values if value is not None})


@pytest.mark.parametrize("resource", r.ALL, ids=lambda x: f"{x['resourceType']}/{x['id']}")
def test_paths_lead_where_fhirpath_leads(parameters, resource):
    compared = 0
    document = plain(resource)
    for compiled in parameters.compiled(resource["resourceType"]):
        expression = compiled.definition.expression
        numbered = any(isinstance(step, Item) for path in compiled.paths for step in path.steps)
        if numbered or any(text in expression for text in BEYOND_IT):
            continue
        ours = [value for path in compiled.paths for value in follow(path, resource)]
        theirs = evaluate(document, of_type(expression), {}, models["r4"])
        assert comparable(ours) == comparable(theirs), (compiled.definition.code, expression)
        compared += bool(ours)
    assert compared > 0 or resource["resourceType"] == "Bundle"
