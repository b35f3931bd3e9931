"""What searches mean: the examples of the specification, asked of real resources."""

from decimal import Decimal

import pytest

from fhir_server.search.match import Candidate, NoLookup, matches
from tests.search import resources as r
from tests.search.conftest import NOW


@pytest.fixture
def finds(ask, extractor):
    """Whether a query finds a resource."""

    def find(query, resource):
        parsed = ask(resource["resourceType"], query)
        candidate = Candidate(
            resource["resourceType"], resource.get("id", "x"), NOW, 1, extractor.extract(resource)
        )
        return matches(parsed.query.where, candidate, NoLookup())

    return find


def report(**effective):
    return {"resourceType": "DiagnosticReport", "id": "x", "status": "final", **effective}


MIDNIGHT = report(effectiveDateTime="2013-01-14T00:00:00Z")
MORNING = report(effectiveDateTime="2013-01-14T10:00:00Z")
NEXT_DAY = report(effectiveDateTime="2013-01-15T00:00:00Z")
DAY = report(effectiveDateTime="2013-01-14")
FROM_JANUARY = report(effectivePeriod={"start": "2013-01-21"})
FROM_MARCH = report(effectivePeriod={"start": "2013-03-15"})
TO_JANUARY = report(effectivePeriod={"end": "2013-01-21"})
SPRING = report(effectivePeriod={"start": "2013-03-01", "end": "2013-05-31"})


# https://hl7.org/fhir/R4/search.html#prefix and #date
@pytest.mark.parametrize(
    ("value", "found", "passed"),
    [
        ("2013-01-14", [MIDNIGHT, MORNING, DAY], [NEXT_DAY, FROM_JANUARY]),
        ("eq2013-01-14", [MIDNIGHT, MORNING, DAY], [NEXT_DAY]),
        ("eq2013", [DAY, SPRING], [FROM_JANUARY, TO_JANUARY]),
        ("ne2013-01-14", [NEXT_DAY, FROM_JANUARY], [MIDNIGHT, MORNING, DAY]),
        ("lt2013-01-14T10:00", [DAY, MIDNIGHT], [MORNING, NEXT_DAY]),
        ("gt2013-01-14T10:00", [DAY, NEXT_DAY], [MIDNIGHT, MORNING]),
        ("ge2013-03-14", [FROM_JANUARY, FROM_MARCH, SPRING], [TO_JANUARY, DAY]),
        ("le2013-03-14", [FROM_JANUARY, TO_JANUARY, DAY, SPRING], [FROM_MARCH]),
        ("ge2013-01-14", [DAY, MIDNIGHT, NEXT_DAY], []),
        ("le2013-01-14", [DAY, MIDNIGHT, MORNING], [NEXT_DAY]),
        ("sa2013-03-14", [FROM_MARCH], [FROM_JANUARY, SPRING, DAY]),
        ("eb2013-03-14", [TO_JANUARY, DAY], [FROM_MARCH, FROM_JANUARY, SPRING]),
        ("ap2013-01-14", [DAY, NEXT_DAY, FROM_JANUARY, TO_JANUARY], []),
        ("ap2025-12-31", [FROM_JANUARY], [DAY, SPRING]),
        ("2013-01-14T10:00:00 00:00", [MORNING], [MIDNIGHT]),
        ("2013-01-14T11:00:00%2B01:00", [MORNING], [MIDNIGHT]),
    ],
)  # fmt: skip
def test_dates_are_compared_as_intervals(finds, value, found, passed):
    assert [finds(f"date={value}", one) for one in found] == [True] * len(found)
    assert [finds(f"date={value}", one) for one in passed] == [False] * len(passed)


def risk(probability):
    return {
        "resourceType": "RiskAssessment",
        "status": "final",
        "prediction": [{"probabilityDecimal": Decimal(probability)}],
    }


# https://hl7.org/fhir/R4/search.html#number
@pytest.mark.parametrize(
    ("value", "found", "passed"),
    [
        ("100", ["99.5", "100", "100.49"], ["99.4", "100.5"]),
        ("100.00", ["99.995", "100.004"], ["99.99", "100.005"]),
        ("1e2", ["95", "104.9"], ["94.9", "105"]),
        ("lt100", ["99.9"], ["100"]),
        ("le100", ["99.9", "100"], ["100.1"]),
        ("gt100", ["100.1"], ["100"]),
        ("ge100", ["100", "100.1"], ["99.9"]),
        ("ne100", ["99", "100.5"], ["100", "99.5"]),
        ("sa100", ["100.1"], ["100"]),
        ("eb100", ["99.9"], ["100"]),
        ("ap100", ["90", "109.9"], ["89", "111"]),
    ],
)
def test_numbers_are_compared_by_their_written_precision(finds, value, found, passed):
    assert [finds(f"probability={value}", risk(p)) for p in found] == [True] * len(found)
    assert [finds(f"probability={value}", risk(p)) for p in passed] == [False] * len(passed)


def measured(**quantity):
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "valueQuantity": quantity,
    }


DOSE = measured(value=Decimal("5.4"), unit="milligram", system=r.UCUM, code="mg")
BARE = measured(value=Decimal("5.4"), unit="mg")
FEVER = measured(value=Decimal("37.0"), unit="°C", system=r.UCUM, code="Cel")
ACID = measured(value=Decimal("5.4"), system=r.UCUM, code="[pH]")
BELOW = measured(value=Decimal("5.4"), comparator="<", system=r.UCUM, code="mg")


# https://hl7.org/fhir/R4/search.html#quantity
@pytest.mark.parametrize(
    ("value", "found", "passed"),
    [
        ("5.4", [DOSE, BARE], [BELOW]),
        (f"5.4|{r.UCUM}|mg", [DOSE], [BARE, BELOW]),
        ("5.4||mg", [DOSE, BARE], []),
        ("5.4||milligram", [DOSE], [BARE]),
        ("5.40e-3|http://unitsofmeasure.org|g", [DOSE], [BARE, BELOW]),
        ("5.5e-3|http://unitsofmeasure.org|g", [], [DOSE]),
        ("5400|http://unitsofmeasure.org|ug", [DOSE], [BARE]),
        ("5401|http://unitsofmeasure.org|ug", [], [DOSE, BARE]),
        ("5.4e3|http://unitsofmeasure.org|ug", [DOSE], [BARE]),
        ("lt5.4e3|http://unitsofmeasure.org|ug", [BELOW], [DOSE]),
        ("ge0.0000054|http://unitsofmeasure.org|kg", [DOSE], [BELOW]),
        ("5.4|http://unitsofmeasure.org|mL", [], [DOSE]),
        ("5.4|http://unitsofmeasure.org|[pH]", [ACID], [DOSE]),
        ("37|http://unitsofmeasure.org|Cel", [FEVER], []),
        ("98.6|http://unitsofmeasure.org|[degF]", [FEVER], []),
        ("gt310|http://unitsofmeasure.org|K", [FEVER], []),
        ("ap34|http://unitsofmeasure.org|Cel", [FEVER], []),
        ("ap33|http://unitsofmeasure.org|Cel", [], [FEVER]),
        (f"ap5|{r.UCUM}|mg", [BELOW], []),
        (f"lt5|{r.UCUM}|mg", [BELOW], [DOSE]),
        ("le5.4||mg", [DOSE, BARE, BELOW], []),
        ("gt5.4", [], [DOSE, BARE, BELOW]),
    ],
)
def test_quantities_are_compared_with_their_unit(finds, value, found, passed):
    assert [finds(f"value-quantity={value}", one) for one in found] == [True] * len(found)
    assert [finds(f"value-quantity={value}", one) for one in passed] == [False] * len(passed)


# https://hl7.org/fhir/R4/search.html#string, #token, #reference, #uri
@pytest.mark.parametrize(
    ("resource", "query", "found"),
    [
        (r.PATIENT, "given=eve", True),
        (r.PATIENT, "given=EVE%20%20mar", True),
        (r.PATIENT, "given=marie", False),
        (r.PATIENT, "given:contains=marie", True),
        (r.PATIENT, "given:exact=Eve", False),
        (r.PATIENT, "given:exact=Eve%20%20Marie", True),
        (r.PATIENT, "family=astr", True),
        (r.PATIENT, "family=%C3%85ST", True),
        (r.PATIENT, "name=evy", True),
        (r.PATIENT, "address=90-001", True),
        (r.PATIENT, "given=x,eve", True),
        (r.PATIENT, "given=eve&given=olga", True),
        (r.PATIENT, "given=eve&given=per", False),
        (r.PATIENT, "identifier=007", True),
        (r.PATIENT, "identifier=http://osler.test/mrn|007", True),
        (r.PATIENT, "identifier=http://osler.test/mrn|", True),
        (r.PATIENT, "identifier=http://osler.test/other|007", False),
        (r.PATIENT, "identifier=|007", False),
        (r.PATIENT, "identifier=|loose", True),
        (r.PATIENT, "gender=female", True),
        (r.PATIENT, "gender=http://hl7.org/fhir/administrative-gender|female", True),
        (r.PATIENT, "gender=|female", True),
        (r.PATIENT, "gender=http://osler.test/other|female", False),
        (r.PATIENT, "gender:not=female", False),
        (r.PATIENT, "gender:not=male,other", True),
        (r.PATIENT, "active=false", True),
        (r.PATIENT, "deceased=false", True),
        (r.PATIENT, "phone=mobile|%2B47%201", True),
        (r.PATIENT, "_tag=http://osler.test/tags|vip", True),
        (r.PATIENT, "_tag:not=vip", False),
        (r.PATIENT, "_id=p1", True),
        (r.PATIENT, "_id=p2,p1", True),
        (r.PATIENT, "_id=p2", False),
        (r.PATIENT, "_lastUpdated=2026-01-01", True),
        (r.PATIENT, "_lastUpdated=gt2026-01-01", False),
        (r.PATIENT, "_profile=http://osler.test/StructureDefinition/inpatient", True),
        (r.PATIENT, "_profile=http://osler.test/StructureDefinition/inpatient|1.0", True),
        (r.PATIENT, "_profile=http://osler.test/StructureDefinition/inpatient|2.0", False),
        (r.PATIENT, "general-practitioner=d1", True),
        (r.PATIENT, "general-practitioner=Practitioner/d1", True),
        (r.PATIENT, "general-practitioner:Practitioner=d1", True),
        (r.PATIENT, "general-practitioner:Organization=d1", False),
        (r.PATIENT, "general-practitioner=http://osler.test/fhir/Practitioner/d1", True),
        (r.PATIENT, "general-practitioner=http://other.test/fhir/Practitioner/d1", False),
        (r.PATIENT, "general-practitioner=http://other.test/fhir/Practitioner/d2", True),
        (r.PATIENT, "general-practitioner=http://other.test/fhir/Practitioner/d2/_history/3", False),
        (r.PATIENT, "general-practitioner=d2", False),
        (r.PATIENT, "general-practitioner:identifier=http://osler.test/npi|n7", True),
        (r.PATIENT, "general-practitioner:identifier=n8", False),
        (r.PATIENT, "birthdate:missing=false", True),
        (r.PATIENT, "death-date:missing=true", True),
        (r.PATIENT, "organization:missing=true", False),
        (r.PRESSURE, "category:missing=true", False),
        (r.PRESSURE, "encounter:missing=true", True),
        (r.PRESSURE, "code=85354-9", True),
        (r.PRESSURE, "code=http://loinc.org|85354-9,x|y", True),
        (r.PLAN, "depends-on=http://osler.test/ValueSet/wards", True),
        (r.PLAN, "depends-on=http://osler.test/ValueSet/wards|2.0", True),
        (r.PLAN, "depends-on=http://osler.test/ValueSet/wards|3.0", False),
        (r.VALUE_SET, "url=http://osler.test/ValueSet/wards", True),
        (r.VALUE_SET, "url=http://osler.test/ValueSet", False),
        (r.VALUE_SET, "url:below=http://osler.test/ValueSet", True),
        (r.VALUE_SET, "url:below=http://osler.test/ValueSet/", True),
        (r.VALUE_SET, "url:below=http://osler.test/Val", False),
        (r.VALUE_SET, "url:above=http://osler.test/ValueSet/wards/1", True),
        (r.VALUE_SET, "url:above=http://osler.test/ValueSet/wards2", False),
    ],
)
def test_a_query_finds_what_the_specification_says(finds, resource, query, found):
    assert finds(query, resource) is found


def test_escaped_separators_belong_to_the_value(finds):
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "a,b|c$d\\e"}],
        "identifier": [{"value": "x|y,z"}],
    }
    assert finds(r"family=a\,b\|c\$d\\e", patient)
    assert finds(r"identifier=x\|y\,z", patient)
    assert not finds("identifier=x|y,w", patient)
