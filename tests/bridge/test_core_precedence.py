"""Answers come before mapping, and mapping goes on all the same."""

from __future__ import annotations

import asyncio

from hl7_bridge.precedence import Precedence


async def test_a_step_is_taken_at_once_while_nobody_waits_for_an_answer() -> None:
    precedence = Precedence()
    await asyncio.wait_for(precedence.step(), 1)
    assert not precedence.answering


async def test_a_step_waits_until_the_answer_is_given() -> None:
    precedence = Precedence()
    done: list[str] = []

    async def step() -> None:
        await precedence.step()
        done.append("step")

    with precedence.answer():
        waiting = asyncio.create_task(step())
        await asyncio.sleep(0)
        assert precedence.answering
        done.append("answer")
    await waiting
    assert done == ["answer", "step"]


async def test_steps_are_taken_one_by_one_however_long_answers_take() -> None:
    precedence = Precedence()
    with precedence.answer():
        async with asyncio.timeout(10):
            await asyncio.gather(*(precedence.step() for _ in range(5)))
        assert precedence.answering
