"""A plugin in a process of its own: what a caller sees of it."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
import pytest
import structlog
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry
from dagstack_dev.core.blame import blame
from dagstack_dev.core.errors.remote import NotTransferable, OutOfReach, RemoteError

pytestmark = pytest.mark.usefixtures("imports_forgotten")

MANIFEST = 'execution_model = "process_cpu_bound"\n'

CODE = """
import asyncio
import os
import threading
from dataclasses import dataclass

import helper

class BadInput(ValueError):
    pass

@dataclass
class Own:
    number: int

class Base:
    def inherited(self):
        return "inherited"

class Plugin(Base):
    '''What it does.'''

    answer = 42

    def setup(self, ctx):
        self.ctx = ctx
        self.steps = []

    def add(self, a, *, b=2):
        '''The sum.'''
        return a + b

    async def where(self):
        return os.getpid(), threading.current_thread() is threading.main_thread()

    def here(self):
        return os.getpid(), threading.current_thread() is threading.main_thread()

    def shared(self):
        return helper.Point(1, 2)

    def own(self):
        return Own(1)

    def bad(self, text):
        raise BadInput(text)

    def zero(self):
        return helper.divide(1, 0)

    def wrapped(self):
        try:
            self.zero()
        except ZeroDivisionError as error:
            raise LookupError("no") from error

    def items(self):
        yield 1

    def registry(self):
        return self.ctx.registry.get_plugin("demo", "other")

    def bus(self):
        return self.ctx.event_bus.publish

    def hook(self, ctx, payload):
        ctx.logger.info("called")
        return dict(ctx.metadata), dict(ctx.config), payload

    def _hidden(self):
        return 1

    async def wait_for_ever(self):
        self.steps.append("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            self.steps.append("cancelled")

    def read_steps(self):
        return self.steps
"""
HELPER = """
from dataclasses import dataclass

@dataclass
class Point:
    x: int
    y: int

def divide(a, b):
    return a / b
"""


@pytest.fixture
def registry(tree: PluginTree) -> PluginRegistry:
    tree.plugin("it", code=CODE, manifest=MANIFEST)
    tree.write("helper.py", HELPER)
    return PluginRegistry().discover(tree.root)


@pytest.fixture
def ctx(registry: PluginRegistry) -> PluginContext:
    config = {"demo": {"it": {"b": 2}}}
    return PluginContext(config=config, logger=structlog.get_logger(), registry=registry)


@pytest.fixture
async def plugin(registry: PluginRegistry, ctx: PluginContext) -> AsyncIterator[Any]:
    await registry.setup_all(ctx)
    yield registry.get_plugin("demo", "it")
    await registry.teardown_all()


async def test_methods_are_coroutine_functions_with_signature_and_docs(plugin: Any) -> None:
    assert inspect.iscoroutinefunction(plugin.add)
    assert str(inspect.signature(plugin.add)) == "(a, *, b=2)"
    assert plugin.add.__doc__ == "The sum."
    assert await plugin.add(1) == 3
    assert await plugin.add(a=1, b=5) == 6
    assert await plugin.inherited() == "inherited"
    assert plugin.__class__.__name__ == "Plugin"


async def test_all_of_them_run_on_the_main_thread_of_another_process(plugin: Any) -> None:
    pid, in_main_thread = await plugin.here()
    assert pid != os.getpid()
    assert in_main_thread
    assert await plugin.where() == (pid, True)


async def test_wrong_arguments_are_refused_by_the_method(plugin: Any) -> None:
    with pytest.raises(TypeError, match=r"add\(\) takes 2 positional arguments but 3 were given"):
        await plugin.add(1, 2)


async def test_what_is_no_public_method_is_out_of_reach(plugin: Any) -> None:
    for name in ("answer", "steps", "_hidden", "nothing"):
        with pytest.raises(OutOfReach, match=f"the attribute '{name}' is out of reach"):
            getattr(plugin, name)
    with pytest.raises(OutOfReach):
        plugin.answer = 43
    assert not hasattr(plugin, "answer")


async def test_what_cannot_be_sent_is_said(plugin: Any) -> None:
    with pytest.raises(NotTransferable, match=r"an argument of add\(\) cannot be sent"):
        await plugin.add(threading.Lock())
    with pytest.raises(NotTransferable, match="Own, which a plugin defines"):
        await plugin.own()
    with pytest.raises(NotTransferable, match=r"the stream of items\(\).*return a list"):
        await plugin.items()
    assert await plugin.add(1) == 3


async def test_values_of_shared_classes_can_be_sent(plugin: Any) -> None:
    point = await plugin.shared()
    assert (type(point).__module__, point.x, point.y) == ("helper", 1, 2)


async def test_an_exception_comes_with_its_type_and_the_plugins_lines(
    plugin: Any, tree: PluginTree
) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await plugin.zero()
    line = HELPER.splitlines().index("    return a / b") + 1
    found = blame(caught.value)
    assert (found.path, found.line) == (str(tree.root / "helper.py"), line)
    assert [each.name for each in caught.traceback][-2:] == ["zero", "divide"]


async def test_an_exception_of_the_plugins_own_class_keeps_name_and_bases(plugin: Any) -> None:
    with pytest.raises(ValueError, match="too short") as caught:
        await plugin.bad("too short")
    assert type(caught.value).__name__ == "BadInput"
    assert isinstance(caught.value, RemoteError)


async def test_the_cause_of_an_exception_comes_too(plugin: Any) -> None:
    with pytest.raises(LookupError) as caught:
        await plugin.wrapped()
    cause = caught.value.__cause__
    assert isinstance(cause, ZeroDivisionError)
    assert blame(cause).path is not None


async def test_other_plugins_and_services_are_out_of_reach_there(plugin: Any) -> None:
    with pytest.raises(OutOfReach, match=r"ctx.registry.get_plugin is out of reach"):
        await plugin.registry()


async def test_a_hook_that_is_given_a_context_gets_that_of_its_process(
    plugin: Any, ctx: PluginContext
) -> None:
    asked = replace(ctx, metadata={"request_id": "r1"})
    assert await plugin.hook(asked, {"a": 1}) == ({"request_id": "r1"}, {"b": 2}, {"a": 1})
    assert await plugin.hook(payload=1, ctx=ctx) == ({}, {"b": 2}, 1)


async def test_a_cancelled_call_is_cancelled_there(plugin: Any) -> None:
    call = asyncio.ensure_future(plugin.wait_for_ever())
    while await plugin.read_steps() != ["waiting"]:
        await anyio.lowlevel.checkpoint()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await plugin.read_steps() == ["waiting", "cancelled"]


async def test_it_can_be_called_from_another_loop(plugin: Any) -> None:
    def elsewhere() -> object:
        return anyio.run(plugin.add, 1)

    assert await anyio.to_thread.run_sync(elsewhere) == 3


async def test_large_values_come_through_whole(plugin: Any) -> None:
    data = b"x" * 5_000_000
    assert await plugin.add(data, b=b"y") == data + b"y"
