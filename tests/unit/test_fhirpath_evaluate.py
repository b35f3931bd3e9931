"""FHIRPath evaluated on resources, with the places of what it finds."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from fhir_r4.fhirpath.evaluate import evaluate
from fhir_r4.fhirpath.located import Quantity, made
from fhir_r4.fhirpath.moments import Moment
from fhir_r4.fhirpath.syntax import FhirPathError

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "name": [
        {"use": "official", "family": "Chalmers", "given": ["Peter", "James"], "_given": [None, {"id": "g"}]},
        {"use": "usual", "given": ["Jim"]},
    ],
    "birthDate": "1974-12-25",
    "_birthDate": {"extension": [{"url": "urn:time", "valueDateTime": "1974-12-25T14:35:45-05:00"}]},
    "deceasedBoolean": False,
    "contained": [{"resourceType": "Organization", "id": "o", "name": "Org"}],
    "managingOrganization": {"reference": "#o"},
}
OBSERVATION = {
    "resourceType": "Observation",
    "valueQuantity": {
        "value": Decimal("1.10"),
        "unit": "kg",
        "code": "kg",
        "system": "http://unitsofmeasure.org",
    },
}


def values(expression, resource=PATIENT, **options):
    found = [item.value for item in evaluate(expression, resource, **options)]
    return [v.text if isinstance(v, Moment) else v for v in found]


def test_items_know_their_place():
    (item,) = evaluate("Patient.name.where(use = 'official').given[1]", PATIENT)
    assert (item.value, item.type, item.name, item.index) == ("James", "string", "given", 1)
    assert item.parent is PATIENT["name"][0]
    assert item.extra == {"id": "g"}


def test_a_choice_is_one_element_that_knows_its_member():
    (item,) = evaluate("Observation.value", OBSERVATION)
    assert (item.type, item.name, item.shape) == ("Quantity", "valueQuantity", "Quantity")
    assert item.parent is OBSERVATION


def test_backbone_elements_have_a_shape():
    (item,) = evaluate("Patient.contact", {"resourceType": "Patient", "contact": [{"gender": "male"}]})
    assert (item.type, item.shape, item.index) == ("BackboneElement", "Patient.contact", 0)


def test_a_primitive_with_extensions_alone_is_an_item_without_value():
    (item,) = evaluate("birthDate", {"resourceType": "Patient", "_birthDate": {"id": "x"}})
    assert item.value is None
    assert values("birthDate.hasValue()", {"resourceType": "Patient", "_birthDate": {"id": "x"}}) == [False]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Patient.name.given", ["Peter", "James", "Jim"]),
        ("name.given.first() | name.given.last()", ["Peter", "Jim"]),
        ("Observation.value", []),
        ("Resource.id", ["p"]),
        ("DomainResource.id", ["p"]),
        ("birthDate.extension('urn:time').value", ["1974-12-25T14:35:45-05:00"]),
        ("birthDate.extension.url", ["urn:time"]),
        ("name.given[1].id", ["g"]),
        ("deceased", [False]),
        ("deceased.exists() and deceased != false", [False]),
        ("(deceased as boolean).not()", [True]),
        ("deceased as dateTime", []),
        ("name.where(family.exists()).given.count()", [2]),
        ("name.exists(use = 'nickname')", [False]),
        ("contained.name", ["Org"]),
        ("contained.ofType(Organization).id", ["o"]),
        ("managingOrganization.resolve().name", ["Org"]),
        ("managingOrganization.resolve() is Organization", [True]),
        ("name.use.distinct().count() = 2", [True]),
        ("name.given.select($this & '!')", ["Peter!", "James!", "Jim!"]),
        ("name.given.where($index > 0)", ["James", "Jim"]),
        ("name.given.aggregate($total & $this, '')", ["PeterJamesJim"]),
        ("name[0].children().count()", [4]),
        ("descendants().where($this is HumanName).count()", [2]),
        ("name.given.skip(1).take(1)", ["James"]),
        ("name.given.tail().exclude('Jim')", ["James"]),
        ("iif(active, 'yes', 'no')", ["yes"]),
        ("{} and false", [False]),
        ("{} or false", []),
        ("false implies {}", [True]),
        ("'a' in ('a' | 'b')", [True]),
        ("name.given contains 'Jim'", [True]),
        ("'ABC'.substring(1, 1).lower()", ["b"]),
        ("'a,b'.split(',').join('-')", ["a-b"]),
        ("1 + 2 * 3 - 4 div 3", [6]),
        ("7.5 / 2", [Decimal("3.75")]),
        ("1 / 0", []),
        ("'1.5'.toDecimal() = 1.50", [True]),
        ("1.55 ~ 1.5", [False]),
        ("@2012 = @2012-01", []),
        ("@2012-01 < @2013", [True]),
        ("@2012-01-01T10:00Z = @2012-01-01T11:00+01:00", [True]),
        ("birthDate < @1980-01-01", [True]),
        ("birthDate + 1 year", ["1975-12-25"]),
        ("@2024-01-31 + 1 month", ["2024-02-29"]),
        ("@T10:00:30 + 45 seconds", ["10:01:15"]),
        ("id.is(System.String)", [False]),
        ("id is string", [True]),
        ("'x' is System.String", [True]),
        ("true.not()", [False]),
        ("-1.abs()", [-1]),
        ("(-1).abs()", [1]),
        ("%resource.id", ["p"]),
        ("%loinc", ["http://loinc.org"]),
        ("name.given.sort()", ["James", "Jim", "Peter"]),
        ("name.given.sort(-$this).first()", ["Peter"]),
        ("name.type().name.distinct()", ["HumanName"]),
        ("1.type().namespace", ["System"]),
        ("name.use.as(string)", []),
        ("name.use.as(code)", ["official", "usual"]),
        ("birthDate != @T12:00", [True]),
        ("name.given.select(iif($index = 1, $this, {}))", ["James"]),
        ("12.500.lowBoundary(4)", [Decimal("12.4995")]),
        ("(-1.587).highBoundary(2)", [Decimal("-1.58")]),
        ("@2024-02.highBoundary(8)", ["2024-02-29"]),
        ("@2014.lowBoundary(6)", ["2014-01"]),
        ("@2014-01-01T08:05+08:00.lowBoundary(17)", ["2014-01-01T08:05:00.000+08:00"]),
        ("@T10:30.highBoundary()", ["10:30:59.999"]),
        ("1.58700.precision()", [5]),
        ("1 'cm'.comparable(1 'm')", [True]),
        ("conformsTo('http://hl7.org/fhir/StructureDefinition/Patient')", [True]),
        ("name.repeat(given)", ["Peter", "James", "Jim"]),
    ],
)
def test_expressions(expression, expected):
    assert values(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("value.value", [Decimal("1.10")]),
        ("value > 1 'kg'", [True]),
        ("value = 1100 'g'", [True]),
        ("value = 1.1 's'", []),
        ("(value as Quantity).unit", ["kg"]),
        ("value.ofType(Quantity) is Quantity", [True]),
    ],
)
def test_quantities(expression, expected):
    assert values(expression, OBSERVATION) == expected


def test_made_quantities_have_a_system_type():
    (item,) = evaluate("2 'kg' * 3", OBSERVATION)
    assert (item.value, item.type) == (Quantity(Decimal(6), "kg"), "System.Quantity")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("name.first().family.foo()", "foo"),
        ("name.given.substring(0)", "one item"),
        ("name.use + 1", "one item"),
        ("'a' + 1", "cannot be applied"),
        ("active > 1", "cannot compare"),
        ("name.exists(1, 2)", "arguments"),
        ("%unknown", "%unknown"),
        ("id is Foo", "Foo"),
        ("name.single()", "one item"),
        ("today()", "clock"),
        ("'a'.matches('(')", "regular expression"),
        ("a..b", "Expected"),
        ("iif('x', 1)", "boolean"),
        ("@2020-01-01 + 1 'mo'", "cannot be added"),
    ],
)
def test_errors(expression, said):
    with pytest.raises(FhirPathError, match=said.replace("(", "\\(")):
        evaluate(expression, PATIENT)


def test_unknown_elements_are_empty_or_when_strict_an_error():
    assert values("name.nonsense") == []
    with pytest.raises(FhirPathError, match="HumanName has no element 'nonsense'"):
        evaluate("name.nonsense", PATIENT, strict=True)
    assert values("name[0].period", strict=True) == []
    with pytest.raises(FhirPathError, match="Patient, not Encounter"):
        evaluate("Encounter.status", PATIENT, strict=True)


def test_the_clock_and_the_resolver_are_passed_in():
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert values("today()", now=now) == ["2026-01-02"]
    assert values("now() > @2026-01-02T03:04Z", now=now) == [] or values("now() > @2026-01-01", now=now) == [
        True
    ]
    known = {"Organization/1": {"resourceType": "Organization", "name": "Far"}}
    resource = {"resourceType": "Patient", "managingOrganization": {"reference": "Organization/1"}}
    assert values("managingOrganization.resolve().name", resource, resolve=known.get) == ["Far"]
    assert values("managingOrganization.resolve().name", resource) == []


def test_variables_and_other_starting_points():
    assert values("%x + 1", variables={"x": [made(2)]}) == [3]
    (name,) = evaluate("name[0]", PATIENT)
    assert values("family", context=name) == ["Chalmers"]
    assert values("%resource.id", context=name) == ["p"]
    assert values("given.count()", {"given": ["a", "b"]}, type="HumanName") == [2]


def test_no_expression_runs_without_end():
    resource = {"resourceType": "Bundle", "entry": [{"fullUrl": f"urn:{n}"} for n in range(3000)]}
    with pytest.raises(FhirPathError, match="visits more"):
        evaluate("entry.where(%resource.entry.where(fullUrl = 'x').exists())", resource)


def test_evaluation_changes_nothing():
    before = repr(PATIENT)
    evaluate("descendants().where($this is string).first()", PATIENT)
    assert repr(PATIENT) == before
