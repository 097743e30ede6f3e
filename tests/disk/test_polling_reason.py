"""When file events are not to be had, the watch polls and says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import structlog
from trees import PluginTree

from dagstack_dev import DevServer, ReloadCommitted, WatchProblem
from dagstack_dev.disk.sweep import reason_to_poll


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_the_variable_of_watchfiles_is_honoured(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
    assert reason_to_poll() == "WATCHFILES_FORCE_POLLING is set"


def test_the_variable_can_also_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "false")
    assert reason_to_poll() is None


def test_wsl_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHFILES_FORCE_POLLING", raising=False)
    monkeypatch.setattr("platform.release", lambda: "6.6.1-microsoft-standard-WSL2")
    assert "WSL" in (reason_to_poll() or "")


async def test_a_system_that_refuses_every_watch_is_polled_instead(
    monkeypatch: pytest.MonkeyPatch, tree: PluginTree
) -> None:
    async def refuse(*_: object, **__: object) -> AsyncGenerator[set[tuple[int, str]], None]:
        raise OSError(28, "OS file watch limit reached")
        yield set()  # type: ignore[unreachable]  # makes it an asynchronous generator

    monkeypatch.setattr("dagstack_dev.disk.watcher.awatch", refuse)
    monkeypatch.setattr("dagstack_dev.disk.watcher.RETRY_SECONDS", 0.01)
    tree.plugin("a")
    async with DevServer(tree.root) as server:
        facts = server.events()
        async for fact in facts:
            if isinstance(fact, WatchProblem) and "looking at intervals" in fact.message:
                assert "OS file watch limit reached" in fact.message
                break
        tree.plugin("a", value=2)
        async for fact in facts:
            if isinstance(fact, ReloadCommitted):
                break
        assert server.registry.get_plugin("demo", "a").value() == 2


async def test_a_server_that_polls_unasked_says_so_and_still_sees_every_edit(
    monkeypatch: pytest.MonkeyPatch,
    tree: PluginTree,
    captured_events: list[structlog.typing.EventDict],
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    tree.plugin("a")
    async with DevServer(tree.root) as server:
        facts = server.events()
        for value in (2, 3):
            tree.plugin("a", value=value)
            async for fact in facts:
                if isinstance(fact, ReloadCommitted):
                    break
            assert server.registry.get_plugin("demo", "a").value() == value
    problems = [event for event in captured_events if event["event"] == "watch.problem"]
    assert ["WATCHFILES_FORCE_POLLING" in event["message"] for event in problems] == [True]
