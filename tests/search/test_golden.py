"""The examples of the specification, asked of a house of resources: https://hl7.org/fhir/R4/search.html and
https://hl7.org/fhir/R4/search_filter.html."""

import pytest

from fhir_r4.errors import FhirError, NotSupported
from terminology.errors import UnknownCodeSystem, UnknownValueSet
from terminology.local import LocalTerminology
from tests.search.house import CLINICAL, House
from tests.search.resources import LOINC, SCT, UCUM

V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"


@pytest.fixture(scope="session")
def house(extractor):
    return House(extractor)


def stored(kind, url, version):
    if (kind, url) == ("ValueSet", "http://acme.org/fhir/ValueSet/cardiac-conditions"):
        concepts = [{"code": "25064002"}, {"code": "1"}]
        return {"resourceType": "ValueSet", "url": url, "status": "active",
                "compose": {"include": [{"system": SCT, "concept": concepts}]}}  # fmt: skip
    return None


@pytest.fixture(scope="session")
def terminology():
    return LocalTerminology().with_resources(stored)


@pytest.fixture
def found(ask, house, terminology):
    """The ids that a query finds."""

    def find(types, query):
        return house.ids(ask(types, query, terminology=terminology).query)

    return find


@pytest.mark.parametrize(
    ("type", "query", "ids"),
    [
        # composite parameters
        ("DiagnosticReport", f"result.code-value-quantity={LOINC}|1234-5$gt5.4|{UCUM}|mg", ["report"]),
        ("DiagnosticReport", f"result.code-value-quantity={LOINC}|1234-5$gt6.4|{UCUM}|mg", []),
        ("Observation", f"component-code-value-quantity={LOINC}|8480-6$lt60", ["mixed"]),
        ("Observation", f"component-code-value-quantity={LOINC}|8462-4$lt60", []),
        ("Observation", f"component-code-value-quantity=8480-6$lt8|{UCUM}|kPa", ["mixed"]),
        ("Observation", f"code-value-quantity=1234-5$6200|{UCUM}|ug", ["dose", "gram"]),
        ("Observation", "code-value-quantity=1234-5$6.2||mg", ["dose"]),
        ("Observation", "code-value-quantity=1234-5$6.2", ["dose"]),
        ("Observation", "combo-code-value-quantity=8480-6$50,1234-5$6.2", ["dose", "mixed"]),
        ("Observation", "code-value-string=1234-5$posit", ["said"]),
        ("Observation", "code-value-quantity:missing=false", ["dose", "gram"]),
        ("Group", "characteristic-value=gender$mixed", ["herd"]),
        ("Group", "characteristic-value=gender$Eve", []),
        ("Group", "characteristic-value=gender$Eve,owner$Eve", ["herd"]),
        ("DocumentReference", "relationship=appends$DocumentReference/first", ["note"]),
        ("DocumentReference", "relationship=http://hl7.org/fhir/document-relationship-type|appends$first", ["note"]),
        ("DocumentReference", "relationship=replaces$first", []),
        # tokens
        ("Condition", "code:text=headache", ["headache", "liver"]),
        ("Condition", "code:text=SORE", ["headache"]),
        ("Condition", "code:text=finding", []),
        ("Condition", "code:text=sore,headache%20at", ["headache"]),
        ("Condition", "code:in=http://acme.org/fhir/ValueSet/cardiac-conditions", ["headache"]),
        ("Condition", "code:not-in=http://acme.org/fhir/ValueSet/cardiac-conditions", ["liver", "bone"]),
        ("Condition", f"clinical-status:below={CLINICAL}|active", ["headache", "liver"]),
        ("Condition", f"clinical-status:above={CLINICAL}|relapse", ["headache", "liver"]),
        ("Condition", f"clinical-status:above={CLINICAL}|active", ["headache"]),
        ("Condition", f"clinical-status:below={CLINICAL}|inactive", ["bone"]),
        ("Condition", "clinical-status:in=http://hl7.org/fhir/ValueSet/condition-clinical", ["headache", "liver", "bone"]),
        ("Patient", "gender:in=http://hl7.org/fhir/ValueSet/administrative-gender", ["peter", "eve"]),
        ("Patient", "gender:not-in=http://hl7.org/fhir/ValueSet/administrative-gender", ["blank"]),
        ("Patient", "gender:below=male", ["peter"]),
        ("Patient", "gender:not=male", ["eve", "blank"]),
        ("Patient", f"identifier:of-type={V2}|MR|446053", ["peter"]),
        ("Patient", f"identifier:of-type={V2}|XX|446053", []),
        ("Observation", "patient.identifier=urn:mrn|446053", ["dose"]),
        ("DocumentReference", "contenttype=text/xml", []),
        ("DocumentReference", "contenttype:below=text/xml", ["note"]),
        ("DocumentReference", "contenttype:below=text", ["note"]),
        ("DocumentReference", "contenttype:below=application,text", ["note", "first"]),
        # canonical references and their versions
        ("PlanDefinition", "depends-on=http://acme.com/some-profile", ["p10", "p11", "p20", "p"]),
        ("PlanDefinition", "depends-on=http://acme.com/some-profile|1.1", ["p11"]),
        ("PlanDefinition", "depends-on:below=http://acme.com/some-profile", ["p10", "p11", "p20", "p"]),
        ("PlanDefinition", "depends-on:below=http://acme.com/some-profile|1", ["p10", "p11"]),
        ("PlanDefinition", "depends-on:above=http://acme.com/some-profile|1.1.3", ["p11", "p"]),
        # hierarchies
        ("Encounter", "location=site", ["visit"]),
        ("Encounter", "location:below=site", ["stay", "visit"]),
        ("Encounter", "location:below=Location/ward", ["stay"]),
        ("Encounter", "location:above=http://osler.test/fhir/Location/bed", ["stay", "visit"]),
        ("Encounter", "location:above=ward", ["visit"]),
        ("Observation", "encounter:above=visit", ["dose", "gram"]),
        ("Observation", "encounter:above=stay", ["dose"]),
        ("Observation", "encounter:below=stay", ["dose", "gram"]),
        ("Location", "partof:below=site", ["ward", "bed"]),
        ("Patient", "organization:below=trust", ["peter", "eve"]),
        ("Patient", "organization:above=trust", ["eve"]),
        # chains
        ("DiagnosticReport", "subject.name=peter", ["report"]),
        ("DiagnosticReport", "subject:Patient.name=eve", []),
        ("DiagnosticReport", "result.patient.organization.partof.name=trust", ["report"]),
        ("Patient", "_has:Observation:patient:code=1234-5", ["peter", "eve"]),
        ("Patient", "_has:Observation:patient:_has:AuditEvent:entity:type:missing=true", ["peter"]),
        ("Patient", "_has:Observation:patient:encounter.location.name=bed", ["peter"]),
        ("Organization", "_has:Patient:organization:_has:Observation:patient:value-string=pos", ["trust"]),
        # places
        ("Location", "near=59.95|10.75", ["site", "ward"]),
        ("Location", "near=59.95|10.75|100|m", ["site"]),
        ("Location", "near=59.95|10.75|1", ["site", "ward"]),
        ("Location", "near=59.95|10.75|0.1|[mi_i]", ["site", "ward"]),
        ("Location", "near=59.95|10.75|0.09|[mi_us]", ["site"]),
        ("Location", "near=-33.87|151.21|0|km", ["abroad"]),
        ("Location", "near=59.95|10.75|20000|km", ["site", "ward", "abroad"]),
        ("Location", "near:missing=true", ["bed"]),
        ("Location", "near=0|0|1,-33.8|151.2|10", ["abroad"]),
        # texts
        ("Condition", "_text=(bone OR liver) and metastases", ["liver", "bone"]),
        ("Condition", "_text=metastases", ["liver", "bone"]),
        ("Condition", '_text="of the liver"', ["liver"]),
        ("Condition", '_text="of liver"', []),
        ("Condition", "_text=metastases NOT bone", []),
        ("Condition", "_text=metastases not liver", ["bone"]),
        ("Condition", "_text=liver", ["liver"]),
        ("Condition", "_content=liver", ["liver", "bone"]),
        ("Condition", "_content=finding", ["headache"]),
        ("Condition", "_text=head", []),
        ("Condition", "_text=nothing,HEADACHE", ["headache"]),
        ("Condition", "_text=bone-dry", ["liver"]),
        # lists
        ("Condition", "_list=42", ["headache"]),
        ("Condition", "_list=List/42,old", ["headache", "bone"]),
        ((), "_list=42", ["headache"]),
        ("Patient", "_list=42", []),
        ("Condition", "_list=$current-problems", ["headache"]),
        ("AllergyIntolerance", "_list=$current-allergies", ["penicillin", "peanuts"]),
        ("AllergyIntolerance", "patient=peter&_list=$current-drug-allergies", ["penicillin"]),
        ("MedicationStatement", "_list=$current-medications", []),
        # several types
        ((), "_type=Condition,Patient&_text=bone OR x", ["liver", "bone"]),
        ((), "_id=42", ["42"]),
    ],
)  # fmt: skip
def test_a_search_finds_what_the_specification_says(found, type, query, ids):
    assert found(type, query.replace("+", "%2B")) == ids


# https://hl7.org/fhir/R4/search_filter.html
@pytest.mark.parametrize(
    ("type", "filter", "ids"),
    [
        ("Patient", 'name co "et"', ["peter"]),
        ("Patient", 'given eq "peter" and birthdate ge 1970-10-10', ["peter"]),
        ("Patient", 'given eq "pet"', []),
        ("Patient", "given eq PETER", ["peter"]),
        ("Patient", "given sw pet", ["peter"]),
        ("Patient", 'family ew "berg"', ["eve"]),
        ("Patient", "family ew den", []),
        ("Patient", "given ne peter", ["peter", "eve"]),
        ("Patient", "given ne eve", ["peter"]),
        ("Patient", "family gt d", ["eve"]),
        ("Patient", "family lt d", ["peter"]),
        ("Patient", "family ge chalmers and family le chalmers", ["peter"]),
        ("Patient", "birthdate lt 2000", ["peter"]),
        ("Patient", "birthdate sa 2000", ["eve"]),
        ("Patient", "birthdate eb 2000", ["peter"]),
        ("Patient", "birthdate ne 1974-12-25", ["eve"]),
        ("Patient", "birthdate ap 2014", ["eve"]),
        ("Patient", "birthdate po 1974", ["peter"]),
        ("Patient", "birthdate co 1974-12-25T08:00:00Z", ["peter"]),
        ("Observation", "date co 2013-01-14T10:00:00Z", ["dose", "gram"]),
        ("Observation", "date co 2013-01-14", ["gram"]),
        ("Observation", "date po 2013-01-14", ["dose", "gram"]),
        ("Observation", f"code eq {LOINC}|9999-9", ["mixed"]),
        ("Observation", "code eq loinc|9999-9", ["mixed"]),
        ("Observation", "code ne 1234-5", ["mixed"]),
        ("Observation", "value-quantity gt 5.4|ucum|mg", ["dose", "gram"]),
        ("Observation", "value-quantity eq 6.2||mg", ["dose"]),
        ("Observation", 'subject.name co "et"', ["dose"]),
        ("Observation", "subject re Patient/peter", ["dose"]),
        ("Observation", "subject re http://osler.test/fhir/Patient/peter", ["dose"]),
        ("Observation", "value-string pr true", ["said"]),
        ("Observation", "value-string pr false and value-quantity pr false", ["mixed"]),
        ("Observation", "patient[gender eq male].name co chalm", ["dose"]),
        ("Observation", "patient[gender eq female].name co chalm", []),
        ("Observation", "encounter[status eq in-progress or status eq finished].location.name eq bed", ["dose"]),
        ("Observation", "encounter.location[name eq site].partof pr false", ["gram"]),
        ("Patient", "_has:Observation:patient:code eq 9999-9", ["eve"]),
        ("Patient", "not (gender eq male)", ["eve", "blank"]),
        ("Patient", "gender eq male or gender eq female and active eq true", ["peter"]),
        ("Patient", "gender eq male or (gender eq female and active eq true)", ["peter"]),
        ("Patient", "gender eq female or (gender eq male and active eq true)", ["peter", "eve"]),
        ("Patient", "gender in http://hl7.org/fhir/ValueSet/administrative-gender", ["peter", "eve"]),
        ("Patient", "gender ni http://hl7.org/fhir/ValueSet/administrative-gender", ["blank"]),
        ("Condition", f"clinical-status ss {CLINICAL}|active", ["headache", "liver"]),
        ("Condition", f"clinical-status sb {CLINICAL}|relapse", ["headache", "liver"]),
        ("Group", 'characteristic[code eq "gender"].value eq "mixed"', ["herd"]),
        ("Group", 'characteristic[value eq "mixed"].code eq "owner"', []),
        ("DocumentReference", "relatesTo[code eq appends].target re DocumentReference/first", ["note"]),
        ("Patient", "_id eq peter", ["peter"]),
        ("Patient", "_id ne peter", ["eve", "blank"]),
        ("Patient", "_lastUpdated lt 2000", ["peter", "eve", "blank"]),
    ],
)  # fmt: skip
def test_a_filter_finds_what_the_specification_says(found, type, filter, ids):
    assert found(type, f"_filter={filter}".replace("+", "%2B")) == ids


@pytest.mark.parametrize(
    ("filter", "problem"),
    [
        ("name", "an operator"), ("name xx y", "an operator"), ("name eq", "a value"), ("", "the name"),
        ("(name eq x", "`)`"), ("name eq x)", "the end"), ("not name eq x", "`(` after `not`"),
        ("name eq x and", "the name"), ("name[given eq x] eq y", "`.` and a name"), ("name[given eq x.y", "`]`"),
        ('name eq "x', "a JSON string"), ("organization.name[x eq y].z", "operator"),
        ("(" * 30 + "name eq x" + ")" * 30, "levels"), (" and ".join(["name eq x"] * 300), "comparisons"),
        ("name pr maybe", "true or false"), ("birthdate eq soon", "date"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_with_what_was_expected(found, filter, problem):
    with pytest.raises(FhirError) as refused:
        found("Patient", f"_filter={filter}")
    assert problem in str(refused.value)
    assert refused.value.issues[0].expression == ("_filter",)


@pytest.mark.parametrize(
    ("type", "filter"),
    [
        ("Patient", "gender co m"), ("Patient", "organization eq Organization/1"), ("Patient", "_text co x"),
        ("RiskAssessment", "probability co 1"), ("Group", "characteristic-value eq 1"), ("Location", "near eq 1"),
        ("Group", "characteristic[code gt x].value eq y"), ("Group", "characteristic[code eq x].code eq y"),
        ("Patient", "_lastUpdated co 2020"), ("Patient", "name sb x"),
    ],
)  # fmt: skip
def test_operators_that_a_parameter_cannot_be_compared_by_are_refused(found, type, filter):
    with pytest.raises(NotSupported):
        found(type, f"_filter={filter}")


def test_what_cannot_be_expanded_is_refused_in_the_words_of_the_terminology(found):
    with pytest.raises(UnknownValueSet):
        found("Condition", "code:in=http://nowhere.test/vs")
    with pytest.raises(UnknownCodeSystem):
        found("Condition", "code:below=http://nowhere.test/cs|1")


def test_without_a_terminology_codes_are_not_listed(ask):
    with pytest.raises(NotSupported, match="terminology"):
        ask("Condition", "code:in=http://hl7.org/fhir/ValueSet/condition-clinical")


def test_a_filter_can_stand_at_the_end_of_a_chain(found):
    assert found("Observation", "patient._filter=name co et") == ["dose"]


def test_conditions_in_brackets_are_about_the_same_resource(found):
    # the report has a dose of 6.2 mg and a positive result, but in different observations
    query = "value-quantity eq 6.2||mg].value-string eq positive"
    assert found("DiagnosticReport", f"_filter=result[{query}") == []
    assert found("DiagnosticReport", "result.value-quantity=6.2||mg&result.value-string=positive") == [
        "report"
    ]
