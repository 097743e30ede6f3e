"""Misuse of what a context offers is refused at the line of the plugin that commits it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from dagstack_dev import PluginContext, PluginRegistry, State
from dagstack_dev.core.blame import blame


async def tick(times: int) -> None:
    await anyio.sleep(0 * times)


def poll(stop: threading.Event, pause: float = 0.1) -> None:
    stop.wait(pause)


def without_stop() -> None:
    pass


Use = Callable[[PluginContext], Any]
BAD: list[tuple[Use, str]] = [
    (lambda ctx: ctx.start_soon(tick(1)), "start_soon takes a function .* got a coroutine"),  # type: ignore[arg-type]
    (lambda ctx: ctx.start_soon(tick), r"tick cannot be called as tick\(\): missing .* 'times'"),
    (lambda ctx: ctx.run_thread(without_stop), r"without_stop\(Event\): too many positional"),
    (lambda ctx: ctx.run_thread(poll, 1, 2), r"poll\(Event, int, int\): too many positional"),
    (lambda ctx: ctx.run_thread(tick), "run_thread takes a plain function; .* ctx.start_soon"),
    (lambda ctx: ctx.run_thread(None), "run_thread takes a function .* got None"),  # type: ignore[arg-type]
    (lambda ctx: ctx.callback(poll(threading.Event(), 0)), "callback takes a function"),  # type: ignore[func-returns-value, arg-type]
    (lambda ctx: ctx.callback(without_stop, now=1), r"\(now=...\): got an unexpected keyword"),
]


class Plugin:
    def __init__(self, use: Use) -> None:
        self.use = use

    def setup(self, ctx: PluginContext) -> None:
        self.use(ctx)


@pytest.mark.parametrize(("use", "says"), BAD)
async def test_what_could_not_be_called_is_refused_where_it_is_given(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], use: Use, says: str
) -> None:
    put(Plugin(use))
    with pytest.raises(TypeError, match=says) as caught:
        await registry.setup_all(ctx)
    assert any(str(entry.path) == __file__ for entry in caught.traceback)
    assert blame(caught.value).type == "TypeError"


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that gives the function an argument of its own."""

    @functools.wraps(function)
    def inner(*args: object) -> object:
        return function(0, *args)

    return inner


async def test_decorated_partial_and_builtin_functions_are_taken(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    def use(ctx: PluginContext) -> None:
        ctx.start_soon(wrapped(tick))
        ctx.start_soon(functools.partial(tick, times=1))
        ctx.run_thread(functools.partial(poll, pause=0))
        ctx.callback(print, end="")
        ctx.callback(dict, one=1)

    put(Plugin(use))
    await registry.setup_all(ctx)
    assert {status.state for status in registry.statuses().values()} == {State.READY}
    await registry.teardown_all()
