"""What of a retired generation is still there, and who holds it."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import PluginRef, PluginRegistry, unwrap
from dagstack_dev.core.ports import Generation


@pytest.fixture
def retire(tree: PluginTree) -> Callable[[str, Callable[[Any], object]], Generation]:
    """Load a plugin, let `hold` get hold of something of it, and retire it."""
    registry = PluginRegistry()

    def load_and_retire(code: str, hold: Callable[[Any], object]) -> Generation:
        tree.plugin("one", code=code)
        registry.discover(tree.root)
        hold(unwrap(registry.get_plugin("demo", "one")))
        entry = registry.table.entries[PluginRef("demo", "one")]
        generation = entry.generation
        assert generation is not None
        registry.table.set_generation(entry, None)
        entry.take_out()
        generation.retire()
        del entry
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
            started.set()
            stop.wait()

        def steps(self):
            yield self
"""


def test_a_generation_that_nobody_holds_is_gone(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    assert retire(CODE, lambda plugin: None).survivors() == ()


HELD: list[object] = []


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held


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
        (lambda plugin: HELD.append(Holder(plugin)), "Holder"),
        (lambda plugin: HELD.append(plugin.method), "an object of type method"),
        (lambda plugin: HELD.append(started(plugin)), "steps()"),
    ],
)
def test_the_holder_of_an_instance_is_named(
    tree: PluginTree,
    retire: Callable[..., Generation],
    hold: Callable[[Any], object],
    words: str,
) -> None:
    tree.write("one/helper.py", "")
    survivors = retire(CODE, hold).survivors()
    [of_instance] = [each for each in survivors if each.startswith("instance of Plugin")]
    assert words in of_instance


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
        assert begun.wait(10)

    survivors = retire(CODE, hold).survivors()
    stop.set()
    threads[0].join()
    [of_instance] = [each for each in survivors if each.startswith("instance of Plugin")]
    assert "a running Plugin.wait() at " in of_instance
    assert f"{tree.root}/one/plugin.py:" in of_instance
    assert of_instance.endswith("in thread 'worker'")


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
    [of_instance] = [each for each in survivors if each.startswith("instance of Plugin")]
    assert "Handler" in of_instance


def test_a_class_that_is_still_used_is_named(
    tree: PluginTree, retire: Callable[..., Generation]
) -> None:
    tree.write("one/helper.py", "")
    survivors = retire(CODE, lambda plugin: HELD.append(Holder(type(plugin)))).survivors()
    assert any(each.startswith("class Plugin, held by") for each in survivors)
    assert not any(each.startswith("instance") for each in survivors)
