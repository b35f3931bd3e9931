"""What the structural check finds: one line a rule, with the places and codes that it reports."""

from decimal import Decimal

import pytest

from profiles.structure import MAX_ISSUES, StructuralValidator
from tests.profiles.samples import RICH_PATIENT, observation, patient

VALIDATOR = StructuralValidator()
EXTENSION = {"url": "http://example.org/e", "valueString": "x"}


def found(resource):
    return [(i.expression[0], i.code) for i in VALIDATOR.check(resource) or []]


GOOD = {
    "nothing but the type": patient(),
    "much of it": RICH_PATIENT,
    "a whole number for a decimal": observation(valueQuantity={"value": 1}),
    "exponents": observation(valueQuantity={"value": Decimal("1e3")}),
    "a primitive with nothing but an extension": patient(_birthDate={"extension": [EXTENSION]}),
    "a required primitive with nothing but an extension": {
        "resourceType": "Observation",
        "_status": {"extension": [EXTENSION]},
        "code": {"text": "x"},
    },
    "a choice with nothing but an extension": observation(_valueString={"extension": [EXTENSION]}),
    "a choice with value and extension": observation(valueString="x", _valueString={"id": "a"}),
    "aligned extensions": patient(name=[{"given": ["A", None], "_given": [None, {"extension": [EXTENSION]}]}]),
    "a list with nothing but extensions": patient(name=[{"_given": [{"extension": [EXTENSION]}]}]),
    "an extension with extensions": patient(
        extension=[{"url": "http://example.org/e", "extension": [{"url": "inner", "valueBoolean": True}]}]
    ),
    "a versioned reference": observation(subject={"reference": "Patient/1/_history/2"}),
    "an absolute reference": observation(subject={"reference": "https://other.org/fhir/Patient/1"}),
    "a reference that does not say its type": observation(subject={"reference": "https://other.org/people/1"}),
    "a urn:uuid reference": observation(subject={"reference": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}),
    "a logical reference": observation(subject={"identifier": {"value": "1"}, "type": "Patient"}),
    "a reference to a contained resource": observation(
        contained=[{"resourceType": "Patient", "id": "p"}], subject={"reference": "#p"}
    ),
    "a reference to the container": observation(
        contained=[{"resourceType": "Provenance",
            "id": "p", "recorded": "2020-01-01T00:00:00Z", "agent": [{"who": {"reference": "#q"}}],
            "target": [{"reference": "#"}]}, {"resourceType": "Patient", "id": "q"}],
    ),
    "a conditional reference in a transaction": {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "resource": observation(subject={"reference": "Patient?identifier=a|1"}),
                "request": {"method": "POST", "url": "Observation"},
            }
        ],
    },
    "an outcome in a response": {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [
            {
                "response": {
                    "status": "200",
                    "outcome": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "value"}]},
                }
            }
        ],
    },
    "a bound concept": {
        "resourceType": "AllergyIntolerance",
        "patient": {"reference": "Patient/1"},
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("resource", GOOD.values(), ids=GOOD)
def test_accepted(resource):
    assert VALIDATOR.check(resource) is None


BAD = {
    "an unknown member": (patient(nope=1), [("Patient.nope", "structure")]),
    "an unknown member below": (patient(name=[{"famly": "x"}]), [("Patient.name[0].famly", "structure")]),
    "a choice without its type": (observation(value=1), [("Observation.value", "structure")]),
    "an extension of what is no primitive": (patient(_name=[{}]), [("Patient._name", "structure")]),
    "an extension of the id": (patient(id="a", _id={"extension": [EXTENSION]}), [("Patient._id", "structure")]),
    "missing elements": (
        {"resourceType": "Observation"},
        [("Observation.status", "required"), ("Observation.code", "required")],
    ),
    "a missing element below": (patient(link=[{"type": "seealso"}]), [("Patient.link[0].other", "required")]),
    "a missing choice": (
        {"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/1"}},
        [("MedicationRequest.medication", "required")],
    ),
    "two of a choice": (observation(valueString="a", valueInteger=1), [("Observation.value", "structure")]),
    "two of a choice, one an extension": (
        observation(valueString="a", _valueInteger={"extension": [EXTENSION]}),
        [("Observation.value", "structure")],
    ),
    "no array": (patient(name={"family": "x"}), [("Patient.name", "structure")]),
    "an array for one": (patient(birthDate=["2020"]), [("Patient.birthDate", "structure")]),
    "an array for one object": (observation(code=[{"text": "x"}]), [("Observation.code", "structure")]),
    "an empty array": (patient(name=[]), [("Patient.name", "structure")]),
    "an empty object": (patient(name=[{}]), [("Patient.name[0]", "structure")]),
    "an object with an id alone": (patient(name=[{"id": "a"}]), [("Patient.name[0]", "structure")]),
    "an empty string": (patient(name=[{"family": ""}]), [("Patient.name[0].family", "value")]),
    "a blank string": (patient(name=[{"family": " \n"}]), [("Patient.name[0].family", "value")]),
    "a control character": (patient(name=[{"family": "a\x00"}]), [("Patient.name[0].family", "value")]),
    "a string of more than 1 MB": (patient(name=[{"family": "a" * (2**20 + 1)}]), [("Patient.name[0].family", "value")]),
    "null": (patient(birthDate=None), [("Patient.birthDate", "structure")]),
    "null in an array": (patient(name=[None]), [("Patient.name[0]", "structure")]),
    "null in an array of primitives": (
        patient(name=[{"given": ["a", None]}]),
        [("Patient.name[0].given[1]", "structure")],
    ),
    "null on both sides": (
        patient(name=[{"given": ["a", None], "_given": [{"id": "x"}, None]}]),
        [("Patient.name[0].given[1]", "structure")],
    ),
    "arrays of unequal length": (
        patient(name=[{"given": ["a", "b"], "_given": [{"id": "x"}]}]),
        [("Patient.name[0].given", "structure")],
    ),
    "a wrong primitive extension": (
        patient(name=[{"given": ["a", None], "_given": [None, {"extension": [{"url": "http://a.b", "valueCode": " "}]}]}]),
        [("Patient.name[0].given[1].extension[0].value", "value")],
    ),
    "a string for a boolean": (patient(active="true"), [("Patient.active", "structure")]),
    "a number for a boolean": (patient(active=1), [("Patient.active", "structure")]),
    "a string for a number": (observation(valueQuantity={"value": "1"}), [("Observation.value.value", "structure")]),
    "a boolean for a number": (observation(valueInteger=True), [("Observation.value", "structure")]),
    "a fraction for an integer": (observation(valueInteger=Decimal("1.0")), [("Observation.value", "value")]),
    "an integer out of range": (observation(valueInteger=2**31), [("Observation.value", "value")]),
    "a day that does not exist": (patient(birthDate="2021-02-30"), [("Patient.birthDate", "value")]),
    "an instant without zone": (observation(issued="2021-02-03T10:00:00"), [("Observation.issued", "value")]),
    "an id with a blank": (patient(id="a b"), [("Patient.id", "value")]),
    "an id of 65 characters": (patient(id="a" * 65), [("Patient.id", "value")]),
    "a uri with a blank": (patient(identifier=[{"system": "a b"}]), [("Patient.identifier[0].system", "value")]),
    "a code that is not in the set": (patient(gender="femle"), [("Patient.gender", "code-invalid")]),
    "a code that is no string": (patient(gender=[]), [("Patient.gender", "structure")]),
    "a concept that is not in the set": (
        {
            "resourceType": "AllergyIntolerance",
            "patient": {"reference": "Patient/1"},
            "clinicalStatus": {"coding": [{"system": "http://other.org", "code": "active"}]},
        },
        [("AllergyIntolerance.clinicalStatus", "code-invalid")],
    ),
    "an extension without url": (patient(extension=[{"valueString": "x"}]), [("Patient.extension[0].url", "required")]),
    "an extension without anything": (
        patient(extension=[{"url": "http://example.org/e"}]),
        [("Patient.extension[0]", "extension")],
    ),
    "an extension with both": (
        patient(extension=[{**EXTENSION, "extension": [EXTENSION]}]),
        [("Patient.extension[0]", "extension")],
    ),
    "an extension with a relative url": (
        patient(extension=[{"url": "e", "valueString": "x"}]),
        [("Patient.extension[0].url", "value")],
    ),
    "a reference to a wrong type": (
        patient(generalPractitioner=[{"reference": "Patient/1"}]),
        [("Patient.generalPractitioner[0].reference", "value")],
    ),
    "an absolute reference to a wrong type": (
        patient(managingOrganization={"reference": "https://other.org/fhir/Location/1/_history/2"}),
        [("Patient.managingOrganization.reference", "value")],
    ),
    "a wrong Reference.type": (
        patient(managingOrganization={"identifier": {"value": "1"}, "type": "Location"}),
        [("Patient.managingOrganization.type", "value")],
    ),
    "a Reference.type that differs": (
        observation(subject={"reference": "Patient/1", "type": "Group"}),
        [("Observation.subject.type", "value")],
    ),
    "a Reference.type that does not exist": (
        observation(subject={"reference": "Patient/1", "type": "Person1"}),
        [("Observation.subject.type", "value")],
    ),
    "a malformed reference": (observation(subject={"reference": "Patient"}), [("Observation.subject.reference", "value")]),
    "a reference with a bad uuid": (
        observation(subject={"reference": "urn:uuid:1"}),
        [("Observation.subject.reference", "value")],
    ),
    "a conditional reference outside of a transaction": (
        observation(subject={"reference": "Patient?identifier=1"}),
        [("Observation.subject.reference", "value")],
    ),
    "a fragment without contained resources": (
        observation(subject={"reference": "#p"}),
        [("Observation.subject.reference", "not-found")],
    ),
    "a fragment that is not contained": (
        observation(contained=[{"resourceType": "Patient", "id": "p"}], extension=[
            {"url": "http://example.org/e", "valueReference": {"reference": "#q"}}]),
        [("Observation.extension[0].value.reference", "not-found")],
    ),
    "a contained resource that is wrong": (
        patient(contained=[{"resourceType": "Organization", "id": "o", "nope": 1}]),
        [("Patient.contained[0].nope", "structure")],
    ),
    "a contained resource in a contained one": (
        patient(contained=[{"resourceType": "Patient", "id": "o", "contained": [patient(id="q")]}]),
        [("Patient.contained[0].contained", "invariant")],
    ),
    "a contained resource with a version": (
        patient(contained=[{"resourceType": "Patient", "id": "o", "meta": {"versionId": "1"}}]),
        [("Patient.contained[0].meta.versionId", "invariant")],
    ),
    "two contained resources with one id": (
        patient(contained=[patient(id="o"), patient(id="o")]),
        [("Patient.contained[1].id", "duplicate")],
    ),
    "no resource type": ({"id": "a"}, [("Resource.resourceType", "required")]),
    "an unknown resource type": ({"resourceType": "Patien"}, [("Resource.resourceType", "structure")]),
    "an abstract resource type": ({"resourceType": "DomainResource"}, [("Resource.resourceType", "structure")]),
    "an unknown type below": (
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "X"}}]},
        [("Bundle.entry[0].resource.resourceType", "structure")],
    ),
    "a wrong resource in a Bundle": (
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient(birthDate="x")}]},
        [("Bundle.entry[0].resource.birthDate", "value")],
    ),
    "a wrong resource in Parameters": (
        {"resourceType": "Parameters", "parameter": [{"name": "a", "resource": patient(birthDate="x")}]},
        [("Parameters.parameter[0].resource.birthDate", "value")],
    ),
    "a narrative in what is no DomainResource": (
        {"resourceType": "Binary", "contentType": "text/plain", "text": {"status": "empty", "div": "<div/>"}},
        [("Binary.text", "structure")],
    ),
    "base64 that is none": (
        {"resourceType": "Binary", "contentType": "text/plain", "data": "%%%"},
        [("Binary.data", "value")],
    ),
    "a narrative that runs": (
        patient(text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>'}),
        [("Patient.text.div", "invalid")],
    ),
    "everything at once": (
        patient(id=" ", name=[{"family": 1, "given": "x"}], nope=1, gender="x"),
        [
            ("Patient.nope", "structure"),
            ("Patient.id", "value"),
            ("Patient.name[0].family", "structure"),
            ("Patient.name[0].given", "structure"),
            ("Patient.gender", "code-invalid"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("resource", "expected"), BAD.values(), ids=BAD)
def test_refused(resource, expected):
    assert found(resource) == expected


@pytest.mark.parametrize("value", [None, 1, "Patient", [], [patient()], True, {}])
def test_what_is_no_resource_is_refused(value):
    assert [i.severity for i in VALIDATOR.check(value)] == ["error"]


def test_message_says_what_was_found_and_expected():
    [issue] = VALIDATOR.check(patient(birthDate="2021-02-30"))
    assert issue.diagnostics == (
        "'2021-02-30' is not a valid date: expected a day of the calendar written YYYY, YYYY-MM or YYYY-MM-DD."
    )


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (patient(birthdate="2020"), "Did you mean birthDate?"),
        (observation(valueQuanity={}), "Did you mean valueQuantity?"),
        ({"resourceType": "patient"}, "Did you mean Patient?"),
        (patient(gender="Female"), "Allowed: female, male, other, unknown."),
        (
            patient(generalPractitioner=[{"reference": "Patient/1"}]),
            "Allowed: Organization, Practitioner, PractitionerRole.",
        ),
        (observation(value="x"), "valueQuantity, valueCodeableConcept"),
    ],
)
def test_message_helps(resource, said):
    assert said in VALIDATOR.check(resource)[0].diagnostics


def test_number_of_issues_is_bounded_and_the_rest_is_told():
    issues = VALIDATOR.check(patient(name=[{"nope": 1}] * (MAX_ISSUES + 50)))
    assert len(issues) == MAX_ISSUES + 1
    assert issues[-1].severity == "information"
    assert "only the first 200" in issues[-1].diagnostics


def test_the_same_answer_whatever_was_checked_before():
    """Remembered plans must not make a later resource pass."""
    validator = StructuralValidator()
    good = patient(name=[{"given": ["a", None], "_given": [None, {"id": "x"}]}])
    bad = patient(name=[{"given": ["a", None]}])
    assert [validator.check(r) is None for r in (good, bad, good, bad)] == [True, False, True, False]


def test_an_extension_beside_a_reference_does_not_loosen_later_ones():
    validator = StructuralValidator()
    beside = observation(subject={"reference": "Patient/1", "_reference": {"id": "x"}})
    assert validator.check(beside) is None
    assert validator.check({**beside, "subject": {"reference": "Patient", "_reference": {"id": "x"}}})
    assert validator.check(observation(subject={"reference": "Patient"}))
