"""What a narrative may hold."""

import pytest

from profiles.narrative import is_empty_narrative, is_narrative, narrative_faults


def div(content):
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{content}</div>'


@pytest.mark.parametrize(
    "text",
    [
        div("a &amp; b &#169; <!-- note -->"),
        div('<p class="x" style="color:red" id="a" title="b" xml:lang="nl" lang="nl">x</p>'),
        div('<table border="1"><tr><td colspan="2" align="left">x<br/></td></tr></table>'),
        div('<a href="https://example.org/a" name="n">x</a><a href="#b">y</a><img src="#photo" alt="x"/>'),
        '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:b>x</h:b></h:div>',
        " \n" + div("x") + "\n",
        div("x" * 100_000),
    ],
)
def test_formatting_is_allowed(text):
    assert narrative_faults(text) == []
    assert is_narrative(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (div("<script>x()</script>"), "<script>"),
        (div('<p onclick="x()">x</p>'), "onclick"),
        (div('<a href="javascript:x()">x</a>'), "script"),
        (div('<a href=" java&#9;Script:x()">x</a>'), "script"),
        (div('<img src="data:text/html,x"/>'), "script"),
        (div("<iframe>x</iframe>"), "<iframe>"),
        (div('<form><input type="text"/></form>'), "<form>"),
        (div('<link rel="stylesheet"/>'), "<link>"),
        (div('<object data="x"/>'), "<object>"),
        (div('<svg xmlns="http://www.w3.org/2000/svg"/>'), "svg"),
        (div("<?php x ?>"), "processing instruction"),
        (div("<p>x"), "well-formed"),
        (div("&nbsp;"), "well-formed"),
        (div("\x00"), "well-formed"),
        ("<div>x</div>", "namespace"),
        ('<p xmlns="http://www.w3.org/1999/xhtml">x</p>', "namespace"),
        ("x", "well-formed"),
        ("", "well-formed"),
        ('<!DOCTYPE div [<!ENTITY x "y">]>' + div("&x;"), "document type"),
        ('<!DOCTYPE div SYSTEM "file:///etc/passwd">' + div("x"), "document type"),
        (div("<div>" * 300 + "</div>" * 300), "well-formed"),
        ("\ud800", "well-formed"),
    ],
)
def test_what_runs_loads_or_is_no_xhtml_is_not(text, fault):
    assert fault in "; ".join(narrative_faults(text))
    assert not is_narrative(text)


@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_what_is_no_text_is_no_narrative(value):
    assert not is_narrative(value)


def test_narrative_that_shows_nothing_is_empty():
    assert is_empty_narrative(div(" <p>\n</p>"))
    assert not is_empty_narrative(div("<img src='#a'/>"))
    assert not is_empty_narrative(div("x"))
