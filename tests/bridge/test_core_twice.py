"""Telling everything twice leads to what telling it once led to, whatever is told and in whatever order it comes again."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bridge.mllp import adt
from tests.conformance.bridge_corpus import corpus, read_all, tell, units_of


def result(specimen: int, status: str, value: int, minute: int) -> bytes:
    """A result of one of some specimens of one of some patients."""
    when = f"202601050900{minute:02}+0000"
    return (
        f"MSH|^~\\&|LAB|HOUSE|OSLER|HOUSE|{when}||ORU^R01^ORU_R01|7|P|2.5.1\rPID|1||P{specimen % 2}^^^HOUSE^MR||Doe^Jane\r"
        f"OBR|1||F{specimen}|2345-7^Glucose^LN|||{when}|||||||||||||||{when}|||{status}\r"
        f"OBX|1|NM|2345-7^Glucose^LN||{value}|mmol/L|||||{status}|||{when}\r"
    ).encode()


MESSAGES = st.one_of(
    st.builds(result, st.integers(0, 2), st.sampled_from("PFCXD"), st.integers(1, 9), st.integers(0, 5)),
    st.builds(
        adt,
        st.integers(1, 40),
        st.sampled_from(["P0", "P1", ""]),
        st.sampled_from(["Doe", "Roe"]),
        st.sampled_from(["A01", "A03", "A04", "A08", "A28", "Z99"]),
    ),
    st.binary(min_size=1, max_size=30),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=12), st.randoms(use_true_random=False))
async def test_what_is_told_twice_is_written_once(raws: list[bytes], dice: random.Random) -> None:
    doubled = raws + dice.sample(raws, len(raws))
    found = await tell(doubled)
    assert found.written_again == 0
    assert found.unbalanced == 0
    assert sum(found.states.values()) == len(set(raws))
    assert found.invented == 0


async def test_a_message_that_is_mapped_anew_changes_nothing() -> None:
    raws = [result(n, "F", n + 1, n) for n in range(3)] + [result(0, "C", 9, 5), adt(1, "P0")]
    found = await tell(raws)
    assert found.states == {"mapped": 5}
    assert found.mapped_again > 0
    assert found.changed_again == {}
    assert found.known > 5


def test_a_folder_of_messages_is_read(tmp_path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.hl7").write_bytes(result(n, "F", 5, n))
    (tmp_path / "none.hl7").write_bytes(b"no message")
    (tmp_path / "manifest.csv").write_text("file\n" + "".join(f"{n}.hl7\n" for n in (0, 1, 2, "none")))
    raws = corpus(tmp_path)
    found = read_all(raws)
    assert (found.messages, found.read, found.exact, found.lost) == (4, 3, 3, 0)
    assert (units_of(raws).told, units_of(raws).coded) == (1, 1)
