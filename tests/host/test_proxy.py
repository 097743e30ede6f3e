"""A proxy answers as its plugin does."""

from __future__ import annotations

import copy
import functools
import pickle
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry, unwrap

Put = Callable[..., Any]


class Base(ABC):
    @abstractmethod
    def abstract(self) -> str: ...

    def inherited(self) -> str:
        return "inherited"

    def becomes_none(self) -> str:
        return "a method"

    def becomes_a_number(self) -> str:
        return "a method"

    def __iter__(self) -> Iterator[int]:
        return iter([])


class Plugin(Base):
    """Does a bit of everything."""

    KIND_OF = "class attribute"
    becomes_none = None  # type: ignore[assignment]
    becomes_a_number = 7  # type: ignore[assignment]

    def __init__(self) -> None:
        self.items = [3, 1, 2]
        self._hidden = "underscored"
        self.log: list[str] = []

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __getitem__(self, index: int) -> int:
        return self.items[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.items[index] = value

    def __delitem__(self, index: int) -> None:
        del self.items[index]

    def __iter__(self) -> Iterator[int]:
        yield from self.items

    def __reversed__(self) -> Iterator[int]:
        return reversed(self.items)

    async def __aiter__(self) -> AsyncIterator[int]:
        for item in self.items:
            yield item

    def __await__(self) -> Generator[Any, Any, str]:
        yield from ()
        return "awaited"

    def __call__(self, word: str, *, loud: bool = False) -> str:
        return word.upper() if loud else word

    def __enter__(self) -> str:
        self.log.append("enter")
        return "entered"

    def __exit__(self, *error: object) -> bool:
        self.log.append("exit")
        return True

    async def __aenter__(self) -> str:
        self.log.append("aenter")
        return "aentered"

    async def __aexit__(self, *error: object) -> bool:
        self.log.append("aexit")
        return True

    def __add__(self, other: int) -> int:
        return len(self.items) + other

    def __radd__(self, other: int) -> int:
        return other + len(self.items)

    def __repr__(self) -> str:
        return "<the plugin>"

    def __str__(self) -> str:
        return "the plugin"

    def __format__(self, spec: str) -> str:
        return f"formatted {spec}"

    def __getattr__(self, name: str) -> str:
        if name.startswith("made_up_"):
            return f"<{name}>"
        raise AttributeError(name)

    @property
    def size(self) -> int:
        return len(self.items)

    @size.setter
    def size(self, value: int) -> None:
        self.items = self.items[:value]

    @functools.cached_property
    def cached(self) -> list[int]:
        return list(self.items)

    def abstract(self) -> str:
        return "concrete"


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def proxy(put: Put, plugin: Plugin) -> Any:
    return put(plugin)


@pytest.mark.parametrize(
    "name",
    [
        "items",
        "_hidden",
        "KIND_OF",
        "size",
        "cached",
        "made_up_word",
        "becomes_none",
        "becomes_a_number",
        "__doc__",
        "__module__",
        "__class__",
        "__dict__",
    ],
)
def test_attributes_are_the_plugins(proxy: Any, plugin: Plugin, name: str) -> None:
    assert getattr(proxy, name) == getattr(plugin, name)


def test_a_missing_attribute_is_the_plugins_own_error(proxy: Any) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        proxy.nothing  # noqa: B018
    assert not hasattr(proxy, "nothing")
    with pytest.raises(AttributeError):
        del proxy.nothing


def test_assignment_and_deletion_reach_the_plugin(proxy: Any, plugin: Plugin) -> None:
    proxy.new = 1
    proxy.size = 2
    assert (plugin.__dict__["new"], plugin.items) == (1, [3, 1])
    del proxy.new
    assert "new" not in plugin.__dict__


@pytest.mark.parametrize(
    "use",
    [
        len,
        bool,
        list,
        repr,
        str,
        dir,
        lambda it: format(it, ">9"),
        lambda it: f"{it!r} {it}",
        lambda it: 3 in it,
        lambda it: 9 in it,
        lambda it: it[0],
        lambda it: list(reversed(it)),
        lambda it: it("word", loud=True),
        lambda it: it + 1,
        lambda it: 1 + it,
        lambda it: it.inherited(),
        lambda it: it.abstract(),
        lambda it: [isinstance(it, cls) for cls in (Plugin, Base, int)],
        lambda it: vars(it).keys(),
        lambda it: callable(it.inherited),
    ],
)
def test_what_is_done_with_a_plugin_is_done_with_its_proxy(
    proxy: Any, plugin: Plugin, use: Callable[[Any], Any]
) -> None:
    assert use(proxy) == use(plugin)


def test_items_are_set_and_deleted(proxy: Any, plugin: Plugin) -> None:
    proxy[0] = 30
    del proxy[1]
    assert plugin.items == [30, 2]


def test_with_enters_and_leaves_the_plugin(proxy: Any, plugin: Plugin) -> None:
    with proxy as entered:
        raise LookupError("suppressed")
    assert entered == "entered"  # type: ignore[unreachable]
    assert plugin.log == ["enter", "exit"]


async def test_async_protocols(proxy: Any, plugin: Plugin) -> None:
    async with proxy as entered:
        assert entered == "aentered"
    assert plugin.log == ["aenter", "aexit"]
    assert await proxy == "awaited"
    assert [item async for item in proxy] == [3, 1, 2]


def test_abc_and_metaclass_plugins(proxy: Any) -> None:
    assert proxy.__class__ is Plugin
    assert type(Plugin) is ABCMeta
    assert type(proxy).__name__ == "Plugin"


def test_unwrap_gives_the_plugin_and_leaves_others_alone(proxy: Any, plugin: Plugin) -> None:
    assert unwrap(proxy) is plugin
    assert unwrap(plugin) is plugin


class Copyable:
    def __deepcopy__(self, memo: object) -> Copyable:
        return Copyable()

    def __copy__(self) -> Copyable:
        return Copyable()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("make", [Plugin, Copyable])
def test_pickling_and_copying_are_refused_with_the_way_out(
    put: Put, duplicate: Callable[[object], object], make: type
) -> None:
    with pytest.raises(TypeError, match=r"proxy of demo/it.*registry\.get_plugin"):
        duplicate(put(make()))


async def test_the_state_that_setup_makes_shows_through_an_earlier_proxy(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    tree.plugin(
        "one",
        code="""
        class Plugin:
            async def setup(self, ctx):
                self.connection = "open"
        """,
    )
    registry.discover(tree.root)
    proxy = registry.get_plugin("demo", "one")
    assert not hasattr(proxy, "connection")
    await registry.setup_all(ctx)
    assert proxy.connection == "open"
    await registry.teardown_all()
