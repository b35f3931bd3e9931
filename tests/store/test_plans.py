"""Every plan goes through an index: no search reads a whole table because of the order of a join."""

import re

import pytest

from fhir_server.search.tree import (
    And,
    Chain,
    DateIs,
    Has,
    IdIs,
    Include,
    Not,
    Or,
    QuantityIs,
    RefersTo,
    SearchQuery,
    SortKey,
    TextIs,
    TokenIs,
    Updated,
    UriIs,
)
from fhir_server.store.sqlite.compile import Effort
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock, put

NAME = TextIs("name", "ann", "starts")
CODE = TokenIs("code", "urn:loinc", "1")
PATIENT = RefersTo("patient", "Patient", "1")
AFTER, BEFORE = DateIs("date", "ge", 5, 6), DateIs("date", "lt", 9, 10)
VALUE = QuantityIs("value-quantity", "gt", 5.0, 4.5, 5.5, None, None)
QUERIES = {
    "name": SearchQuery(("Patient",), NAME),
    "identifier": SearchQuery(("Patient",), TokenIs("identifier", "urn:mrn", "7")),
    "range of dates": SearchQuery(("Observation",), And((AFTER, BEFORE))),
    "patient, code, newest first": SearchQuery(
        ("Observation",), And((PATIENT, CODE)), (SortKey("date", "date", True),)
    ),
    "newest first": SearchQuery(("Observation",), sort=(SortKey("date", "date", True),)),
    "code and value": SearchQuery(("Observation",), And((CODE, VALUE))),
    "value": SearchQuery(("Observation",), VALUE),
    "patient and date": SearchQuery(("Observation",), And((PATIENT, AFTER))),
    "chain": SearchQuery(("Observation",), Chain("patient", "Patient", NAME)),
    "has": SearchQuery(("Patient",), Has("Observation", "patient", CODE)),
    "chain and code": SearchQuery(("Observation",), And((Chain("patient", "Patient", NAME), CODE))),
    "includes": SearchQuery(
        ("Observation",),
        PATIENT,
        includes=(Include("Observation", "patient"), Include("Observation", None), Include("*", None)),
    ),
    "reverse includes": SearchQuery(
        ("Patient",),
        NAME,
        includes=(
            Include("Observation", "patient", reverse=True),
            Include("Observation", None, reverse=True),
        ),
    ),
    "compartment": SearchQuery(("Observation",), Or((PATIENT, RefersTo("performer", "Patient", "1")))),
    "ids": SearchQuery(("Patient",), IdIs(("1", "2"))),
    "not": SearchQuery(("Patient",), Not(TokenIs("gender", None, "male"))),
    "updated": SearchQuery(
        ("Patient",), Updated("gt", START, START + 1000), (SortKey("_lastUpdated", "", True),)
    ),
    "uri": SearchQuery(("Patient",), UriIs("url", "http://x", "below"), total="accurate"),
    "everything": SearchQuery(("Patient",), total="accurate"),
}
# All resources of a type, or all rows of a parameter where those of one resource are wanted.
WIDE = re.compile(r"resource_(id|live) \(type=\?\)$|^SEARCH [kxb]\d* .*\(pid=\?\)$")
TABLE_SCAN = re.compile(r"SCAN (resource|version|ix_\w+|[sxtokbi]\d+\b|[xtokbir]\b)")


@pytest.fixture(params=[Effort(), Effort(counted=1, small=1, window=5)], ids=["few", "many"])
async def plans(request, path):
    """The plans of what is run, as SQLite tells them, one for each statement."""
    store = SqliteStore(path, Clock(), effort=request.param, readers=1)
    await store.open()
    entries = {"tokens": [("code", "urn:loinc", "1")], "references": [("patient", "Patient", "1", "", "")]}
    more = {"dates": [("date", 5, 8)], "quantities": [("value-quantity", 9, 9, "", "", "")]}
    await store.transact([put(str(n), "Observation", **entries, **more) for n in range(20)])
    tokens = [("identifier", "urn:mrn", "7"), ("gender", "", "male")]
    await store.transact(
        [put("1", tokens=tokens, strings=[("name", "ann", "Ann")], uris=[("url", "http://x")])]
    )

    async def explain(query):
        statements = []
        connection, _ = store._reader()
        connection.set_trace_callback(statements.append)
        await store.search(query)
        connection.set_trace_callback(None)
        asked = [s for s in statements if s.lstrip().upper().startswith(("SELECT", "WITH"))]
        return {s: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {s}")] for s in asked}

    yield explain
    await store.close()


@pytest.mark.parametrize("name", QUERIES)
async def test_no_search_reads_a_whole_table(plans, name):
    for statement, plan in (await plans(QUERIES[name])).items():
        for step in plan:
            assert not TABLE_SCAN.match(step), f"{step}\n{statement}"


@pytest.mark.parametrize("name", QUERIES)
async def test_no_search_goes_through_all_resources_of_a_type_when_an_index_has_the_value(plans, name):
    if name in ("not", "everything", "newest first", "updated"):
        pytest.skip("this is what is asked for")
    for statement, plan in (await plans(QUERIES[name])).items():
        if "w.value" in statement:
            continue  # the bounded look at the first resources of the type
        for step in plan:
            assert not WIDE.search(step), f"{step}\n{statement}"
