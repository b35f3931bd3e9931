"""The words of resources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.fulltext import full_texts, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Headache, at last!", ["headache", "at", "last"]),
        ("Ängström-Units (5.4 mg/dL)", ["angstrom", "units", "5", "4", "mg", "dl"]),
        ("snake_case", ["snake", "case"]),
        ("東京 Straße", ["東京", "strasse"]),
        (" \n\t ", []),
    ],
)
def test_words_are_runs_of_letters_and_digits_in_normal_form(text, found):
    assert words(text) == found


@given(st.text())
def test_words_are_free_of_anything_that_could_divide_them(text):
    found = words(text)
    assert words(" ".join(found)) == found
    assert all(word.isalnum() for word in found)
    assert not any(character.isascii() and character.isupper() for word in found for character in word)


def test_the_narrative_is_read_without_its_markup():
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><p class="a">One&nbsp;&lt; two<br/>three</p><!-- hidden --> 4</div>'
    resource = {"resourceType": "Condition", "text": {"status": "generated", "div": div}}
    assert full_texts(resource)[0] == "one two three 4"


def test_the_content_is_the_narrative_and_every_string_but_what_is_no_text():
    resource = {
        "resourceType": "DocumentReference",
        "id": "d1",
        "meta": {"versionId": "7", "lastUpdated": "2026-01-01T00:00:00.000Z", "tag": [{"code": "vip"}]},
        "text": {"status": "generated", "div": "<div>Told</div>"},
        "contained": [{"resourceType": "Patient", "name": [{"family": "Inside", "_family": None}]}],
        "content": [{"attachment": {"data": "aGVsbG8=", "title": "A title"}}],
        "docStatus": None,
        "size": 5,
    }
    narrative, content = full_texts(resource)
    assert narrative == "told"
    assert content == "told d1 vip generated inside a title"


def test_a_resource_without_texts_has_no_words():
    assert full_texts({"resourceType": "Patient"}) == ("", "")
