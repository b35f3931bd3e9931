"""Types of messages that are not mapped: kept, and told once where they say something about people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hl7_bridge.mapping.classification import classify
from hl7_bridge.mapping.table import MAPPINGS
from tests.bridge.core import KNOWN, house
from tests.conftest import Client

REAL = replace(KNOWN, maps=MAPPINGS, classify=classify)
PID = "PID|1||4711^^^HOSP^MR||Doe^Jane"


def told(kind: str, number: int, *segments: str) -> bytes:
    header = f"MSH|^~\\&|HIS|HOSP|OSLER|HOSP|20260301080000||{kind}|{number}|P|2.5.1"
    return "\r".join((header, *segments, "")).encode()


async def test_a_type_that_tells_of_people_and_is_not_mapped_is_asked_about_once(client: Client) -> None:
    async with house(client, known=REAL) as lab:
        for n in range(3):
            await lab.send(told("VXU^V04^VXU_V04", n, PID, "RXA|0|1|20260301|||999"))
        await lab.send(told("RDE^O11^RDE_O11", 3, PID))
        assert await lab.quiet() == {"administrative": 4}
        tasks = await lab.tasks()
        said = sorted(one["code"]["text"] for one in tasks)
        assert said == [
            "Messages of type RDE^O11 are kept, and not mapped.",
            "Messages of type VXU^V04 are kept, and not mapped.",
        ]
        assert {one["code"]["coding"][0]["code"] for one in tasks} == {"unmapped-type"}


async def test_results_without_a_type_do_not_go_unseen(client: Client) -> None:
    async with house(client, known=REAL) as lab:
        await lab.send(told("", 1, PID, "OBX|1|NM|718-7^Hb^LN||9.1"))
        assert await lab.quiet() == {"administrative": 1}
        (task,) = await lab.tasks()
        assert task["code"]["text"] == "The message has no type."


@pytest.mark.parametrize(
    "kind", ["SSU^U03", "ESU^U01", "INU^U05", "MFN^M02", "QBP^Q22", "RSP^K11", "ZZZ^Z99"]
)
async def test_messages_about_nobody_ask_for_nobody(client: Client, kind: str) -> None:
    async with house(client, known=REAL) as lab:
        of_answer = (PID,) if kind == "RSP^K11" else ()
        await lab.send(told(kind, 1, *of_answer))
        assert await lab.quiet() == {"administrative": 1}
        assert await lab.tasks() == []
