"""What is gathered and not written yet matters to a question when it may change the answer."""

from __future__ import annotations

import pytest

from fhir_server.search.entries import Entries
from fhir_server.search.tree import Expression, Not, Or, RefersTo, TokenIs
from fhir_server.store.gathered import Gathered

PATIENT, OBSERVATION = 1, 2
HERE, OTHER = TokenIs("identifier", "urn:a", "1"), TokenIs("identifier", "urn:a", "2")


def gathered(*, new: bool = True) -> Gathered:
    found = Gathered()
    found.add(PATIENT, Entries(tokens=[("identifier", "urn:a", "1")]), new=new)
    return found


def test_a_new_resource_matters_to_a_question_for_its_own_token_alone() -> None:
    assert gathered().matters(PATIENT, HERE)
    assert gathered().matters(PATIENT, Or((OTHER, HERE)))
    assert not gathered().matters(PATIENT, OTHER)
    assert not gathered().matters(PATIENT, TokenIs("active", "urn:a", "1"))
    assert not gathered().matters(OBSERVATION, HERE)


@pytest.mark.parametrize(
    "where",
    [
        Not(OTHER),
        TokenIs("identifier", None, "2"),
        TokenIs("identifier", "urn:a", None),
        RefersTo("subject", "Patient", "x"),
        Or((OTHER, Not(OTHER))),
    ],
)
def test_what_is_no_question_for_a_token_always_matters(where: Expression) -> None:
    assert gathered().matters(PATIENT, where)


def test_a_changed_resource_matters_to_every_question_about_its_type() -> None:
    assert gathered(new=False).matters(PATIENT, OTHER)
    assert not gathered(new=False).matters(OBSERVATION, OTHER)
