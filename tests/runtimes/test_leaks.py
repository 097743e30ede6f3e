"""What of a retired generation is still there, and who holds it."""

from __future__ import annotations

import asyncio
import builtins
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from command_runs import GUARD_SECONDS
from trees import PluginTree

from dagstack_dev import PluginRef, PluginRegistry, unwrap
from dagstack_dev.core.frames import awaited
from dagstack_dev.core.ports import Generation
from dagstack_dev.runtimes.leaks import referrers
from dagstack_dev.runtimes.leaks.live_references import live_references
from dagstack_dev.runtimes.leaks.retired import RetiredGeneration


@pytest.fixture
def retire(tree: PluginTree) -> Callable[[str, Callable[[Any], object]], Generation]:
    """Load a plugin, let `hold` get hold of something of it, and retire it."""
    registry = PluginRegistry()

    def load_and_retire(
        code: str, hold: Callable[[Any], object], *, collect: bool = True
    ) -> Generation:
        tree.plugin("one", code=code)
        registry.discover(tree.root)
        hold(unwrap(registry.get_plugin("demo", "one")))
        entry = registry.table.entries[PluginRef("demo", "one")]
        generation = entry.generation
        assert generation is not None
        registry.table.unload(entry)
        generation.retire()
        del entry
        if collect:
            gc.collect()
        return generation

    return load_and_retire


CODE = """
    import threading, logging, atexit
    from . import helper

    class Plugin:
        def method(self):
            pass

        def wait(self, started, stop):
            stop.wait(started.set())  # In one line, which is that where it is when it has begun.

        def steps(self):
            yield self
"""


def test_a_generation_that_nothing_holds_is_gone(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    assert retire(CODE, lambda plugin: None).survivors() == ()


HELD: list[object] = []


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search to the end, however slow the machine is."""
    monkeypatch.setattr(referrers, "SECONDS", 60.0)


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    yield
    HELD.clear()


def started(plugin: Any) -> object:
    steps = plugin.steps()
    next(steps)
    return steps


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        (lambda plugin: HELD.append(Holder(plugin)), "{here}.HELD -> list -> {here}.Holder.held"),
        (lambda plugin: HELD.append(plugin.method), "{here}.HELD -> list -> method Plugin.method"),
        (
            lambda plugin: HELD.append(started(plugin)),
            "{here}.HELD -> list -> a suspended Plugin.steps() at {folder}/one/plugin.py:13",
        ),
        (
            lambda plugin: HELD.append({"key": [plugin]}),
            "{here}.HELD -> list -> dict['key'] -> list",
        ),
        (
            lambda plugin: HELD.append(lambda: plugin),
            "{here}.HELD -> list -> function {here}.<lambda>.<locals>.<lambda>",
        ),
    ],
)
def test_the_holder_of_an_instance_is_named(
    tree: PluginTree,
    retire: Callable[..., Generation],
    hold: Callable[[Any], object],
    words: str,
) -> None:
    tree.write("one/helper.py", "")
    generation = retire(CODE, hold)
    assert not generation.is_gone()
    holders = words.format(here=__name__, folder=tree.root)
    assert generation.survivors() == (f"instance of Plugin, held by {holders}",)


def test_what_the_builtins_hold_is_not_held_by_every_module(
    tree: PluginTree, retire: Callable[..., Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write("one/helper.py", "")
    monkeypatch.setattr(builtins, "kept", None, raising=False)
    generation = retire(CODE, lambda plugin: setattr(builtins, "kept", [plugin]))
    young = ModuleType("young")  # The garbage collector comes to it first.
    exec("", vars(young))
    monkeypatch.setitem(sys.modules, "young", young)
    assert generation.survivors() == ("instance of Plugin, held by builtins.kept -> list",)


def test_what_is_only_held_by_each_other_is_gone_before_it_is_collected(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    gc.disable()
    try:
        generation = retire(CODE, lambda plugin: setattr(plugin, "me", plugin), collect=False)
        assert generation.is_gone()
        assert not generation._retired.is_freed  # type: ignore[attr-defined]
    finally:
        gc.enable()


def test_a_garbage_holder_is_no_leak_once_it_has_been_collected(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    gc.disable()
    try:

        def hold(plugin: Any) -> None:
            holder = Holder(plugin)
            holder.me = holder  # type: ignore[attr-defined]

        generation = retire(CODE, hold, collect=False)
        assert not generation.is_gone()
        gc.collect()
        assert generation.is_gone()
        assert generation.survivors() == ()
    finally:
        gc.enable()


def test_code_that_outlives_its_module_is_named(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    code = """
    class Plugin:
        pass
    def callback():
        pass
    def register(held):
        held.append(callback)
    """

    def hold(plugin: Any) -> None:
        sys.modules[type(plugin).__module__].register(HELD)

    [line] = retire(code, hold).survivors()
    assert line.startswith("the globals of dagstack_plugins")
    assert f"held by {__name__}.HELD -> list -> function dagstack_plugins" in line
    assert line.endswith(".demo.one.plugin.callback")


def test_a_thread_that_runs_a_method_is_named_with_its_line(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    begun, stop = threading.Event(), threading.Event()
    threads = []

    def hold(plugin: Any) -> None:
        thread = threading.Thread(target=plugin.wait, args=(begun, stop), name="worker")
        thread.start()
        threads.append(thread)
        assert begun.wait(GUARD_SECONDS)

    survivors = retire(CODE, hold).survivors()
    stop.set()
    threads[0].join()
    assert survivors == (
        f"thread 'worker' still runs Plugin.wait() at {tree.root}/one/plugin.py:10",
    )


def test_a_logging_handler_of_the_plugins_class_is_named(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    code = """
    import logging
    class Handler(logging.Handler):
        def __init__(self, plugin):
            super().__init__()
            self.plugin = plugin
    class Plugin:
        def __init__(self):
            self.handler = Handler(self)
            logging.getLogger("app").addHandler(self.handler)
    """
    survivors = retire(code, lambda plugin: None).survivors()
    logger = logging.getLogger("app")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    assert survivors == ("logging handler Handler of logger 'app'",)


def test_a_class_that_is_still_used_is_named(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    survivors = retire(CODE, lambda plugin: HELD.append(Holder(type(plugin)))).survivors()
    assert any(each.startswith("class Plugin, held by") for each in survivors)
    assert not any(each.startswith("instance") for each in survivors)


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(f"asked for {name}")


class Shy:
    """Tells nothing of itself."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(f"asked for {name}")


def nameless() -> type:
    """A class without `__module__`, as a generator of code makes it."""
    names: dict[str, Any] = {}
    exec("X = type('X', (), {})", names)
    found: type = names["X"]
    assert not hasattr(found, "__module__")
    return found


ODD: dict[str, Callable[[], object]] = {
    "a class without a module": nameless,
    "an instance of one": nameless(),
    "a class that raises": lambda: Meta("Odd", (), {}),
    "an instance of one that raises": Meta("Odd", (), {}),
    "an instance that raises": Shy,
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_object_among_what_is_held_and_among_the_holders_spoils_no_search(
    tree: PluginTree, retire: Callable[..., Generation], odd: str
) -> None:
    thing = ODD[odd]()
    tree.write("one/helper.py", "")

    def hold(plugin: Any) -> None:
        plugin.odd = thing
        HELD.append(plugin)

    generation = retire(CODE, hold)
    assert not generation.is_gone()
    assert any("test_leaks.HELD" in each for each in generation.survivors())
    HELD.clear()
    assert referrers.describe(thing, "anything")
    assert referrers.in_words([[thing], thing, vars(Meta), thing])


async def test_an_odd_task_and_an_odd_awaitable_spoil_no_search() -> None:
    class Odd:
        def __getattr__(self, name: str) -> Any:
            raise LookupError(name)

        def __await__(self) -> Any:
            return (yield)

    retired = RetiredGeneration(None)
    waiting = asyncio.ensure_future(_await(Odd()))
    logging.root.addFilter(odd := Meta("Odd", (), {"filter": lambda *_: True})())
    await asyncio.sleep(0)
    try:
        assert live_references(retired) == []
        assert [step for step, _ in awaited(Odd())] == []
    finally:
        logging.root.removeFilter(odd)
        waiting.cancel()


async def _await(what: Any) -> None:
    await what
