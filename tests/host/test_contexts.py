"""Context variables, worker threads, and the line that blocks the loop."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
import structlog
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRef, PluginRegistry
from dagstack_dev.core.events import Fact, PluginBlocking
from dagstack_dev.host.calls.current import current_plugin

word: ContextVar[str] = ContextVar("word", default="unset")


class Sync:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.threads: list[int] = []

    def setup(self, ctx: PluginContext) -> None:
        self.threads.append(threading.get_ident())
        word.set("set in setup")

    def teardown(self) -> None:
        self.threads.append(threading.get_ident())
        self.seen += [word.get(), str(current_plugin.get())]
        self.seen.append(structlog.contextvars.get_contextvars()["plugin"])


class Async(Sync):
    async def setup(self, ctx: PluginContext) -> None:  # type: ignore[override]
        Sync.setup(self, ctx)

    async def teardown(self) -> None:  # type: ignore[override]
        Sync.teardown(self)


class SyncThenAsync(Sync):
    async def teardown(self) -> None:  # type: ignore[override]
        Sync.teardown(self)


class SetupReturnsAwaitable(Sync):
    def setup(self, ctx: PluginContext) -> Awaitable[None]:  # type: ignore[override]
        Sync.setup(self, ctx)
        return self.more()

    async def more(self) -> None:
        assert word.get() == "set in setup"


class TeardownReturnsAwaitable(Sync):
    def teardown(self) -> Awaitable[None]:  # type: ignore[override]
        return self.more()

    async def more(self) -> None:
        Sync.teardown(self)


@pytest.mark.parametrize(
    ("plugin", "model"),
    [
        (Sync, "sync"),
        (Async, "async"),
        (SyncThenAsync, "sync"),
        (SetupReturnsAwaitable, "sync"),
        (TeardownReturnsAwaitable, "sync"),
        (Sync, "thread_cpu_bound"),
    ],
)
async def test_what_setup_puts_into_context_variables_teardown_sees(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    plugin: type[Sync],
    model: str,
) -> None:
    it = plugin()
    put(it, execution_model=model)
    await registry.setup_all(ctx)
    assert word.get() == "unset"
    await registry.teardown_all()
    assert it.seen == ["set in setup", "demo/it", "demo/it"]
    assert current_plugin.get() is None


@pytest.mark.parametrize(("model", "elsewhere"), [("sync", False), ("thread_cpu_bound", True)])
async def test_thread_cpu_bound_runs_sync_methods_in_a_worker_thread(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Callable[..., Any],
    model: str,
    elsewhere: bool,
) -> None:
    it = Sync()
    put(it, execution_model=model)
    await registry.setup_all(ctx)
    await registry.teardown_all()
    assert len(it.threads) == 2
    assert all((each != threading.get_ident()) is elsewhere for each in it.threads)


async def test_a_failure_in_a_worker_thread_is_raised_as_it_is(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any]
) -> None:
    error = LookupError("no")

    class Plugin:
        def setup(self, ctx: PluginContext) -> None:
            raise error

    put(Plugin(), execution_model="thread_cpu_bound")
    with pytest.raises(LookupError) as caught:
        await registry.setup_all(ctx)
    assert caught.value is error


@pytest.mark.parametrize("method", ["import", "setup", "teardown"])
async def test_a_method_that_blocks_the_loop_is_named_while_it_still_blocks(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, method: str
) -> None:
    """The plugin blocks until it has been named; it could not go on otherwise."""
    named = threading.Event()
    told: list[PluginBlocking] = []

    def observe(fact: Fact) -> None:
        if isinstance(fact, PluginBlocking):
            told.append(fact)
            named.set()

    registry.observe(observe)
    tree.plugin(
        "slow",
        code=f"""
        import threading
        def block():
            for thread in threading.enumerate():
                wait = getattr(thread, "wait_until_named", None)
                if wait is not None:
                    assert wait(60)
        class Plugin:
            def setup(self, ctx):
                if {method!r} == "setup":
                    block()
            def teardown(self):
                if {method!r} == "teardown":
                    block()
        if {method!r} == "import":
            block()
        """,
    )
    threading.current_thread().wait_until_named = named.wait  # type: ignore[attr-defined]
    try:
        registry.discover(tree.root)
        await registry.setup_all(ctx)
        await registry.teardown_all()
    finally:
        del threading.current_thread().wait_until_named  # type: ignore[attr-defined]
    [fact] = told
    assert (fact.ref, fact.method) == (PluginRef("demo", "slow"), method)
    assert fact.path == str(tree.root / "slow/plugin.py")
    assert fact.line == 7
    assert fact.seconds >= 1
