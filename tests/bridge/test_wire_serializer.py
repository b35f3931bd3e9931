"""Messages that are built: what is put in is read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7_bridge.message import Delimiters, parse
from hl7_bridge.serializer import Route, Segment, build, header, segment, timestamp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = header(Route("OSLER", ("HOSPITAL", "1.2.3", "ISO"), "LIS", "LAB"), ("ADT", "A01", "ADT_A01"), "7", NOW)
TEXT = st.text(
    st.one_of(st.sampled_from('|^~\\&#"$\r\n\t\x0b\x1c äß漢🙂XFE'), st.characters(codec="utf-8")), max_size=20
)


def written(*segments: Segment, delimiters: Delimiters | None = None) -> str:
    return build([MSH, *segments], delimiters).decode()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=3
    ),
    st.sampled_from([Delimiters(), Delimiters("$", "%", "*", "!", "@"), Delimiters(truncation="#")]),
)
def test_what_is_put_in_is_read_again(repetitions, delimiters):
    field = [tuple(tuple(parts) for parts in components) for components in repetitions]
    message = parse(build([MSH, segment("ZZZ", None, field, "after")], delimiters))
    found = message.segments[1]
    assert len(message.segments) == 2
    assert found.text(3) == "after"
    for r, components in enumerate(repetitions, 1):
        for c, parts in enumerate(components, 1):
            for s, text in enumerate(parts, 1):
                assert found.text(2, c, s, r) == text


def test_empty_ends_are_left_away_and_empty_places_are_kept():
    line = written(segment("PID", None, "", ("a", "", None), [("b", ("c", "")), "d", None], "", None))
    assert line.splitlines()[1] == "PID|||a|b^c~d"


def test_null_is_told():
    assert written(segment("PID", '""', ("a", '""'))).splitlines()[1] == 'PID|""|a^""'


def test_the_header_names_its_delimiters():
    assert written().startswith(
        "MSH|^~\\&|OSLER|HOSPITAL^1.2.3^ISO|LIS|LAB|20260102030405+0000||ADT^A01^ADT_A01|7|P|2.5.1|"
    )
    assert written(delimiters=Delimiters("$", "%", "*", "!", "@")).startswith(
        "MSH$%*!@$OSLER$HOSPITAL%1.2.3%ISO$"
    )


def test_a_time_has_its_offset_when_it_has_one():
    assert (
        timestamp(datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))))
        == "20260102000000-0330"
    )
    assert timestamp(datetime(2026, 1, 2)) == "20260102000000"


def test_a_message_is_valid_at_the_strict_level():
    raw = written(
        segment("EVN", None, timestamp(NOW)),
        segment("PID", None, None, ("1", None, None, "MRN"), None, ("Muster & Söhne", "Max|imilian")),
        segment("PV1", None, "I"),
    )
    assert parse_message(raw, validation_level=VALIDATION_LEVEL.STRICT).validate()


def test_a_character_that_the_charset_lacks_is_refused():
    with pytest.raises(UnicodeEncodeError):
        build([MSH, segment("NTE", "漢")], charset="iso-8859-1")
