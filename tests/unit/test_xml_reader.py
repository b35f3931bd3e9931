"""FHIR XML to JSON form."""

from __future__ import annotations

import pytest

from fhir_r4.errors import InvalidResource, MalformedXml
from fhir_r4.jsonio import encode
from fhir_r4.xmlio import from_xml

NS = 'xmlns="http://hl7.org/fhir"'
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">'


def patient(content: str) -> dict:
    return from_xml(f"<Patient {NS}>{content}</Patient>".encode())


def narrative(div: str, attributes: str = "") -> str:
    document = f'<Patient {NS}{attributes}><text><status value="generated"/>{div}</text></Patient>'
    return from_xml(document.encode())["text"]["div"]


def problems(content: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as caught:
        patient(content)
    return [(issue.expression[0], issue.diagnostics) for issue in caught.value.issues]


def test_elements_lists_and_types_come_from_the_definitions():
    assert patient(
        '<id value="p"/><active value="true"/><name><family value="F"/><given value="a"/><given value="b"/></name>'
        '<multipleBirthInteger value="2"/>'
    ) == {
        "resourceType": "Patient",
        "id": "p",
        "active": True,
        "name": [{"family": "F", "given": ["a", "b"]}],
        "multipleBirthInteger": 2,
    }


@pytest.mark.parametrize("digits", ["1.10", "1e3", "-0.0", "0", "12345678901234567890123", "1.0E-3", "-0"])
def test_decimals_keep_their_digits(digits):
    document = f'<Observation {NS}><valueQuantity><value value="{digits}"/></valueQuantity></Observation>'
    assert encode(from_xml(document.encode())["valueQuantity"]) == f'{{"value":{digits}}}'.encode()


def test_extensions_of_repeated_primitives_stay_aligned():
    name = patient(
        '<name><given value="a"/><given id="i"/><given value="c"><extension url="u"><valueCode value="v"/></extension></given>'
        '<given value="d"/></name>'
    )["name"][0]
    assert name == {
        "given": ["a", None, "c", "d"],
        "_given": [None, {"id": "i"}, {"extension": [{"url": "u", "valueCode": "v"}]}, None],
    }


def test_a_list_of_primitives_without_any_value_has_only_its_sibling():
    assert patient('<name><given id="i"/></name>')["name"] == [{"_given": [{"id": "i"}]}]


def test_single_primitives_have_their_extensions_beside_them():
    resource = patient(
        '<birthDate id="i"/><gender value="male"><extension url="u"><valueString value=" x "/></extension></gender>'
    )
    assert resource["_birthDate"] == {"id": "i"}
    assert "birthDate" not in resource
    assert resource["gender"] == "male"
    assert resource["_gender"] == {"extension": [{"url": "u", "valueString": " x "}]}


def test_resources_inside_resources():
    bundle = from_xml(
        f'<Bundle {NS}><entry><resource><Patient><contained><Organization><id value="o"/></Organization></contained>'
        "</Patient></resource></entry></Bundle>".encode()
    )
    assert bundle["entry"][0]["resource"] == {
        "resourceType": "Patient",
        "contained": [{"resourceType": "Organization", "id": "o"}],
    }


def test_comments_instructions_and_schema_locations_are_passed_over():
    document = (
        '<?xml version="1.0"?><?style x?><!-- c --><Patient xmlns="http://hl7.org/fhir" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"><!-- <id value="no"/> -->'
        '<id value="p"/></Patient>'
    )
    assert from_xml(document.encode()) == {"resourceType": "Patient", "id": "p"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings(encoding):
    document = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?><Patient {NS}><id value="ü"/></Patient>'
    assert from_xml(document.encode(encoding))["id"] == "ü"


@pytest.mark.parametrize(
    "div",
    [
        f"{DIV}a &#160; b &amp;nbsp; &lt;</div>",
        f"{DIV}<br/><br></br><br  /></div>",
        f"{DIV}<!-- <div> --><![CDATA[<div>&nbsp;]]><?x </div>?></div>",
        "<div class='x' xmlns='http://www.w3.org/1999/xhtml' title=\"a>b\">\r\n\t<div>in</div ></div >",
        '<div xmlns="http://www.w3.org/1999/xhtml" title="a>b" />',
        '<div xmlns="http://www.w3.org/1999/xhtml"><x:y xmlns:x="urn:x" x:z="1"/></div>',
    ],
)
def test_a_narrative_is_the_text_that_was_sent(div):
    assert narrative(div) == div


def test_a_narrative_that_leans_on_outer_prefixes_is_written_anew():
    div = '<h:div xml:lang="de"><h:b title="&lt;&quot;">x &amp; y</h:b><h:br/></h:div>'
    assert narrative(div, ' xmlns:h="http://www.w3.org/1999/xhtml"') == (
        '<div xmlns="http://www.w3.org/1999/xhtml" xml:lang="de"><b title=\'&lt;"\'>x &amp; y</b><br></br></div>'
    )


def test_each_narrative_of_a_document_keeps_its_own_text():
    entries = "".join(
        f"<entry><resource><Patient><text>{div}</text></Patient></resource></entry>"
        for div in (f"{DIV}1</div>", "<h:div>2</h:div>", f"{DIV}3</div>")
    )
    bundle = from_xml(f'<Bundle {NS} xmlns:h="http://www.w3.org/1999/xhtml">{entries}</Bundle>'.encode())
    assert [e["resource"]["text"]["div"] for e in bundle["entry"]] == [f"{DIV}{n}</div>" for n in (1, 2, 3)]


def test_all_problems_are_reported_with_place_and_line():
    found = problems(
        '\n<active value="yes"/>\n<name><family value="A"/><family value="B"/><foo value="1"/></name>\n'
        '<birthDate/>\n<contained/><multipleBirthInteger value="1.0"/>stray'
    )
    assert [place for place, _ in found] == [
        "Patient.active",
        "Patient.name[0].family",
        "Patient.name[0]",
        "Patient.birthDate",
        "Patient.contained[0]",
        "Patient.multipleBirth",
        "Patient",
    ]
    texts = " ".join(text for _, text in found)
    assert "'yes', which is no boolean: true or false was expected (line 2)" in texts
    assert "has the element foo, which R4 does not define (line 3)" in texts
    assert "'stray'" in texts


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('<name use="x"/>', "Patient.name[0]"),
        ('<active value="true" other="x"/>', "Patient.active"),
        ('<x:active xmlns:x="urn:x" value="true"/>', "Patient"),
        ("<text><div>x</div></text>", "Patient.text"),
        ("<contained><Patient/><Patient/></contained>", "Patient.contained[0]"),
        ("<contained><Foo/></contained>", "Patient.contained[0]"),
        ('<deceasedBoolean value="TRUE"/>', "Patient.deceased"),
        ('<multipleBirthInteger value=" 1"/>', "Patient.multipleBirth"),
        ('<birthDate value="2000"/><birthDate id="x"/>', "Patient.birthDate"),
        ('<birthDate id="x"/><birthDate value="2000"/>', "Patient.birthDate"),
        ("<name><given/></name>", "Patient.name[0].given[0]"),
        ('<birthDate value="2000">x</birthDate>', "Patient.birthDate"),
    ],
)
def test_nothing_in_a_document_is_dropped_in_silence(content, place):
    assert problems(content)[0][0] == place


def test_problems_inside_an_unknown_element_are_one_problem():
    assert len(problems("<foo><bar x='1'>text</bar></foo>")) == 1


def test_attributes_of_resources_are_refused():
    with pytest.raises(InvalidResource, match="attribute id"):
        from_xml(f'<Patient {NS} id="x"/>'.encode())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no element found"),
        (b"hello", "syntax error"),
        (f"<Patient {NS}><name></Patient>".encode(), "inside Patient.name"),
        (f'<!DOCTYPE x [<!ENTITY a "b">]><Patient {NS}/>'.encode(), "document type"),
        (b'<!DOCTYPE Patient SYSTEM "file:///etc/passwd"><Patient/>', "document type"),
        (f"<Patient {NS}><text>{DIV}&nbsp;</div></text></Patient>".encode(), "undefined entity"),
        (b"<Patient/>", "http://hl7.org/fhir"),
        (f"<Foo {NS}/>".encode(), "root is Foo"),
        (f'<Patient {NS}><id value="\xff"/></Patient>'.encode("latin-1"), "not well-formed"),
        (b'<?xml version="1.0" encoding="ebcdic"?><a/>', "UTF-8 was expected"),
        (f"<Patient {NS}>".encode() + b'<extension url="a">' * 300, "nested"),
        (f"<Patient {NS}><text>{DIV}".encode() + b"<b>" * 300, "nested"),
    ],
)
def test_what_is_no_fhir_xml_is_malformed(body, said):
    with pytest.raises(MalformedXml, match=said):
        from_xml(body)


def test_xml_may_not_be_deeper_than_its_json():
    deep = '<extension url="a">' * 120 + "</extension>" * 120
    with pytest.raises(MalformedXml, match="nested"):
        patient(deep)


def test_the_number_of_problems_is_bounded():
    with pytest.raises(InvalidResource) as caught:
        patient("<foo/>" * 5000)
    assert len(caught.value.issues) == 100
