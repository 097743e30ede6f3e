"""What a plugin owns through its context, on both event loops."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import (
    PluginContext,
    PluginRef,
    PluginRegistry,
    SetupTimeout,
    State,
    TeardownErrors,
    TeardownTimeout,
)
from dagstack_dev.core.events import Fact, TeardownFailed
from dagstack_dev.core.lifecycle import Stage
from dagstack_dev.host.life.instance import PluginInstance

Put = Callable[..., Any]
Run = Callable[[Callable[[], Awaitable[None]]], None]

REF = PluginRef("demo", "it")
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's `main` on one of the event loops."""
    return partial(anyio.run, backend=request.param)


class Told:
    """What plugins did, in order; `until` waits for it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __call__(self, what: str) -> None:
        self.log.append(what)

    async def until(self, what: str) -> None:
        with anyio.fail_after(GUARD_SECONDS):
            while what not in self.log:
                await anyio.sleep(0.001)


@pytest.fixture
def told() -> Told:
    return Told()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        while not condition():
            await anyio.sleep(0.001)


class Plugin:
    """Its setup is the function that a test gives it."""

    def __init__(self, told: Told, acquire: Callable[[PluginContext], None]) -> None:
        self.told = told
        self.acquire = acquire

    def setup(self, ctx: PluginContext) -> None:
        self.ctx = ctx
        self.acquire(ctx)

    def teardown(self) -> None:
        self.told("teardown")


class AsyncPlugin:
    def __init__(self, told: Told, acquire: Callable[[PluginContext], Awaitable[None]]) -> None:
        self.told = told
        self.acquire = acquire

    async def setup(self, ctx: PluginContext) -> None:
        self.ctx = ctx
        await self.acquire(ctx)

    async def teardown(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.told("teardown")


async def ticking(told: Told, name: str = "task") -> None:
    told(f"{name} runs")
    try:
        await anyio.sleep_forever()
    finally:
        told(f"{name} ends")


def serving(stop: threading.Event, told: Told) -> None:
    told("thread runs")
    stop.wait(GUARD_SECONDS)
    told("thread ends")


@contextmanager
def entered(told: Told, name: str = "manager") -> Iterator[str]:
    told(f"{name} entered")
    try:
        yield name
    except BaseException as error:
        told(f"{name} sees {type(error).__name__}")
        raise
    finally:
        told(f"{name} left")


@asynccontextmanager
async def session(told: Told) -> AsyncIterator[str]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        told("session entered")
        yield "the session"
        told("session left")
        group.cancel_scope.cancel()


async def say_later(told: Told, what: str) -> None:
    await anyio.lowlevel.checkpoint()
    told(what)


EVERYTHING_UNDONE = [
    "teardown",
    "async callback",
    "thread ends",
    "task ends",
    "manager left",
    "callback",
]


def acquire_everything(told: Told, ctx: PluginContext) -> None:
    ctx.callback(told, "callback")
    assert ctx.enter(entered(told)) == "manager"
    ctx.start_soon(ticking, told)
    ctx.run_thread(serving, told)
    ctx.callback(say_later, told, what="async callback")


@pytest.mark.parametrize("execution_model", ["sync", "thread_cpu_bound"])
def test_everything_is_undone_in_reverse_order_after_a_plain_teardown(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    execution_model: str,
) -> None:
    put(Plugin(told, partial(acquire_everything, told)), execution_model=execution_model)

    async def main() -> None:
        await registry.setup_all(ctx)
        await told.until("task runs")
        await told.until("thread runs")
        told.log.clear()
        await registry.teardown_all()

    run(main)
    assert told.log == EVERYTHING_UNDONE
    assert "serving" not in {thread.name for thread in threading.enumerate()}


def test_everything_is_undone_in_reverse_order_after_an_asynchronous_teardown(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    async def acquire(ctx: PluginContext) -> None:
        assert await ctx.enter_async(session(told)) == "the session"
        acquire_everything(told, ctx)

    put(AsyncPlugin(told, acquire))

    async def main() -> None:
        await registry.setup_all(ctx)
        await told.until("task runs")
        await told.until("thread runs")
        told.log.clear()
        await registry.teardown_all()

    run(main)
    assert told.log == [*EVERYTHING_UNDONE, "session left"]


def test_jobs_that_end_by_themselves_are_forgotten(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    plugin = Plugin(told, lambda ctx: None)
    put(plugin)

    async def main() -> None:
        await registry.setup_all(ctx)
        for number in range(100):
            plugin.ctx.start_soon(say_later, told, str(number))
            plugin.ctx.run_thread(lambda _: None)
        await told.until("99")
        scope = plugin.ctx._owner.scope
        await until(lambda: not scope._owned)
        await registry.teardown_all()

    run(main)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_setup_that_fails_is_undone_and_managers_get_its_failure(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    is_async: bool,
) -> None:
    failure = LookupError("no")

    def fail(ctx: PluginContext) -> None:
        ctx.start_soon(ticking, told)
        ctx.enter(entered(told))
        raise failure

    async def fail_later(ctx: PluginContext) -> None:
        await ctx.enter_async(session(told))
        await ctx.enter_async(anyio.create_task_group())
        fail(ctx)

    put(AsyncPlugin(told, fail_later) if is_async else Plugin(told, fail))

    async def main() -> None:
        with pytest.raises(LookupError) as caught:
            await registry.setup_all(ctx)
        assert caught.value is failure
        assert not hasattr(failure, "__notes__")

    run(main)
    seen = told.log.index("manager sees LookupError")
    assert told.log[seen + 1] == "manager left"
    assert ("session entered" in told.log) is is_async


def test_a_setup_that_runs_out_of_time_is_named_with_its_line_and_undone(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    async def hang(ctx: PluginContext) -> None:
        ctx.callback(say_later, told, "in good order")
        ctx.start_soon(ticking, told)
        await anyio.sleep_forever()

    put(AsyncPlugin(told, hang), startup_timeout_sec=1)

    async def main() -> None:
        with pytest.raises(SetupTimeout, match=r"held up by setup\(\) at .*test_scope.py:\d+;"):
            await registry.setup_all(ctx)

    run(main)
    assert told.log == ["task runs", "task ends", "in good order"]


def test_a_host_that_is_cancelled_undoes_the_setup_under_way(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    async def hang(ctx: PluginContext) -> None:
        ctx.callback(say_later, told, "in good order")
        await ctx.enter_async(anyio.create_task_group())
        told("hangs")
        await anyio.sleep_forever()

    put(AsyncPlugin(told, hang))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(registry.setup_all, ctx)
            await told.until("hangs")
            group.cancel_scope.cancel()

    run(main)
    assert told.log == ["hangs", "in good order"]


def test_what_another_plugin_owns_is_undone_when_a_setup_fails(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    def fail(ctx: PluginContext) -> None:
        raise LookupError("no")

    put(Plugin(told, partial(acquire_everything, told)), "base")
    put(Plugin(told, fail), "failing", depends_on=["base"])

    async def main() -> None:
        with pytest.raises(LookupError):
            await registry.setup_all(ctx)

    run(main)
    assert told.log[-2:] == ["manager left", "callback"]


def test_entering_a_manager_that_fails_raises_there_and_may_be_survived(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    @asynccontextmanager
    async def refusing() -> AsyncIterator[None]:
        if told.log == []:
            raise LookupError("refused")
        yield

    async def acquire(ctx: PluginContext) -> None:
        with pytest.raises(LookupError, match="refused"):
            await ctx.enter_async(refusing())
        odd: Any = anyio.create_task_group()
        with pytest.raises(TypeError, match=r"asynchronous .*; write: await ctx\.enter_async\("):
            ctx.enter(odd)
        odd = anyio.CancelScope()
        with pytest.raises(TypeError, match=r"no asynchronous .*; write: ctx\.enter\("):
            await ctx.enter_async(odd)
        with pytest.raises(TypeError, match="context manager"):
            await ctx.enter_async(object())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="context manager"):
            ctx.enter(object())  # type: ignore[arg-type]
        with anyio.move_on_after(0.01):
            await ctx.enter_async(never())
        told("goes on")

    @asynccontextmanager
    async def never() -> AsyncIterator[None]:
        await anyio.sleep_forever()
        yield

    put(AsyncPlugin(told, acquire))

    async def main() -> None:
        await registry.setup_all(ctx)
        assert registry.statuses()[REF].state is State.READY
        await registry.teardown_all()

    run(main)
    assert told.log == ["goes on", "teardown"]


async def bang(fuse: anyio.Event) -> None:
    await fuse.wait()
    raise LookupError("bang")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_background_task_that_raises_tears_the_plugin_down_and_makes_it_failed(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    facts: list[Fact],
    is_async: bool,
) -> None:
    async def main() -> None:
        fuse = anyio.Event()

        def acquire(ctx: PluginContext) -> None:
            ctx.enter(entered(told))
            ctx.start_soon(bang, fuse, name="bomb")

        async def acquire_later(ctx: PluginContext) -> None:
            acquire(ctx)

        put(AsyncPlugin(told, acquire_later) if is_async else Plugin(told, acquire))
        await registry.setup_all(ctx)
        fuse.set()
        await until(lambda: registry.statuses()[REF].state is State.FAILED)
        status = registry.statuses()[REF]
        assert status.stage is Stage.RUN
        assert isinstance(status.error, LookupError)
        assert status.error.__notes__ == ["raised in background task 'bomb'"]
        assert told.log == [
            "manager entered",
            "teardown",
            "manager sees LookupError",
            "manager left",
        ]
        with pytest.raises(TeardownErrors) as caught:
            await registry.teardown_all()
        assert caught.value.failures == ((REF, status.error),)

    run(main)
    assert not [fact for fact in facts if isinstance(fact, TeardownFailed)]


@pytest.mark.parametrize("where", ["thread", "group"])
def test_a_thread_or_a_task_group_that_fails_makes_the_plugin_failed_too(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told, where: str
) -> None:
    async def main() -> None:
        fuse = anyio.Event()

        def burst(stop: threading.Event) -> None:
            anyio.from_thread.run(fuse.wait, token=token)
            raise LookupError("bang")

        async def acquire(ctx: PluginContext) -> None:
            if where == "thread":
                ctx.run_thread(burst)
            else:
                group = await ctx.enter_async(anyio.create_task_group())
                group.start_soon(bang, fuse)

        token = anyio.lowlevel.current_token()
        put(AsyncPlugin(told, acquire))
        await registry.setup_all(ctx)
        fuse.set()
        await until(lambda: registry.statuses()[REF].state is State.FAILED)
        assert "bang" in repr(registry.statuses()[REF].error)
        with pytest.raises(TeardownErrors):
            await registry.teardown_all()

    run(main)
    assert told.log == ["teardown"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
async def test_a_thread_that_ends_with_an_interruption_says_nothing_of_the_loop(
    registry: PluginRegistry, ctx: PluginContext, put: Put, error: type[BaseException]
) -> None:
    contexts: list[PluginContext] = []
    fuse = threading.Event()

    class Plugin:
        async def setup(self, ctx: PluginContext) -> None:
            contexts.append(ctx)
            ctx.run_thread(self.end)

        def end(self, stop: threading.Event) -> None:
            fuse.wait()
            raise error

    put(Plugin())
    await registry.setup_all(ctx)
    fuse.set()
    await until(lambda: not contexts[0].in_flight())
    assert registry.statuses()[REF].state is State.READY
    await registry.teardown_all()


def test_a_background_task_that_raises_during_the_setup_makes_the_setup_fail(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    async def main() -> None:
        fuse = anyio.Event()
        fuse.set()

        async def acquire(ctx: PluginContext) -> None:
            ctx.callback(told, "callback")
            ctx.start_soon(bang, fuse)
            await anyio.sleep_forever()

        put(AsyncPlugin(told, acquire))
        with pytest.raises(LookupError, match="bang"):
            await registry.setup_all(ctx)

    run(main)
    assert told.log == ["callback"]


def test_a_teardown_that_meets_a_crash_waits_for_it_and_reports_it_once(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    facts: list[Fact],
) -> None:
    async def main() -> None:
        fuse, go_on = anyio.Event(), anyio.Event()

        class Slow(AsyncPlugin):
            async def teardown(self) -> None:
                told("tearing down")
                await go_on.wait()

        async def acquire(ctx: PluginContext) -> None:
            ctx.start_soon(bang, fuse)

        put(Slow(told, acquire))
        await registry.setup_all(ctx)
        fuse.set()
        await told.until("tearing down")
        async with anyio.create_task_group() as group:
            group.start_soon(expect_one_failure)
            await until(lambda: registry.statuses()[REF].state is State.TEARING_DOWN)
            go_on.set()

    async def expect_one_failure() -> None:
        with pytest.raises(TeardownErrors) as caught:
            await registry.teardown_all()
        assert [str(error) for error in caught.value.errors] == ["bang"]

    run(main)
    assert told.log == ["tearing down"]
    assert len([fact for fact in facts if isinstance(fact, TeardownFailed)]) == 1


def test_errors_in_undoing_are_each_reported_and_stop_nothing(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    facts: list[Fact],
) -> None:
    def refuse(what: str) -> None:
        raise LookupError(what)

    async def refuse_later(what: str) -> None:
        raise LookupError(what)

    async def sulk() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("task")

    class Refusing(Plugin):
        def teardown(self) -> None:
            refuse("teardown")

    def acquire(ctx: PluginContext) -> None:
        ctx.callback(told, "first")
        ctx.callback(refuse, "callback")
        ctx.start_soon(sulk)
        ctx.callback(refuse_later, "async callback")

    put(Refusing(told, acquire))

    async def main() -> None:
        await registry.setup_all(ctx)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TeardownErrors) as caught:
            await registry.teardown_all()
        assert [str(error) for error in caught.value.errors] == [
            "teardown",
            "async callback",
            "task",
            "callback",
        ]
        assert "raised in background task" in caught.value.errors[2].__notes__[0]

    run(main)
    assert told.log == ["first"]
    assert len([fact for fact in facts if isinstance(fact, TeardownFailed)]) == 4


def test_what_does_not_end_in_time_is_named_with_its_line_and_the_rest_is_undone(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PluginInstance, "grace_seconds", 0.1)
    release = threading.Event()

    def deaf(stop: threading.Event) -> None:
        release.wait(GUARD_SECONDS)

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            while not release.is_set():
                await anyio.sleep(0.01)

    def acquire(ctx: PluginContext) -> None:
        ctx.callback(told, "callback")
        ctx.start_soon(stubborn)
        ctx.run_thread(deaf, name="deaf one")

    put(Plugin(told, acquire), teardown_timeout_sec=1)

    async def main() -> None:
        await registry.setup_all(ctx)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TeardownErrors) as caught:
            await registry.teardown_all()
        release.set()
        (error,) = caught.value.errors
        assert isinstance(error, TeardownTimeout)
        first, second = error.unfinished
        assert (first.what, second.what) == ("thread 'deaf one'", f"background task '{NAME}'")
        assert error.path == first.path
        assert error.path is not None
        assert second.path == __file__

    NAME = stubborn.__name__  # noqa: N806 - a constant, in its place
    try:
        run(main)
    finally:
        release.set()
    assert told.log == ["teardown", "callback"]


def test_undoing_has_the_time_that_the_teardown_left_and_some_grace(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    class Hanging(AsyncPlugin):
        async def teardown(self) -> None:
            await anyio.sleep_forever()

    async def acquire(ctx: PluginContext) -> None:
        ctx.callback(say_later, told, "in good order")

    put(Hanging(told, acquire), teardown_timeout_sec=1)

    async def main() -> None:
        await registry.setup_all(ctx)
        with pytest.raises(TeardownErrors) as caught:
            await registry.teardown_all()
        (error,) = caught.value.errors
        assert "held up by teardown() at " in str(error)

    run(main)
    assert told.log == ["in good order"]


def test_using_the_context_when_the_plugin_is_gone_raises(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    users = {name: Plugin(told, lambda ctx: None) for name in ("never", "once")}
    for name, plugin in users.items():
        put(plugin, name)

    async def main() -> None:
        await registry.setup_all(ctx)
        users["once"].ctx.callback(told, "callback")
        kept = users["once"].ctx._owner.scope
        await registry.teardown_all()
        for plugin in users.values():
            for use in (
                partial(plugin.ctx.callback, print),
                partial(plugin.ctx.start_soon, anyio.sleep_forever),
                partial(plugin.ctx.run_thread, print),
                partial(plugin.ctx.enter, entered(told)),
            ):
                with pytest.raises(RuntimeError, match="torn down owns nothing any more"):
                    use()
            with pytest.raises(RuntimeError, match="torn down owns nothing any more"):
                await plugin.ctx.enter_async(session(told))
        with pytest.raises(RuntimeError, match="torn down owns nothing any more"):
            kept.callback(print)

    run(main)
    assert told.log == ["teardown", "callback", "teardown"]


def test_a_thread_of_the_plugins_own_may_be_the_first_to_use_the_context(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    def acquire(ctx: PluginContext) -> None:
        def use() -> None:
            ctx.callback(told, "callback")
            told("used")

        threading.Thread(target=use).start()

    put(Plugin(told, acquire))

    async def main() -> None:
        await registry.setup_all(ctx)
        await told.until("used")
        await registry.teardown_all()

    run(main)
    assert told.log == ["used", "teardown", "callback"]


def test_a_thread_that_uses_the_context_after_its_stop_gets_an_error_that_says_why(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    def late(stop: threading.Event) -> None:
        stop.wait(GUARD_SECONDS)
        with pytest.raises(RuntimeError, match="torn down owns nothing any more"):
            plugin.ctx.callback(told, "too late")
        told("thread ends")

    plugin = Plugin(told, lambda ctx: ctx.run_thread(late))
    put(plugin)

    async def main() -> None:
        await registry.setup_all(ctx)
        await registry.teardown_all()

    run(main)
    assert told.log == ["teardown", "thread ends"]


def test_a_context_that_is_kept_does_not_keep_the_plugin(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    plugin = Plugin(told, lambda ctx: ctx.start_soon(ticking, told))
    put(plugin)

    async def main() -> None:
        await registry.setup_all(ctx)
        await registry.teardown_all()
        owner = plugin.ctx.owner
        assert owner is not None
        assert plugin not in [getattr(each, "__self__", each) for each in vars(owner).values()]

    run(main)


def test_the_hosts_own_context_owns_nothing(ctx: PluginContext) -> None:
    for use in (
        partial(ctx.callback, print),
        partial(ctx.start_soon, anyio.sleep_forever),
        partial(ctx.run_thread, print),
        lambda: ctx.carry,
    ):
        with pytest.raises(RuntimeError, match="belongs to the host"):
            use()


def test_a_plugin_that_owns_nothing_has_no_scope(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    plugin = Plugin(told, lambda ctx: None)
    put(plugin)

    async def main() -> None:
        await registry.setup_all(ctx)
        assert isinstance(plugin.ctx.owner, PluginInstance)
        assert plugin.ctx.owner._owned is None
        await registry.teardown_all()

    run(main)


def test_a_plain_function_given_to_start_soon_is_refused_with_what_to_do(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    put(Plugin(told, lambda ctx: ctx.start_soon(lambda: None)))  # type: ignore[arg-type,return-value]

    async def main() -> None:
        await registry.setup_all(ctx)
        await until(lambda: registry.statuses()[REF].state is State.FAILED)
        assert "use run_thread" in str(registry.statuses()[REF].error)
        with pytest.raises(TeardownErrors):
            await registry.teardown_all()

    run(main)


@pytest.mark.parametrize("is_async", [False, True])
def test_managers_are_left_in_the_context_variables_that_they_were_entered_in(
    registry: PluginRegistry,
    ctx: PluginContext,
    put: Put,
    run: Run,
    told: Told,
    is_async: bool,
) -> None:
    @contextmanager
    def painted() -> Iterator[None]:
        token = colour.set("red")
        yield
        told(f"was {colour.get()}")
        colour.reset(token)

    async def acquire(ctx: PluginContext) -> None:
        ctx.enter(painted())

    plugin = AsyncPlugin(told, acquire) if is_async else Plugin(told, lambda c: c.enter(painted()))
    put(plugin)

    async def main() -> None:
        await registry.setup_all(ctx)
        await registry.teardown_all()

    run(main)
    assert told.log == ["teardown", "was red"]


def test_variables_that_a_setup_in_a_thread_sets_are_there_in_an_asynchronous_teardown(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    class Painter:
        def setup(self, ctx: PluginContext) -> None:
            colour.set("green")

        async def teardown(self) -> None:
            told(colour.get())

    put(Painter(), execution_model="thread_cpu_bound")

    async def main() -> None:
        await registry.setup_all(ctx)
        await registry.teardown_all()

    run(main)
    assert told.log == ["green"]


def test_a_thread_that_a_plugin_owns_may_use_the_context(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    def work(stop: threading.Event, ctx: PluginContext) -> None:
        ctx.callback(told, "callback")
        ctx.start_soon(ticking, told)
        with pytest.raises(RuntimeError, match="from_thread"):
            ctx.enter_async(session(told)).send(None)
        told("done")

    put(Plugin(told, lambda ctx: ctx.run_thread(work, ctx)))

    async def main() -> None:
        await registry.setup_all(ctx)
        await told.until("done")
        await told.until("task runs")
        await registry.teardown_all()

    run(main)
    assert told.log[-3:] == ["teardown", "task ends", "callback"]


def test_a_setup_in_a_thread_may_enter_asynchronous_managers(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    def acquire(ctx: PluginContext) -> None:
        assert anyio.from_thread.run(ctx.enter_async, session(told)) == "the session"

    put(Plugin(told, acquire), execution_model="thread_cpu_bound")

    async def main() -> None:
        await registry.setup_all(ctx)
        await registry.teardown_all()

    run(main)
    assert told.log == ["session entered", "teardown", "session left"]


def test_plain_functions_of_a_threaded_plugin_are_undone_in_threads(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    seen: list[threading.Thread] = []

    def acquire(ctx: PluginContext) -> None:
        ctx.callback(lambda: seen.append(threading.current_thread()))

    put(Plugin(told, acquire), execution_model="thread_cpu_bound")

    async def main() -> None:
        await registry.setup_all(ctx)
        await registry.teardown_all()

    run(main)
    assert seen[0] is not threading.main_thread()


def test_a_setup_that_fails_with_a_scope_left_open_does_not_end_the_program(
    registry: PluginRegistry, ctx: PluginContext, put: Put, run: Run, told: Told
) -> None:
    async def acquire(ctx: PluginContext) -> None:
        group = await anyio.create_task_group().__aenter__()
        group.start_soon(ticking, told)
        await told.until("task runs")
        raise LookupError("left open")

    put(AsyncPlugin(told, acquire))

    async def main() -> None:
        with pytest.raises(LookupError, match="left open"):
            await registry.setup_all(ctx)
        await told.until("task ends")

    run(main)
