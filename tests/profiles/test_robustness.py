"""Whatever comes: the check answers with issues, never with an exception, and its two ways agree."""

import copy
from itertools import islice, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_r4 import definitions
from profiles.compiled import Structure
from profiles.objects import MAX_PLANS
from profiles.structure import StructuralValidator
from tests.profiles.samples import RICH_PATIENT, full

VALIDATOR = StructuralValidator()
RESOURCE = Structure().resource

NAMES = sorted(
    {
        n
        for t in ("Patient", "HumanName", "Identifier", "Reference", "Meta", "Narrative")
        for n in definitions.shape(t).properties
    }
    | {"resourceType", "_birthDate", "_given", "nope", "", "valueString", "url", "reference"}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        ["Patient", "Bundle", "#x", "Patient/1", "2020", "male", *definitions.resource_types()[:20]]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
TYPES = st.sampled_from(definitions.resource_types())


def accepts(value):
    try:
        return bool(RESOURCE.accepts(value))
    except (TypeError, KeyError, AttributeError):
        return False


def places(value):
    """Every place in `value` as (container, key)."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found.extend(places(value[key]))
    return found


@given(JSON)
@settings(max_examples=80, deadline=None)
def test_any_json_is_answered(value):
    issues = VALIDATOR.check(value)
    assert issues is None or all(i.severity == "error" and i.diagnostics for i in issues)
    assert all(
        i.severity in ("error", "warning") for i in VALIDATOR.validate(value, ["http://example.org/p"])
    )


@given(TYPES, st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5))
@settings(max_examples=80, deadline=None)
def test_the_fast_and_the_exact_way_agree_on_any_members(name, members):
    resource = {"resourceType": name, **members}
    assert accepts(resource) == (not list(RESOURCE.problems(resource, "")))


@given(st.data(), JSON)
@settings(max_examples=80, deadline=None)
def test_the_fast_and_the_exact_way_agree_on_a_changed_resource(data, value):
    made = data.draw(
        st.sampled_from(
            [RICH_PATIENT, *(full(definitions.shape(n)) for n in ("Observation", "Bundle", "Task"))]
        )
    )
    resource = copy.deepcopy(made)
    container, key = data.draw(st.sampled_from(places(resource)))
    container[key] = value
    assert accepts(resource) == (not list(RESOURCE.problems(resource, "")))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_an_unknown_member_is_told_wherever_it_stands(data):
    resource = copy.deepcopy(full(definitions.shape(data.draw(TYPES))))
    objects = [resource, *(c[k] for c, k in places(resource) if isinstance(c[k], dict))]
    data.draw(st.sampled_from(objects))["nope"] = "x"
    assert any(i.expression[0].endswith(".nope") for i in VALIDATOR.check(resource))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_null_and_emptiness_are_told_wherever_they_stand(data):
    resource = copy.deepcopy(full(definitions.shape(data.draw(TYPES))))
    container, key = data.draw(st.sampled_from(places(resource)))
    container[key] = data.draw(st.sampled_from([None, "", [], {}]))
    assert VALIDATOR.check(resource)


@given(TYPES)
@settings(max_examples=50, deadline=None)
def test_a_resource_is_not_changed(name):
    resource = full(definitions.shape(name))
    before = copy.deepcopy(resource)
    VALIDATOR.check(resource)
    VALIDATOR.check({**resource, "nope": 1})
    VALIDATOR.validate(resource)
    assert resource == before


@given(st.data(), TYPES)
@settings(max_examples=50, deadline=None)
def test_the_order_of_members_does_not_matter(data, name):
    resource = full(definitions.shape(name))
    shuffled = {n: resource[n] for n in data.draw(st.permutations(list(resource)))}
    assert VALIDATOR.check(shuffled) is None


def test_very_deep_nesting_is_refused_and_does_not_raise():
    extension = {"url": "a", "valueString": "x"}
    for _ in range(5000):
        extension = {"url": "http://example.org/a", "extension": [extension]}
    assert VALIDATOR.check({"resourceType": "Patient", "extension": [extension]})


def test_nesting_of_200_levels_is_checked():
    extension = {"url": "a", "valueString": "x"}
    for _ in range(98):
        extension = {"url": "http://example.org/a", "extension": [extension]}
    assert VALIDATOR.check({"resourceType": "Patient", "extension": [extension]}) is None
    wrong = {"resourceType": "Patient", "birthDate": "x", "extension": [extension]}
    assert [i.expression for i in VALIDATOR.check(wrong)] == [("Patient.birthDate",)]


def test_more_sequences_of_names_than_are_remembered_are_still_judged():
    node = Structure().of_type("Observation")
    made = full(definitions.shape("Observation"))
    for names in islice(permutations(list(made)[:8]), 2 * MAX_PLANS):
        shuffled = {n: made[n] for n in (*names, "code")} | {"status": "final"}
        assert node.accepts(shuffled)
        assert not node.accepts({n: v for n, v in shuffled.items() if n != "code"})
