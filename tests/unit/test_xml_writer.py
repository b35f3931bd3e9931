"""JSON form to FHIR XML, and back again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from fhir_r4 import definitions, jsonio
from fhir_r4.errors import NotAcceptable
from fhir_r4.xmlio import from_xml, to_xml

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">'


def body(resource: dict) -> str:
    text = to_xml(resource).decode()
    prefix = '<?xml version="1.0" encoding="UTF-8"?><Patient xmlns="http://hl7.org/fhir">'
    assert text.startswith(prefix)
    return text.removeprefix(prefix).removesuffix("</Patient>")


def test_elements_stand_in_the_order_of_the_definitions():
    resource = {
        "birthDate": "2000",
        "name": [{"given": ["a"], "use": "usual"}],
        "id": "p",
        "resourceType": "Patient",
    }
    assert body(resource) == (
        '<id value="p"/><name><use value="usual"/><given value="a"/></name><birthDate value="2000"/>'
    )


def test_ids_and_urls_are_attributes_and_extensions_children():
    resource = {
        "resourceType": "Patient",
        "_birthDate": {
            "id": "i",
            "extension": [{"id": "e", "url": "u", "valueDecimal": jsonio.parse_number("1e3")}],
        },
    }
    assert body(resource) == (
        '<birthDate id="i"><extension id="e" url="u"><valueDecimal value="1e3"/></extension></birthDate>'
    )


def test_special_characters_survive():
    text = '<a href="x">&amp; \t\n\r \' ü 😀</a> '
    resource = {"resourceType": "Patient", "name": [{"text": text}]}
    assert from_xml(to_xml(resource)) == resource


def test_pretty_xml_indents_all_but_the_narrative():
    resource = {
        "resourceType": "Patient",
        "text": {"status": "empty", "div": f"{DIV}<p>a</p></div>"},
        "active": True,
    }
    assert to_xml(resource, pretty=True).decode().splitlines() == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<Patient xmlns="http://hl7.org/fhir">',
        "  <text>",
        '    <status value="empty"/>',
        f"    {DIV}<p>a</p></div>",
        "  </text>",
        '  <active value="true"/>',
        "</Patient>",
    ]


@pytest.mark.parametrize(
    "div",
    [
        f"{DIV}&nbsp;&copy;&#160;&amp;&lt;</div>",
        f"{DIV}<!-- &nbsp; --><![CDATA[&nbsp;]]><a title='&eacute;'/></div>",
        f"{DIV}\r\n<br></br><br/>\t</div>",
        "<div xmlns='http://www.w3.org/1999/xhtml' class=\"a\"/>",
    ],
)
def test_narratives_come_back_byte_for_byte(div):
    resource = {"resourceType": "Patient", "text": {"status": "generated", "div": div}}
    written = to_xml(resource)
    assert from_xml(written) == resource
    assert from_xml(to_xml(resource, pretty=True)) == resource
    etree.fromstring(written)


def test_named_characters_mean_the_same_to_every_reader():
    written = to_xml({"resourceType": "Patient", "text": {"div": f"{DIV}&nbsp;&copy;</div>"}})
    assert "".join(etree.fromstring(written).itertext()) == "\u00a0©"


def test_a_div_without_namespace_gets_one():
    written = to_xml({"resourceType": "Patient", "text": {"div": "<div class='a'><div>x</div></div>"}})
    assert from_xml(written)["text"]["div"] == f"{DIV[:-1]} class='a'><div>x</div></div>"


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"foo": 1}, "Patient"),
        ({"_name": [{}]}, "Patient"),
        ({"name": {}}, "Patient.name"),
        ({"name": [{}, "x"]}, "Patient.name[1]"),
        ({"name": [{"given": ["a", "\x00"]}]}, "Patient.name[0].given[1]"),
        ({"name": [{"given": ["\ud800"]}]}, "Patient.name[0].given[0]"),
        ({"birthDate": {"a": 1}}, "Patient.birthDate"),
        ({"text": {"div": f"{DIV}<p></div>"}}, "Patient.text.div"),
        ({"text": {"div": f"{DIV}&foo;</div>"}}, "Patient.text.div"),
        ({"text": {"div": "<p xmlns='http://www.w3.org/1999/xhtml'/>"}}, "Patient.text.div"),
        ({"text": {"div": f"{DIV}</div></text>"}}, "Patient.text.div"),
        ({"text": {"div": f"{DIV}</div><!-- x -->"}}, "Patient.text.div"),
        ({"text": {"div": "text"}}, "Patient.text.div"),
        ({"contained": [{"resourceType": "Foo"}]}, "Patient.contained[0]"),
        ({"contained": [{"resourceType": "Patient", "x": 1}]}, "Patient.contained[0]"),
    ],
)
def test_what_xml_cannot_hold_is_refused_by_its_place(members, place):
    with pytest.raises(NotAcceptable) as caught:
        to_xml({"resourceType": "Patient", **members})
    assert caught.value.issues[0].expression == (place,)


TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufffe\uffff").filter(
        lambda c: ord(c) >= 32 or c in "\t\n\r"
    ),
    min_size=1,
    max_size=12,
)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


def _value(type_name: str):
    if type_name == "boolean":
        return st.booleans()
    if type_name in ("integer", "positiveInt", "unsignedInt"):
        return st.integers(-(2**31), 2**31)
    if type_name == "decimal":
        return NUMBERS.map(lambda text: jsonio.decode(text.encode()))
    if type_name == "xhtml":
        return TEXT.map(
            lambda t: f"{DIV}{t.replace('&', '&amp;').replace('<', '&lt;').replace(']]>', '')}</div>".replace(
                "\r", " "
            )
        )
    return TEXT


@st.composite
def elements(draw, path: str, depth: int = 0):
    """An object of a shape with some of its members, as valid JSON would have them."""
    shape = definitions.shape(path)
    made = {"resourceType": path} if shape.kind == "resource" else {}
    members = [p for p in shape.properties.values() if depth < 3 or (p.primitive and p.type != "xhtml")]
    for prop in draw(st.lists(st.sampled_from(members), max_size=4, unique_by=lambda p: p.element.path)):
        attribute = (prop.name == "id" and shape.kind != "resource") or (
            prop.name == "url" and path == "Extension"
        )
        if prop.primitive and prop.element.list:
            values = draw(st.lists(_value(prop.type), min_size=1, max_size=3))
            made[prop.name] = values
            if draw(st.booleans()):
                made["_" + prop.name] = [None] * (len(values) - 1) + [{"id": "x"}]
                values[-1] = draw(st.sampled_from([values[-1], None])) if len(values) > 1 else values[-1]
        elif prop.primitive:
            made[prop.name] = draw(_value(prop.type))
            if prop.type != "xhtml" and not attribute and draw(st.booleans()):
                made["_" + prop.name] = {"extension": [{"url": "u", "valueString": "v"}]}
        else:
            inner = "Organization" if prop.shape == "Resource" else prop.shape
            made[prop.name] = (
                draw(st.lists(elements(inner, depth + 1), min_size=1, max_size=2))
                if prop.element.list
                else draw(elements(inner, depth + 1))
            )
    return made


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["Patient", "Observation", "Bundle", "Parameters"]).flatmap(elements))
def test_every_resource_comes_back_as_it_was(resource):
    for pretty in (False, True):
        again = from_xml(to_xml(resource, pretty))
        assert again == resource
        assert sorted(jsonio.encode(again)) == sorted(jsonio.encode(resource))


def test_whole_numbers_read_as_json_reads_them():
    resource = jsonio.decode(b'{"resourceType":"Observation","valueQuantity":{"value":5}}')
    again = from_xml(to_xml(resource))
    assert type(again["valueQuantity"]["value"]) is int
    assert isinstance(
        from_xml(to_xml({**resource, "valueQuantity": {"value": Decimal("5.0")}}))["valueQuantity"]["value"],
        Decimal,
    )
