"""Waits of the API's thread on a machine that lets the whole process stand still."""

from __future__ import annotations

import asyncio

import pytest

from dagstack_dev.api.patience import have_ended


async def test_a_standstill_does_not_end_a_wait_for_what_has_stood_still_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    clock, lost, answer = loop.time, 0.0, loop.create_future()
    monkeypatch.setattr(loop, "time", lambda: clock() + lost)

    async def stand_still_and_answer() -> None:
        nonlocal lost
        lost = 1000.0
        for _ in range(10):  # It gets its turn later than the wait.
            await asyncio.sleep(0)
        answer.set_result(None)

    answering = asyncio.ensure_future(stand_still_and_answer())
    assert await have_ended([answer], 500.0)
    await answering


async def test_what_does_not_end_is_not_waited_for_without_end() -> None:
    never = asyncio.get_running_loop().create_future()
    assert not await have_ended([never], 0.0)
    never.cancel()
