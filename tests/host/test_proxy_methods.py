"""A proxy's methods have the plugin's signatures and natures."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest


class Plugin:
    """Has a method of every sort."""

    @types.coroutine
    def awaitable_generator(self) -> Generator[Any, Any, str]:
        yield from ()
        return "awaitable"

    @functools.lru_cache  # noqa: B019 - it is one of the things a method may be
    def remembered(self) -> int:
        return 3

    @staticmethod
    def static(first: int, second: int = 2) -> int:
        return first + second

    @classmethod
    def klass(cls, word: str) -> str:
        return f"{cls.__name__} {word}"

    @staticmethod
    async def async_static(word: str) -> str:
        return word

    @classmethod
    async def async_klass(cls, word: str) -> str:
        return f"{cls.__name__} {word}"

    def every(
        self, a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int
    ) -> Any:
        return a, b, c, rest, d, e, more

    async def async_every(self, a: int, /, b: int = 2, *, d: int, **more: int) -> Any:
        return a, b, d, more

    def stars_only(*args: Any, key: int = 1) -> Any:
        return args[1:], key

    def __mangled(self, __a: int = 1) -> int:  # noqa: PYI063 - it is about the name
        return __a

    def call_mangled(self) -> int:
        return self.__mangled(4)

    def _gate(self) -> str:
        return "gate"

    def _mark(self) -> str:
        return "mark"

    def _dagstack_gate(self) -> str:
        return "dagstack gate"

    def _lift(self, _gate: str = "_gate", anext: str = "anext") -> str:  # noqa: A002
        return f"{_gate} {anext}"

    async def stream(self, anext: int = 0) -> AsyncIterator[int]:  # noqa: A002
        yield anext

    def __iter__(self) -> Iterator[int]:
        yield 1


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def proxy(put: Callable[..., Any], plugin: Plugin) -> Any:
    return put(plugin)


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.static(1),
        lambda it: it.klass("word"),
        lambda it: it.remembered(),
        lambda it: it.stars_only(1, 2, key=3),
        lambda it: it.call_mangled(),
        lambda it: it._Plugin__mangled(5),
        lambda it: (it._gate(), it._mark(), it._lift(), it._lift("x")),
        lambda it: it._dagstack_gate(),
        lambda it: it.every(1, 2, d=4),
        lambda it: it.every(1, 2, 30, 40, 50, d=4, e=50, f=60, a=70),
        lambda it: it.every(1, b=2, c=3, d=4),
    ],
)
def test_arguments_arrive_as_they_were_given(
    proxy: Any, plugin: Plugin, call: Callable[[Any], Any]
) -> None:
    assert call(proxy) == call(plugin)


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.every(),
        lambda it: it.every(1, 2),
        lambda it: it.every(a=1, b=2, d=4),
        lambda it: it.call_mangled(1),
        lambda it: it.klass(),
    ],
)
def test_wrong_arguments_are_refused_alike(
    proxy: Any, plugin: Plugin, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError):
        call(plugin)
    with pytest.raises(TypeError):
        call(proxy)


async def test_async_methods(proxy: Any) -> None:
    assert await proxy.async_every(1, d=4, f=6) == (1, 2, 4, {"f": 6})
    assert await proxy.async_static("word") == "word"
    assert await proxy.async_klass("word") == "Plugin word"
    assert await proxy.awaitable_generator() == "awaitable"
    assert [item async for item in proxy.stream(4)] == [4]


@pytest.mark.parametrize(
    "name", ["every", "async_every", "static", "klass", "async_static", "stars_only", "_lift"]
)
def test_signatures_are_the_methods_own(proxy: Any, plugin: Plugin, name: str) -> None:
    assert inspect.signature(getattr(proxy, name)) == inspect.signature(getattr(plugin, name))
    assert getattr(proxy, name).__name__ == name


@pytest.mark.parametrize(
    "ask",
    [inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction],
)
@pytest.mark.parametrize(
    "name", ["async_every", "async_static", "async_klass", "every", "stream", "__iter__"]
)
def test_the_nature_of_a_method_shows(
    proxy: Any, plugin: Plugin, name: str, ask: Callable[[object], bool]
) -> None:
    assert ask(getattr(proxy, name)) is ask(getattr(plugin, name))
