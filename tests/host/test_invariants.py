"""The specification's four invariants ("Инварианты")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry, State, TeardownErrors, unwrap

AWAITING = """
    import anyio
    class Plugin:
        async def setup(self, ctx):
            self.ctx = ctx
            for _ in range({turns}):
                await anyio.lowlevel.checkpoint()
            ctx.extras["journal"].append("setup {name}")
        async def teardown(self):
            self.ctx.extras["journal"].append("teardown {name}")
"""

FAILING = """
    class Plugin:
        def setup(self, ctx):
            if ctx.extras.get("mended"):
                return
            raise ctx.extras["error"]
"""


class Odd(Exception):
    pass


async def test_setup_all_again_does_nothing(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("one")
    registry.discover(tree.root)
    await registry.setup_all(ctx)
    await registry.setup_all(ctx)
    assert journal == ["setup one 1"]
    await registry.teardown_all()
    await registry.teardown_all()
    assert journal == ["setup one 1", "teardown one 1"]


async def test_after_teardown_all_everything_can_be_set_up_again(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("one")
    registry.discover(tree.root)
    proxy = registry.get_plugin("demo", "one")
    for _ in range(2):
        await registry.setup_all(ctx)
        assert proxy.value() == 1
        await registry.teardown_all()
    assert journal == ["setup one 1", "teardown one 1"] * 2


async def test_teardown_is_the_reverse_of_the_order_in_which_setups_ended(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    for name, turns in {"a": 60, "b": 30, "c": 1}.items():
        tree.plugin(name, code=AWAITING.format(name=name, turns=turns))
    tree.plugin("d", depends_on=["b"], code=AWAITING.format(name="d", turns=0))
    registry.discover(tree.root)
    await registry.setup_all(ctx)
    await registry.teardown_all()
    ups = [line.removeprefix("setup ") for line in journal[:4]]
    downs = [line.removeprefix("teardown ") for line in journal[4:]]
    assert ups == ["c", "b", "d", "a"]
    assert downs == ups[::-1]


@pytest.mark.parametrize("error", [Odd("no"), SystemExit(3), BaseException("odd"), KeyError("k")])
async def test_a_failing_setup_tears_down_what_was_up_and_raises_the_original(
    tree: PluginTree,
    registry: PluginRegistry,
    ctx: PluginContext,
    journal: list[str],
    error: BaseException,
) -> None:
    tree.plugin("a")
    tree.plugin("b", depends_on=["a"], code=AWAITING.format(name="b", turns=3))
    tree.plugin("c", depends_on=["b"], code=FAILING)
    tree.plugin("d", depends_on=["c"])
    registry.discover(tree.root)
    ctx.extras["error"] = error
    with pytest.raises(type(error)) as caught:
        await registry.setup_all(ctx)
    assert caught.value is error
    assert journal == ["setup a 1", "setup b", "teardown b", "teardown a 1"]
    assert {each.state for each in registry.statuses().values()} == {State.LOADED}
    assert not registry.is_set_up

    ctx.extras["mended"] = True
    journal.clear()
    await registry.setup_all(ctx)
    assert journal == ["setup a 1", "setup b", "setup d 1"]
    assert {each.state for each in registry.statuses().values()} == {State.READY}
    await registry.teardown_all()


async def test_a_failing_async_setup_raises_the_original_too(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    error = Odd("no")

    class Plugin:
        async def setup(self, ctx: PluginContext) -> None:
            raise error

    put(Plugin())
    with pytest.raises(Odd) as caught:
        await registry.setup_all(ctx)
    assert caught.value is error
    assert error.__cause__ is None


async def test_a_teardown_that_fails_during_the_roll_back_is_noted_on_the_original(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    tree.plugin(
        "a", code="class Plugin:\n    def teardown(self):\n        raise OSError('stuck')\n"
    )
    tree.plugin("b", depends_on=["a"], code=FAILING)
    registry.discover(tree.root)
    ctx.extras["error"] = Odd("no")
    with pytest.raises(Odd) as caught:
        await registry.setup_all(ctx)
    assert caught.value.__notes__ == ["besides, the teardown of demo/a raised OSError: stuck"]


async def test_a_second_setup_that_fails_in_the_same_turn_is_noted_on_the_first(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    for name in "ab":
        tree.plugin(
            name,
            code=f"""
            class Plugin:
                async def setup(self, ctx):
                    raise OSError("{name}")
            """,
        )
    registry.discover(tree.root)
    with pytest.raises(OSError, match="a") as caught:
        await registry.setup_all(ctx)
    assert caught.value.__notes__ == ["besides, the setup of demo/b raised OSError: b"]


async def test_one_kind_and_name_is_one_object_always(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    tree.plugin("one")
    registry.discover(tree.root)
    before = registry.get_plugin("demo", name="one")
    await registry.setup_all(ctx)
    assert registry.get_plugin("demo", "one") is before
    assert registry.get_plugin("demo") is before
    assert registry.resolve("one") is before
    await registry.teardown_all()
    assert registry.get_plugin("demo", "one") is before
    assert unwrap(before) is unwrap(registry.resolve("one"))


async def test_errors_of_several_teardowns_are_collected_and_stop_nothing(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a")
    for name, define in {"b": "def", "c": "async def"}.items():
        tree.plugin(
            name,
            depends_on=["a"],
            code=f"""
            class Plugin:
                {define} teardown(self):
                    raise OSError("{name} stuck")
            """,
        )
    registry.discover(tree.root)
    await registry.setup_all(ctx)
    with pytest.raises(TeardownErrors) as caught:
        await registry.teardown_all()
    assert sorted(str(error) for error in caught.value.errors) == ["b stuck", "c stuck"]
    assert {ref.name for ref, _ in caught.value.failures} == {"b", "c"}
    assert journal == ["setup a 1", "teardown a 1"]
    await registry.setup_all(ctx)
    assert registry.is_set_up
    with pytest.raises(TeardownErrors):
        await registry.teardown_all()


async def test_two_calls_of_setup_all_at_once_set_up_once(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    for name in "ab":
        tree.plugin(name, code=AWAITING.format(name=name, turns=3))
    registry.discover(tree.root)
    async with anyio.create_task_group() as group:
        group.start_soon(registry.setup_all, ctx)
        group.start_soon(registry.setup_all, ctx)
    assert journal == ["setup a", "setup b"]
    async with anyio.create_task_group() as group:
        group.start_soon(registry.teardown_all)
        group.start_soon(registry.teardown_all)
    assert journal == ["setup a", "setup b", "teardown b", "teardown a"]


async def test_a_host_that_is_being_cancelled_can_tear_down(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a", code=AWAITING.format(name="a", turns=3))
    registry.discover(tree.root)
    with anyio.CancelScope() as scope:
        await registry.setup_all(ctx)
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            await registry.teardown_all()
    assert journal == ["setup a", "teardown a"]


class Slow:
    """Its teardown waits to be let go on."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name, self.journal = name, journal
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def teardown(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.journal.append(f"teardown {self.name}")


async def cancel_in_teardown(call: Coroutine[Any, Any, None], plugins: list[Slow]) -> None:
    """As `asyncio.wait_for` does it, which no shielded scope holds back."""
    task = asyncio.create_task(call)
    await plugins[-1].begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    for each in plugins:
        each.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("fails", [False, True], ids=["teardown_all", "a setup that failed"])
async def test_a_teardown_that_asyncio_cancels_goes_on_to_its_end(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    journal: list[str],
    fails: bool,
) -> None:
    class Failing:
        def setup(self, ctx: PluginContext) -> None:
            if fails:
                raise LookupError

    plugins = [Slow(name, journal) for name in ("a", "b", "c")]
    for each in plugins:
        put(each, each.name)
    put(Failing(), "last", depends_on=["a", "b", "c"])
    if fails:
        await cancel_in_teardown(registry.setup_all(ctx), plugins)
    else:
        await registry.setup_all(ctx)
        await cancel_in_teardown(registry.teardown_all(), plugins)
    assert journal == ["teardown c", "teardown b", "teardown a"]
    left = {each.state for each in registry.statuses().values()}
    assert left == {State.LOADED if fails else State.STOPPED}


async def test_ctrl_c_in_a_setup_tears_down_what_was_up(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("a")
    tree.plugin(
        "b",
        depends_on=["a"],
        code="class Plugin:\n    def setup(self, ctx):\n        raise KeyboardInterrupt\n",
    )
    registry.discover(tree.root)
    with pytest.raises(KeyboardInterrupt):
        await registry.setup_all(ctx)
    assert journal == ["setup a 1", "teardown a 1"]
    assert {each.state for each in registry.statuses().values()} == {State.LOADED}
