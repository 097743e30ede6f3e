"""Comparison, hashing, slots, shadowed methods, and generators that are driven by hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

import anyio
import pytest

from dagstack_dev import PluginContext, PluginRegistry

Put = Callable[..., Any]


@total_ordering
@dataclass(frozen=True)
class Ranked:
    rank: int

    def __lt__(self, other: Ranked) -> bool:
        return self.rank < other.rank


class Plain:
    pass


class Mutable:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mutable)

    __hash__ = None  # type: ignore[assignment]


def test_comparison_and_order_are_those_of_the_plugins(put: Put) -> None:
    low, high, again = (put(Ranked(rank), f"r{n}") for n, rank in enumerate([1, 2, 1]))
    assert low == again
    assert low == Ranked(1)
    assert Ranked(1) == low
    assert low != high
    assert low < high
    assert low <= again
    assert high > low
    assert high >= Ranked(2)
    assert sorted([high, low]) == [low, high]


def test_a_plugin_with_a_hash_of_its_own_lends_it(put: Put) -> None:
    assert hash(put(Ranked(1))) == hash(Ranked(1))


def test_a_plain_plugin_is_a_key_by_its_proxy(put: Put) -> None:
    one, two = put(Plain(), "one"), put(Plain(), "two")
    assert one == one  # noqa: PLR0124 - a proxy equals itself
    assert one != two
    assert {one: 1, two: 2}[two] == 2


def test_an_unhashable_plugin_stays_unhashable(put: Put) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(put(Mutable()))


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1

    def double(self) -> int:
        return self.value * 2


def test_a_plugin_with_slots(put: Put) -> None:
    proxy = put(Slotted())
    proxy.value = 4
    assert proxy.double() == 8
    with pytest.raises(AttributeError):
        proxy.other = 1
    assert not hasattr(proxy, "__dict__")
    with pytest.raises(TypeError):
        vars(proxy)


class Iterable:
    def __iter__(self) -> Any:
        return iter([1])

    def __getitem__(self, index: int) -> int:
        return [1, 2][index]


class NotIterable(Iterable):
    __iter__ = None  # type: ignore[assignment]
    __contains__ = None


def test_a_protocol_that_a_subclass_switches_off_stays_off(put: Put) -> None:
    proxy = put(NotIterable())
    with pytest.raises(TypeError):
        iter(proxy)
    with pytest.raises(TypeError):
        1 in proxy  # noqa: B015
    assert proxy[1] == 2


class Shadowed:
    """Instance attributes take the place of methods."""

    def __init__(self, *, early: bool) -> None:
        if early:
            self.shadow()

    def shadow(self) -> None:
        vars(self).update(
            number=5,
            sync=lambda word="instance": word,
            turned_sync=lambda: "sync now",
            turned_async=self._async,
        )

    def setup(self, ctx: PluginContext) -> None:
        self.shadow()

    async def _async(self) -> str:
        return "async now"

    def number(self) -> None: ...

    def sync(self) -> str:
        return "class"

    async def turned_sync(self) -> str:
        return "class"

    def turned_async(self) -> str:
        return "class"


@pytest.mark.parametrize("early", [True, False])
async def test_instance_attributes_shadow_methods(
    registry: PluginRegistry, ctx: PluginContext, put: Put, early: bool
) -> None:
    proxy = put(Shadowed(early=early))
    await registry.setup_all(ctx)
    assert proxy.number == 5
    assert proxy.sync() == "instance"
    assert proxy.sync("word") == "word"
    assert proxy.turned_sync() == "sync now"
    assert await proxy.turned_async() == "async now"
    await registry.teardown_all()


def test_a_method_is_shadowed_and_restored_through_the_proxy(put: Put) -> None:
    proxy = put(Shadowed(early=False))
    proxy.sync = 5
    assert proxy.sync == 5
    del proxy.sync
    assert proxy.sync() == "class"


class Streams:
    def __init__(self) -> None:
        self.log: list[object] = []

    def echo(self) -> Generator[Any, Any, str]:
        try:
            word = yield "first"
            while word != "end":
                try:
                    word = yield word
                except LookupError as error:
                    word = yield f"caught {error}"
        finally:
            self.log.append("closed")
        return "result"

    async def async_echo(self) -> AsyncGenerator[Any, Any]:
        try:
            word = yield "first"
            while word != "end":
                try:
                    word = yield word
                except LookupError as error:
                    word = yield f"caught {error}"
        finally:
            await anyio.lowlevel.checkpoint()
            self.log.append("closed")

    async def fails(self) -> AsyncGenerator[int, None]:
        yield 1
        raise LookupError("own")


def test_a_generator_is_sent_to_thrown_into_and_returns(put: Put) -> None:
    proxy = put(Streams())
    stream = proxy.echo()
    assert next(stream) == "first"
    assert stream.send("word") == "word"
    assert stream.throw(LookupError("it")) == "caught it"
    with pytest.raises(StopIteration) as stopped:
        stream.send("end")
    assert stopped.value.value == "result"
    assert proxy.log == ["closed"]
    unfinished = proxy.echo()
    next(unfinished)
    unfinished.close()
    assert proxy.log == ["closed", "closed"]


async def test_an_async_generator_is_sent_to_thrown_into_and_closed(put: Put) -> None:
    proxy = put(Streams())
    stream = proxy.async_echo()
    assert await anext(stream) == "first"
    assert await stream.asend("word") == "word"
    assert await stream.athrow(LookupError("it")) == "caught it"
    with pytest.raises(StopAsyncIteration):
        await stream.asend("end")
    unfinished = proxy.async_echo()
    await anext(unfinished)
    await unfinished.aclose()
    assert proxy.log == ["closed", "closed"]


async def test_an_async_generators_own_error_comes_through(put: Put) -> None:
    stream = put(Streams()).fails()
    assert await anext(stream) == 1
    with pytest.raises(LookupError, match="own"):
        await anext(stream)
