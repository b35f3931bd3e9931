"""How SQLite carries searches out, on a hospital of some thousand patients: nothing is gone through because of a join order.

https://www.sqlite.org/eqp.html. A plan may not SCAN a table of the store, and may go through a whole parameter or a whole
type (an index with `pid=?` or `type=?` alone) where the shape says so: there the question itself has no better bound, or
the rows are wanted in that order. The steps of SQLite's machine are bounded too: going through a type takes 20,000 here.
"""

import asyncio
import re
from dataclasses import dataclass

import pytest

from fhir_r4.temporal import DAY
from fhir_server.search.contained import contained_key
from fhir_server.search.entries import Contained, Entries
from fhir_server.search.tree import (
    And,
    Chain,
    Composite,
    ContainedIn,
    DateIs,
    Everything,
    FullText,
    Has,
    IdIs,
    Include,
    Near,
    Not,
    NumberIs,
    Or,
    Present,
    QuantityIs,
    RefersTo,
    Repeats,
    SearchQuery,
    SortKey,
    TextIs,
    TokenIn,
    TokenIs,
    TypeIs,
    Updated,
    UriIs,
)
from fhir_server.store.records import Body, WriteOp
from fhir_server.store.sqlite.store import SqliteStore
from tests.store.making import START, Clock

PATIENTS = 2_000
LOINC = "http://loinc.org"
CODES = [str(code) for code in range(20)]
FAMILIES = ["ahlberg", "bauer", "castellano", "dimitrov", "eriksen", "ferreira", "haddad", "ivanova"]
BORN = -20_000 * DAY
SEEN = 18_000 * DAY


def resource(type, id, told="", **entries):
    narrative = f',"text":{{"div":"<div>{told}</div>"}}' if told else ""
    body = Body(f'{{"resourceType":"{type}","id":"{id}"{narrative},"meta":{{'.encode(), b"}}")
    return WriteOp("POST", type, id, body, Entries(**entries))


def patient(n):
    family = FAMILIES[n % 8]
    return resource(
        "Patient",
        f"p{n}",
        f"word{n} patient",
        tokens=[
            ("identifier", "urn:mrn", f"{n:08d}"),
            ("gender", "http://hl7.org/fhir/administrative-gender", "male" if n % 2 else "female"),
        ],
        strings=[
            ("name", family, family),
            ("family", family, family),
            ("name", f"given{n % 50}", f"Given{n % 50}"),
        ],
        dates=[("birthdate", BORN + n * DAY, BORN + (n + 1) * DAY)],
        references=[("organization", "Organization", f"o{n % 10}", "", "")],
        uris=[("_source", f"http://x/{n % 100}")],
        positions=[("near", 40 + n / 1000, n / 20 - 50)],
    )


def encounter(n, k):
    begin = SEEN + (n * 3 + k) * DAY // 4
    return resource(
        "Encounter",
        f"e{n}-{k}",
        tokens=[("status", "", "finished" if n % 9 else "planned"), ("class", "urn:act", "AMB")],
        dates=[("date", begin, begin + DAY // 24)],
        references=[(code, "Patient", f"p{n}", "", "") for code in ("patient", "subject")],
        numbers=[("length", float(n % 100), float(n % 100))],
    )


def observation(n, k):
    begin, code, value = SEEN + (n * 3 + k) * DAY // 4, CODES[(n + k) % 20], float(n % 200)
    components = (("token", LOINC, code), ("quantity", value, value, "urn:ucum", "mg", "mg"))
    return resource(
        "Observation",
        f"v{n}-{k}",
        tokens=[("code", LOINC, code), ("combo-code", LOINC, code), ("status", "", "final")],
        dates=[("date", begin, begin + 1_000_000)],
        quantities=[("value-quantity", value, value, "urn:ucum", "mg", "mg")],
        references=[
            *((code, "Patient", f"p{n}", "", "") for code in ("patient", "subject")),
            ("encounter", "Encounter", f"e{n}-0", "", ""),
        ],
        composites=[("code-value-quantity", components)],
    )


def prescription(n):
    """One in three contains its Medication, and another that nothing refers to."""
    key = ("MedicationRequest", f"m{n}")
    if n % 3:
        return resource(*key, references=[("medication", "Medication", f"d{n % 300}", "", "")])
    drugs = tuple(
        Contained("Medication", id, Entries(tokens=[("code", "urn:drugs", f"c{n % 400}")]))
        for id in ("a", "b")
    )
    references = [("medication", "", "", "", "")]
    references.append(("medication:contained", *contained_key(key, "Medication", "a"), "", ""))
    op = resource(*key, references=references)
    op.entries.contained = drugs
    return op


async def filled(path):
    store = SqliteStore(path, Clock(), readers=1)
    await store.open()
    await fill(store)
    return store


async def fill(store):
    await store.transact(
        [resource("Organization", f"o{n}", tokens=[("name", "", f"ward {n}")]) for n in range(10)]
    )
    await store.transact(
        [resource("Medication", f"d{n}", tokens=[("code", "urn:drugs", f"c{n}")]) for n in range(300)]
    )
    for first in range(0, PATIENTS, 200):
        ops = [prescription(n) for n in range(first, first + 200)]
        for n in range(first, first + 200):
            ops += [patient(n), encounter(n, 0), *(observation(n, k) for k in range(3))]
        await store.transact(ops)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    with asyncio.Runner() as runner:
        store = runner.run(filled(tmp_path_factory.mktemp("plans") / "store.db"))
        yield lambda query: runner.run(store.explain(query))
        runner.run(store.close())


@dataclass(frozen=True)
class Shape:
    """A search; `whole`: indexes that may be gone through by pid or type alone; `work`: most steps."""

    types: str
    where: object = Everything()
    sort: tuple = ()
    whole: str = ""
    work: int = 3_000
    more: tuple = ()

    @property
    def query(self):
        return SearchQuery(tuple(self.types.split()), self.where, self.sort, count=20, **dict(self.more))


def code(code="7", param="code"):
    return TokenIs(param, LOINC, code)


def of(n=77, param="patient", type="Patient"):
    return RefersTo(param, type, f"p{n}")


def drug(n):
    return TokenIs("code", "urn:drugs", f"c{n}")


def named(name="bauer"):
    return TextIs("name", name, "starts")


def day(prefix, n, param="date"):
    return DateIs(param, prefix, SEEN + n * DAY, SEEN + (n + 1) * DAY)


def above(value, unit=("urn:ucum", "mg")):
    return QuantityIs("value-quantity", "gt", value, value, value, *unit)


MRN = TokenIs("identifier", "urn:mrn", "00000123")
NEWEST = (SortKey("date", "date", True),)
OLDEST = (SortKey("date", "date"),)
UPDATED = (SortKey("_lastUpdated", "date", True),)
LISTED = "resource_live"

SHAPES = {
    "identifier": Shape("Patient", MRN),
    "identifier of any system": Shape("Patient", TokenIs("identifier", None, "00000123")),
    "ids": Shape("Patient", IdIs(("p1", "p2", "p3"))),
    "reference": Shape("Observation", of()),
    "reference of whatever type": Shape("Observation", RefersTo("subject", None, "p5")),
    "name": Shape("Patient", named(), work=10_000),
    "name exactly": Shape("Patient", TextIs("family", "bauer", "exact"), work=10_000),
    "name and given name": Shape("Patient", And((named(), named("given7"))), work=10_000),
    "name that contains": Shape("Patient", TextIs("name", "ven4", "contains"), whole="ix_string_value", work=60_000),
    "birth date": Shape("Patient", DateIs("birthdate", "eq", BORN + 9 * DAY, BORN + 10 * DAY)),
    "birth date range": Shape(
        "Patient",
        And((DateIs("birthdate", "ge", BORN, BORN + DAY), DateIs("birthdate", "lt", BORN + 9 * DAY, BORN + 10 * DAY))),
    ),
    "patient, code and date": Shape("Observation", And((of(), code("17"), day("ge", 50)))),
    "patient and code, newest first": Shape("Observation", And((of(), code("17"))), NEWEST),
    "code, newest first": Shape("Observation", code(), NEWEST, whole="ix_date_high", work=20_000),
    "since, in order": Shape("Encounter", day("ge", 900), OLDEST, work=8_000),
    "before, newest first": Shape("Encounter", day("lt", 900), NEWEST, work=8_000),
    "one day": Shape("Encounter", day("eq", 900)),
    "newest of all": Shape("Observation", Everything(), NEWEST, whole="ix_date_high", work=8_000),
    "patient and date, newest first": Shape("Observation", And((of(), day("ge", 50))), NEWEST),
    "broad conditions and a patient": Shape("Observation", And((TokenIs("status", None, "final"), day("ge", 50), of())), NEWEST),
    "by two keys": Shape("Observation", of(), (SortKey("code", "token"), *NEWEST)),
    "all by two keys": Shape("Observation", Everything(), (*NEWEST, SortKey("code", "token")), whole="ix_date_high", work=20_000),
    "all by a key that many share": Shape(
        "Observation", Everything(), (SortKey("status", "token"), *NEWEST), whole="ix_date_high ix_token_value", work=150_000
    ),
    "by time, of two types": Shape("Patient Encounter", Everything(), UPDATED, whole="resource_updated", work=60_000),
    "by time, of every type": Shape("", Everything(), UPDATED, whole="resource_updated", work=200_000),
    "since a time, by time": Shape("Patient Encounter", Updated("ge", START, START + 1), UPDATED, work=150_000),
    "last updated, of every type": Shape("", Updated("sa", START + DAY, START + 2 * DAY)),
    "all of a type": Shape("Patient", whole=LISTED, work=8_000),
    "of two types": Shape("Patient Encounter", whole=LISTED, work=8_000),
    "last updated": Shape("Patient", Updated("sa", START + DAY, START + 2 * DAY)),
    "chain to one": Shape("Observation", Chain("patient", "Patient", MRN)),
    "chain to many": Shape("Observation", Chain("patient", "Patient", named()), work=40_000),
    "two conditions of a chain": Shape(
        "Observation", And((Chain("patient", "Patient", named()), Chain("patient", "Patient", named("given1")))), work=25_000
    ),
    "chain over two": Shape(
        "Observation", Chain("patient", "Patient", Chain("organization", "Organization", TokenIs("name", None, "ward 3"))), work=40_000
    ),
    "chain and code": Shape("Observation", And((Chain("patient", "Patient", MRN), code("3")))),
    "has one": Shape("Patient", Has("Encounter", "patient", IdIs(("e9-0",)))),
    "has many": Shape("Patient", Has("Observation", "patient", code()), work=60_000),
    "has, and its own condition": Shape("Patient", And((MRN, Has("Observation", "patient", code("3"))))),
    "has that has a chain": Shape("Patient", Has("Observation", "patient", Chain("encounter", "Encounter", IdIs(("e9-0",))))),
    "code and quantity": Shape("Observation", And((code("19"), above(198.5))), work=40_000),
    "code and quantity without unit": Shape("Observation", And((code("19"), above(198.5, (None, None)))), work=40_000),
    "quantity with unit": Shape("Observation", above(20.5), whole=LISTED, work=60_000),
    "quantity with unit, below": Shape("Observation", QuantityIs("value-quantity", "lt", 150.0, 150.0, 150.0, "urn:ucum", "mg"), whole=LISTED, work=60_000),
    "quantity of a unit's text": Shape("Observation", above(198.5, (None, "mg")), work=8_000),
    "quantity without unit": Shape("Observation", above(198.5, (None, None)), work=8_000),
    "composite": Shape(
        "Observation",
        Composite(
            "code-value-quantity",
            (code("19", "code-value-quantity"), QuantityIs("code-value-quantity", "gt", 198.5, 198.5, 198.5, None, None)),
        ),
    ),
    "number": Shape("Encounter", NumberIs("length", "gt", 98.5, 98.5, 98.5)),
    "set of codes": Shape("Observation", And((of(), TokenIn("code", frozenset((LOINC, c) for c in CODES[9:]))))),
    "alternatives": Shape("Observation", And((Or((of(1), of(2), of(3))), Or((code("1"), code("2"))))), work=5_000),
    "uri": Shape("Patient", UriIs("_source", "http://x/7", "below")),
    "near": Shape("Location Patient", Near("near", 40.5, -25.0, 20_000.0), work=8_000),
    "words": Shape("Patient", FullText("text", ((("word77",),),))),
    "not, of a patient": Shape("Observation", And((of(), Not(code("17"))))),
    "not, of all": Shape("Observation", Not(code()), whole=LISTED, work=8_000),
    "has many, and a broad condition": Shape(
        "Patient", And((Has("Observation", "patient", code()), DateIs("birthdate", "ge", BORN, BORN + DAY))), work=80_000
    ),
    "missing of all": Shape("Observation", Not(Present("date")), whole=LISTED, work=200_000),
    "missing": Shape("Patient", And((named(), Not(Present("birthdate")))), work=60_000),
    "type of several": Shape("", And((TypeIs(("Encounter",)), of()))),
    "of a compartment": Shape("", Or((And((TypeIs(("Encounter",)), of())), And((TypeIs(("Observation",)), of()))))),
    "included": Shape("Observation", of(), more=(("includes", (Include("Observation", "patient"), Include("*", None))),)),
    "included in reverse": Shape(
        "Patient", MRN, more=(("includes", (Include("Observation", "patient", reverse=True, where=code("3")),)),), work=5_000
    ),
    "chain into contained ones": Shape("MedicationRequest", Chain("medication", "Medication", drug(12))),
    "contained": Shape("Medication#", drug(12)),
    "contained and others": Shape("Medication Medication#", drug(12)),
    "contained by id": Shape("Medication#", And((IdIs(("b",)), drug(12))), work=10_000),
    "containers": Shape("Medication#", And((drug(12), Not(Repeats(("Medication#",), drug(12)))))),
    "containers and others": Shape(
        "Medication Medication#", And((drug(12), Not(Repeats(("Medication", "Medication#"), drug(12)))))
    ),
    "contained in what may be seen": Shape(
        "Medication#", And((drug(12), ContainedIn(And((TypeIs(("MedicationRequest",)), Not(Present("status")))))))
    ),
    "all that is contained": Shape("Medication#", whole=LISTED, work=8_000),
    "who refers to a contained one": Shape("Medication#", Has("MedicationRequest", "medication", IdIs(("m12",)))),
    "accurate total": Shape("Observation", code(), more=(("total", "accurate"),), work=30_000),
    "estimated total": Shape("Observation", Not(code()), whole=LISTED, more=(("total", "estimate"),), work=80_000),
}  # fmt: skip

EMPTY = ("last updated", "last updated, of every type", "missing", "missing of all")

TABLE = re.compile(
    r"(SCAN|SEARCH) \w+(?: USING (?:COVERING )?(?:INDEX (\w+)|(INTEGER PRIMARY KEY|PRIMARY KEY)))?(?: \((.*)\))?$"
)
OURS = re.compile(r"[a-z]\d+|resource|version|i|b|r|k|x|o|t|v|ix_\w+")


def whole(line):
    """The index that a line of a plan goes through by its parameter or type alone; '' for a table gone through."""
    found = TABLE.match(line.strip())
    if found is None or "VIRTUAL" in line:
        return None
    verb, index, _, bound = found.groups()
    name = line.split()[1]
    if name == "present":  # a probe, which ends with the first row
        return None
    if verb == "SCAN":
        return "" if index or OURS.fullmatch(name) else None
    # the indexes of long intervals hold few rows
    return index if bound in ("pid=?", "type=?", "deleted=?") and not index.endswith("_long") else None


@pytest.mark.parametrize("name", SHAPES)
def test_no_plan_goes_through_a_type_because_of_a_join_order(name, hospital):
    shape = SHAPES[name]
    explanation = hospital(shape.query)
    assert explanation.steps
    for step in explanation.steps:
        for line in step.plan:
            assert whole(line) in (None, *shape.whole.split()), (line, step.text)
    assert explanation.work <= shape.work
    assert explanation.matches > 0 or name in EMPTY


def test_the_judge_of_plans_tells_what_is_gone_through():
    assert whole("SCAN resource") == ""
    assert whole("  SCAN s1 USING COVERING INDEX ix_token_value") == ""
    assert whole("SEARCH t1 USING INDEX resource_live (type=?)") == "resource_live"
    assert whole("SEARCH s1 USING COVERING INDEX ix_token_value (pid=? AND code=?)") is None
    assert whole("SEARCH x1 USING PRIMARY KEY (rid=? AND pid=?)") is None
    assert whole("SCAN json_each VIRTUAL TABLE INDEX 1:") is None
    assert whole("SCAN w") is None
    assert whole("SEARCH present USING COVERING INDEX ix_token_value (pid=?)") is None
