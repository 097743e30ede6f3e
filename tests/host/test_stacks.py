"""Where something that does not end is at."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from dagstack_dev.host.loop.stacks import suspended_at


class Shy:
    """An awaitable that raises whatever it is asked, as a proxy without its object does."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("working outside of its context")

    def __await__(self) -> Generator[None]:
        yield


async def waits() -> None:
    await Shy()


def test_an_awaitable_that_raises_when_it_is_asked_is_passed_over() -> None:
    coroutine = waits()
    coroutine.send(None)
    assert suspended_at("waits", coroutine, None).path == __file__
    assert suspended_at("waits", Shy(), None).path is None
    coroutine.close()
