"""What a plugin fails with belongs to the app: once the app drops it, what it held is free.

At once, without the garbage collector: nothing of ours refers to it, nor goes round in a circle.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry, TeardownErrors

HOLDS = """
import asyncio
from contextlib import asynccontextmanager

class Held: ...

class Plugin:
    {kind} {method}(self, *given):
        held = Held()
        self.extras["held"](held)
        {body}
    def note(self, extras):
        self.extras = extras
"""

FAILS = "raise LookupError('no')"
ENTERS = "await given[0].enter_async(self.session(held))"
SESSION = """
    @asynccontextmanager
    async def session(self, held):
        raise LookupError('no')
        yield
"""
STARTS = "given[0].start_soon(self.work, held); await asyncio.sleep(60)"
WORK = """
    async def work(self, held):
        raise LookupError('no')
"""


@pytest.fixture
def held() -> Iterator[list[weakref.ref[Any]]]:
    """References to what plugins held when they failed; no garbage is collected meanwhile."""
    gc.collect()
    gc.disable()
    yield []
    gc.enable()


def ready(registry: PluginRegistry, tree: PluginTree, code: str, note: Any) -> None:
    tree.plugin("it", code=code)
    registry.discover(tree.root)
    registry.get_plugin("demo", "it").note({"held": note})


@pytest.mark.parametrize(
    ("kind", "body", "more"),
    [
        ("def", FAILS, ""),
        ("async def", FAILS, ""),
        ("async def", ENTERS, SESSION),
        ("async def", STARTS, WORK),
    ],
)
async def test_a_setup_that_failed_is_held_by_its_exception_alone(
    tree: PluginTree,
    registry: PluginRegistry,
    ctx: PluginContext,
    held: list[weakref.ref[Any]],
    kind: str,
    body: str,
    more: str,
) -> None:
    code = HOLDS.format(kind=kind, method="setup", body=body) + more
    ready(registry, tree, code, lambda each: held.append(weakref.ref(each)))
    kept: list[BaseException] = []
    try:
        await registry.setup_all(ctx)
    except LookupError as error:
        kept.append(error)
    [ref] = held
    assert ref() is not None
    kept.clear()
    assert ref() is None


async def test_a_teardown_that_failed_is_held_by_its_exception_alone(
    tree: PluginTree,
    registry: PluginRegistry,
    ctx: PluginContext,
    held: list[weakref.ref[Any]],
) -> None:
    code = HOLDS.format(kind="async def", method="teardown", body=FAILS)
    ready(registry, tree, code, lambda each: held.append(weakref.ref(each)))
    await registry.setup_all(ctx)
    kept: list[BaseException] = []
    try:
        await registry.teardown_all()
    except TeardownErrors as error:
        kept.append(error)
    [ref] = held
    assert ref() is not None
    kept.clear()
    assert ref() is None
