"""A `setup` or `teardown` that takes other arguments is told where it is defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagstack_dev import PluginContext, PluginRegistry, SignatureMismatch, TeardownErrors
from dagstack_dev.core.blame import blame


class WithoutContext:
    def setup(self) -> None:
        pass


class AsyncWithoutContext:
    async def setup(self) -> None:
        pass


class WithoutInstance:
    def setup() -> None:  # type: ignore[misc]
        pass


class Static:
    @staticmethod
    def setup() -> None:
        pass


class TooMuch:
    def teardown(self, ctx: PluginContext) -> None:
        pass


class AsyncTooMuch:
    async def teardown(self, ctx: PluginContext) -> None:
        pass


SETUPS = {
    WithoutContext: "too many positional arguments; write: def setup(self, ctx)",
    AsyncWithoutContext: "too many positional arguments; write: async def setup(self, ctx)",
    WithoutInstance: "it has no parameter for the instance; write: def setup(self, ctx)",
    Static: "too many positional arguments; write: def setup(ctx)",
}
MODELS = ["sync", "thread_cpu_bound"]


def line_of(method: Any) -> int:
    line: int = method.__code__.co_firstlineno
    return line


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("plugin", SETUPS)
async def test_a_setup_that_cannot_be_called(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    plugin: type[Any],
    model: str,
) -> None:
    put(plugin(), execution_model=model)
    with pytest.raises(SignatureMismatch) as caught:
        await registry.setup_all(ctx)
    name = f"{plugin.__name__}.setup"
    assert str(caught.value) == f"demo/it: {name} cannot be called as setup(ctx): {SETUPS[plugin]}"
    found = blame(caught.value)
    assert (found.path, found.line) == (__file__, line_of(plugin.setup))


@pytest.mark.parametrize("plugin", [TooMuch, AsyncTooMuch])
async def test_a_teardown_that_cannot_be_called(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], plugin: type[Any]
) -> None:
    put(plugin())
    await registry.setup_all(ctx)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    [error] = caught.value.errors
    assert isinstance(error, SignatureMismatch)
    assert "missing a required argument: 'ctx'; write: " in str(error)
    assert (error.path, error.line) == (__file__, line_of(plugin.teardown))


@pytest.mark.parametrize("model", MODELS)
async def test_a_type_error_of_its_own_stays_what_it_is(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], model: str
) -> None:
    class Raises:
        def setup(self, ctx: PluginContext) -> None:
            raise TypeError("no text")

    put(Raises(), execution_model=model)
    with pytest.raises(TypeError, match="no text") as caught:
        await registry.setup_all(ctx)
    assert type(caught.value) is TypeError
