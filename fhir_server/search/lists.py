"""`_list`: the resources that a List has in it, by its id or by what it is for.

Source: https://hl7.org/fhir/R4/search.html#list and https://hl7.org/fhir/R4/lifecycle.html#lists. What is current is what a current
List with the code of the function says is current; it is not guessed from the state of the resources. Entries that are
marked as deleted do not count.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_server.search.parameters import LISTED
from fhir_server.search.tree import Expression, Has, IdIs, TokenIn, TokenIs, TypeIs, all_of

_LOINC = "http://loinc.org"
_USES = "http://terminology.hl7.org/CodeSystem/list-example-use-codes"
_ALLERGIES = frozenset(
    {
        (_LOINC, "18716-1"),
        (_LOINC, "52472-8"),
        (_LOINC, "48765-2"),
        (_USES, "allergies"),
        (_USES, "adverserxns"),
    }
)
# function -> the codes that its Lists have
FUNCTIONAL_LISTS: Mapping[str, frozenset[tuple[str, str]]] = {
    "$current-problems": frozenset({(_LOINC, "46105-3"), (_LOINC, "11450-4"), (_USES, "problems")}),
    "$current-medications": frozenset({(_LOINC, "57828-6"), (_LOINC, "10160-0"), (_USES, "medications")}),
    "$current-allergies": _ALLERGIES,
    "$current-drug-allergies": _ALLERGIES,
}


def in_list(text: str) -> Expression:
    """In the List with this id (`42` or `List/42`), or in one for a function. Raises ValueError."""
    if not text.startswith("$"):
        id = text.removeprefix("List/")
        if id == "" or "/" in id:
            raise ValueError(f"expected the id of a List or one of {', '.join(FUNCTIONAL_LISTS)}")
        return Has("List", LISTED, IdIs((id,)))
    codes = FUNCTIONAL_LISTS.get(text)
    if codes is None:
        raise ValueError(f"expected one of {', '.join(FUNCTIONAL_LISTS)}")
    listed = Has("List", LISTED, all_of((TokenIs("status", None, "current"), TokenIn("code", codes))))
    if text != "$current-drug-allergies":
        return listed
    return all_of((listed, TypeIs(("AllergyIntolerance",)), TokenIs("category", None, "medication")))
