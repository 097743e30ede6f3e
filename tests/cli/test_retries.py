"""What a person sees of plugins that are tried again, and of those that are not well."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from command_runs import Watching
from facts import CHAT, OPENAI, timeless, transition
from rich.console import Console
from trees import PluginTree

from dagstack_dev import PluginRegistry
from dagstack_dev.cli.plugin_tree import label
from dagstack_dev.cli.terminal import Terminal
from dagstack_dev.core.errors.life import HealthCheckInvalid, PluginUnhealthy
from dagstack_dev.core.events import (
    Fact,
    PluginDegraded,
    PluginRecovered,
    PluginRequiresRestart,
    PluginRetrying,
    ReloadCommitted,
    ReloadFailed,
    WatchStarted,
)
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.host.plugins.table import TEARDOWN_FALSE

DOWN = ConnectionError("refused")
STARTED = WatchStarted(roots=("/srv/plugins",), plugins=1, ready=0, duration_ms=48.2)
AT_START = transition(State.FAILED, None, error=DOWN, stage=Stage.SETUP, reload_id=None)
FAILED = ReloadFailed(reload_id=2, duration_ms=9.75, affected=(OPENAI,), errors={OPENAI: DOWN})
READY = transition(State.READY, State.SETTING_UP)
Shown = Callable[..., str]


def retrying(attempt: int, seconds: float, *, is_longest: bool = False) -> PluginRetrying:
    return PluginRetrying(
        ref=OPENAI, attempt=attempt, seconds=seconds, error=DOWN, is_longest=is_longest
    )


def registered() -> PluginRegistry:
    registry = PluginRegistry()
    manifest = {"kind": "llm", "core_version": ">=0.1", "runtime": "in_process"}
    registry.register_manifest(
        {**manifest, "name": "openai", "entry_point": "plugin:Plugin"}, object()
    )
    return registry


@pytest.fixture
def show() -> Shown:
    """Let a terminal view see facts; the answer is what it printed."""

    def printed(*facts: Fact) -> str:
        file = StringIO()
        terminal = Terminal(PluginRegistry(), Console(file=file, width=100))
        for fact in facts:
            terminal(fact)
        return timeless(file.getvalue())

    return printed


def test_the_first_failure_is_a_frame_and_the_next_are_lines(show: Shown) -> None:
    start = (AT_START, STARTED, retrying(1, 0.5))
    first = show(*start)
    assert first.count("─ llm/openai failed in setup ─") == 1
    assert first.endswith("  llm/openai: tries again in 0.5 s\n")
    again = show(*start, FAILED, retrying(2, 1.0), FAILED, retrying(3, 2.0))
    assert again == first + ("  llm/openai: tries again in 1 s\n  llm/openai: tries again in 2 s\n")


def test_another_reason_is_reported(show: Shown) -> None:
    other = PluginRetrying(ref=OPENAI, attempt=2, seconds=0.5, error=ConnectionError("reset"))
    start = (AT_START, STARTED, retrying(1, 0.5), FAILED)
    again = show(*start, other).removeprefix(show(*start))
    assert again == "  llm/openai: ConnectionError: reset; tries again in 0.5 s\n"


def test_pauses_that_do_not_grow_are_reported_once(show: Shown) -> None:
    start = (AT_START, STARTED, retrying(1, 0.5), FAILED, retrying(7, 30, is_longest=True))
    once = show(*start)
    assert once.endswith("tries again every 30 s\n")
    assert show(*start, FAILED, retrying(8, 30, is_longest=True)) == once


def test_an_edit_that_fails_too_is_news(show: Shown) -> None:
    up = WatchStarted(roots=(), plugins=1, ready=0, duration_ms=1, polling=False)
    start = (FAILED, retrying(1, 0.5), FAILED, retrying(2, 1.0), up)
    other = PluginRetrying(ref=OPENAI, attempt=1, seconds=0.5, error=ConnectionError("reset"))
    failed = ReloadFailed(
        reload_id=3, duration_ms=9.75, affected=(OPENAI,), errors={OPENAI: other.error}
    )
    edited = show(*start, failed, other).removeprefix(show(*start))
    assert "ConnectionError: reset" in edited
    assert edited.count("─ llm/openai failed ─") == 1
    assert edited.endswith("  llm/openai: tries again in 0.5 s\n")


def test_a_failure_that_does_not_pass_is_framed_though_others_were_not(show: Shown) -> None:
    start = (FAILED, retrying(1, 0.5))
    broken = ReloadFailed(
        reload_id=3, duration_ms=9.75, affected=(OPENAI,), errors={OPENAI: KeyError("token")}
    )
    assert "KeyError" in show(*start, broken).removeprefix(show(*start))


def test_a_failure_after_a_life_is_framed(show: Shown) -> None:
    start = (FAILED, retrying(1, 0.5), READY)
    again = show(*start, FAILED, retrying(2, 1.0)).removeprefix(show(*start))
    assert "llm/openai fails as before: ConnectionError: refused" in again


CRASH = transition(State.FAILED, State.READY, error=DOWN, reload_id=None)
BACK = (READY, ReloadCommitted(reload_id=4, duration_ms=1, changed=(OPENAI,), affected=(OPENAI,)))
AGAIN = "! llm/openai fails as before: ConnectionError: refused\n"


def test_a_plugin_that_comes_up_and_dies_again_is_framed_once(show: Shown) -> None:
    start = (STARTED, CRASH, FAILED, retrying(1, 0.5), *BACK)
    first = show(*start)
    assert first.count("─ llm/openai failed: ") == 1
    again = show(*start, CRASH, FAILED, retrying(2, 1.0)).removeprefix(first)
    assert again == AGAIN + "  llm/openai: tries again in 1 s\n"


@pytest.mark.parametrize("error", [ConnectionError("reset"), KeyError("token")])
def test_a_plugin_that_dies_of_something_else_is_framed(show: Shown, error: Exception) -> None:
    start = (STARTED, CRASH, FAILED, retrying(1, 0.5), *BACK)
    other = transition(State.FAILED, State.READY, error=error, reload_id=None)
    assert "─ llm/openai failed: " in show(*start, other).removeprefix(show(*start))


def test_what_does_not_pass_by_itself_is_framed_each_time(show: Shown) -> None:
    died = transition(State.FAILED, State.READY, error=KeyError("token"), reload_id=None)
    assert show(STARTED, died, *BACK, died).count("─ llm/openai failed: ") == 2


def test_an_edit_or_a_long_life_before_the_same_end_is_news(show: Shown) -> None:
    start = (STARTED, CRASH, FAILED, retrying(1, 0.5), *BACK, CRASH, FAILED)
    anew = show(*start, retrying(1, 0.5)).removeprefix(show(*start))
    assert anew.count("─ llm/openai failed ─") == 1
    assert anew.endswith("  llm/openai: tries again in 0.5 s\n")


def test_the_end_of_another_plugin_of_that_name_is_framed(show: Shown) -> None:
    gone = transition(State.REMOVED, State.FAILED)
    assert show(STARTED, CRASH, gone, *BACK, CRASH).count("─ llm/openai failed: ") == 2


def test_what_is_tried_again_before_the_banner_is_reported_once() -> None:
    file = StringIO()
    terminal = Terminal(registered(), Console(file=file, width=100))
    for fact in (AT_START, retrying(1, 0.5), STARTED):
        terminal(fact)
    assert file.getvalue().endswith("  llm/openai: tries again in 0.5 s\n")
    terminal(READY)
    terminal(STARTED)
    assert file.getvalue().count("tries again") == 1


UNHEALTHY = PluginUnhealthy(OPENAI, "health() returned False")
REMARKS = {
    "degraded": (
        PluginDegraded(ref=OPENAI, generation=1, error=UNHEALTHY),
        "! llm/openai is degraded: health() returned False\n",
    ),
    "wrong name": (
        PluginDegraded(
            ref=OPENAI, generation=1, error=HealthCheckInvalid.missing(OPENAI, "pin", ["ping"])
        ),
        "! llm/openai is degraded: its manifest says health_check = 'pin', but it has no such",
    ),
    "recovered": (
        PluginRecovered(ref=OPENAI, generation=1),
        "✓ llm/openai is healthy again\n",
    ),
    "requires restart": (
        PluginRequiresRestart(ref=OPENAI, generation=1, reason=TEARDOWN_FALSE, reload_id=4),
        "! llm/openai: its teardown returned False, so something of it has stayed; restart",
    ),
}


@pytest.mark.parametrize(("fact", "says"), REMARKS.values(), ids=REMARKS.keys())
def test_a_remark_says_it(show: Shown, fact: Fact, says: str) -> None:
    assert show(fact).startswith(says)


def test_the_tree_says_who_is_degraded_and_who_needs_a_restart() -> None:
    registry = registered()
    table = registry.table
    table.degrade(table.entries[OPENAI], UNHEALTHY)
    table.require_restart(table.entries[OPENAI])
    text = label(registry.statuses()[OPENAI], registry)
    assert text.plain == "llm/openai  loaded, degraded, needs a restart"


def test_a_plugin_that_was_not_healthy_is_framed_with_who_waits(show: Shown) -> None:
    failed = ReloadFailed(
        reload_id=2, duration_ms=9.75, affected=(OPENAI, CHAT), errors={OPENAI: UNHEALTHY}
    )
    blocked = transition(State.BLOCKED, State.STOPPED, ref=CHAT, blocked_by=("llm/openai",))
    printed = show(blocked, failed)
    assert "is not healthy: health() returned False" in printed
    assert "llm/openai failed, agent/chat waits for it" in printed


UNTIL_UP = """
import os
class Plugin:
    def setup(self, ctx):
        if not os.path.exists({path!r}):
            raise ConnectionRefusedError("nobody is there")
"""


def test_a_plugin_comes_up_by_itself_before_a_person(
    tree: PluginTree, watch: Callable[..., Watching], tmp_path: Path
) -> None:
    path = tmp_path / "up"
    tree.plugin("base", code=UNTIL_UP.format(path=str(path)))
    tree.plugin("user", depends_on=["base"])
    run = watch("plugins", columns=100)
    run.line("demo/base failed in setup")
    run.line("0 ready, 2 not")
    assert run.line("tries") == "  demo/base: tries again in 0.5 s"
    assert run.line("tries") == "  demo/base: tries again in 1 s"
    path.touch()
    assert re.search(r"↻ demo/base \+ 1 dependent  tried again  [\d.]+ m?s", run.line("↻"))
    assert run.end() == 0
    assert run.screen.count("demo/base failed") == 1


DIES = """
[plugin]
name = "server"
kind = "demo"
core_version = ">=0.1,<1"
runtime = "mcp_stdio"
command = ["python", "server.py"]
"""


def test_what_a_server_says_at_each_try_is_shown_once_until_it_says_something_else(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.write("server/dagstack.toml", DIES)
    server = tree.write("server/server.py", "import sys\nsys.exit('no key')\n")
    run = watch("plugins", columns=100)
    run.line("demo/server  no key")
    run.line("  demo/server: tries again in 0.5 s")
    run.line("  demo/server: tries again in 1 s")
    run.line("  demo/server: tries again in 2 s")
    assert run.screen.count("demo/server  no key") == 1
    server.write_text("import sys\nsys.exit('no key' + ' yet')\n")
    run.line("demo/server  no key yet")
    assert run.end() == 0


STAYS = """
class Plugin:
    VALUE = 1
    def teardown(self):
        return False
"""


def test_a_restart_that_is_needed_is_reported_at_a_reload_and_not_at_the_end(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("it", code=STAYS)
    tree.plugin("other", code=STAYS)
    run = watch("plugins", columns=100)
    run.line("2 ready")
    tree.plugin("it", code=STAYS.replace("1", "2"))
    run.line("! demo/it: its teardown returned False")
    run.line("↻ demo/it")
    assert run.end() == 0
    assert "demo/other: its teardown" not in run.screen
