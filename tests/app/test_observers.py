"""Observers, loggers and sinks of the app that raise: they are reported, and stop nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import anyio
import pytest
import structlog
from serving import context, make_live, ref, serving
from trees import PluginTree

from dagstack_dev import InMemoryEventBus, NoOpProgressSink, PluginRegistry
from dagstack_dev.core.events import Fact, ReloadCommitted, WatchStopped
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.services import loggers
from dagstack_dev.host.services.guarding import Guard
from dagstack_dev.runtimes.mcp.server_log import ServerLog
from dagstack_dev.runtimes.process.logs import log_here

RAISED = [OSError("no reader"), asyncio.CancelledError(), RecursionError(), AssertionError()]


def broken_processor(*_: object) -> Any:
    raise BrokenPipeError("nobody reads")


@pytest.mark.parametrize("error", RAISED, ids=lambda each: type(each).__name__)
async def test_an_observer_that_raises_is_reported_once_and_everything_goes_on(
    tree: PluginTree, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    def observe(_: Fact) -> None:
        raise error

    tree.plugin("base")
    registry = PluginRegistry(observer=observe)
    live = make_live(tree, registry=registry)
    async with live.server:
        tree.plugin("base", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("base").value() == 2
    assert live.journal[-1] == "teardown base 2"
    assert isinstance(live.facts[-1], WatchStopped)
    told = capsys.readouterr().err
    assert told.count("dagstack-dev: ") == 1
    assert "the observer test_an_observer_that_raises" in told
    assert "raise error" in told  # Where it comes from is shown,
    assert "guarding.py" not in told  # but not what has called it.


async def test_a_structlog_processor_that_raises_is_reported_once_and_everything_goes_on(
    tree: PluginTree, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.configure(processors=[broken_processor])
    tree.plugin("base")
    async with serving(tree) as live:
        tree.plugin("base", value=2)
        await live.settle()
        assert live.plugin("base").value() == 2
    assert live.journal[-1] == "teardown base 2"
    assert capsys.readouterr().err.count("BrokenPipeError: nobody reads") == 1


async def test_each_observer_is_reported_by_itself(
    tree: PluginTree, capsys: pytest.CaptureFixture[str]
) -> None:
    def one(_: Fact) -> None:
        raise ValueError("one")

    class Other:
        def __call__(self, _: Fact) -> None:
            raise ValueError("other")

    registry = PluginRegistry(observer=one)
    registry.observe(Other())
    tree.plugin("base")
    registry.discover(tree.root)
    told = capsys.readouterr().err
    assert told.count("ValueError: one") == told.count("ValueError: other") == 1
    assert "the observer Other raised" not in told  # It is named in full.
    assert ".Other raised" in told


async def test_an_observer_that_fails_is_not_reported_where_there_is_no_stderr(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.plugin("base")
    monkeypatch.setattr("sys.stderr", None)
    registry = PluginRegistry(observer=broken_processor)
    async with serving(tree, registry=registry) as live:
        assert live.state("base") is State.READY


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_means_the_whole_program_goes_through(
    tree: PluginTree, kind: type[BaseException]
) -> None:
    def observe(_: Fact) -> None:
        raise kind

    tree.plugin("base")
    registry = PluginRegistry().discover(tree.root)
    registry.observe(observe)
    with pytest.raises(kind):
        asyncio.run(registry.setup_all(context(registry=registry)))


class BrokenLogger:
    """Like one of structlog whose processors raise."""

    def bind(self, **_: object) -> BrokenLogger:
        return self

    def __getattr__(self, name: str) -> Any:
        return broken_processor


LISTENER = """
class Plugin:
    async def setup(self, ctx):
        self.heard = ctx.extras["heard"]
        await ctx.event_bus.subscribe("news", self.hear)

    def hear(self, payload):
        self.heard.append(payload)
        raise ValueError("a handler with a bug")
"""


async def test_a_logger_of_the_app_that_raises_costs_no_subscription_and_no_plugin(
    tree: PluginTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "_LOGGERS", Guard("a logger of the app"))
    tree.plugin("listener", code=LISTENER)
    registry = PluginRegistry().discover(tree.root)
    bus = InMemoryEventBus(logger=BrokenLogger())
    heard: list[object] = []
    of_host: list[object] = []

    def hear(payload: dict[str, Any]) -> None:
        of_host.append(payload)
        raise ValueError("another")

    ctx = context(registry=registry, heard=heard)
    await bus.subscribe("news", hear)
    await registry.setup_all(replace(ctx, logger=BrokenLogger(), event_bus=bus))
    for number in range(2):
        await bus.publish("news", {"number": number})
        await anyio.wait_all_tasks_blocked()
    assert len(heard) == len(of_host) == 2
    assert registry.statuses()[ref("listener")].state is State.READY
    await registry.teardown_all()
    assert capsys.readouterr().err.count("a logger of the app raised") == 1


async def test_a_sink_that_makes_no_logger_of_its_own_fails_no_setup(tree: PluginTree) -> None:
    class Sink(NoOpProgressSink):
        with_logger = staticmethod(broken_processor)

    code = "class Plugin:\n    def setup(self, ctx): ctx.progress.done()\n"
    tree.plugin("base", code=code)
    registry = PluginRegistry().discover(tree.root)
    await registry.setup_all(replace(context(registry=registry), progress=Sink()))
    await registry.teardown_all()


def test_a_log_call_from_another_process_is_lost_with_a_logger_that_raises() -> None:
    log_here(b"", BrokenLogger(), None, ref("base"))


def test_what_a_server_says_is_lost_with_a_logger_that_raises() -> None:
    log = ServerLog(BrokenLogger())
    log.say("a line")
    log.message("warning", None, "a message")
