"""One of every fact, for tests of what is made of them."""

from __future__ import annotations

import re

from dagstack_dev.core.errors.files import FolderGone, ManifestInvalid, ManifestProblem
from dagstack_dev.core.errors.life import PluginUnhealthy, TeardownTimeout
from dagstack_dev.core.events import (
    AgentAsked,
    DrainTimedOut,
    EventsMissed,
    Fact,
    HookFailed,
    PluginBlocking,
    PluginBlockingEnded,
    PluginDegraded,
    PluginDrained,
    PluginFixed,
    PluginLeaked,
    PluginOverstepped,
    PluginRecovered,
    PluginRejected,
    PluginRequiresRestart,
    PluginRetrying,
    PluginToolsChanged,
    ReloadCommitted,
    ReloadFailed,
    ReloadPlanned,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    ReloadWaiting,
    TaskFailed,
    TeardownFailed,
    Transition,
    UndeclaredImport,
    Wait,
    WatchProblem,
    WatchRecovered,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.timeline import Call, Planned
from dagstack_dev.host.plugins.table import TEARDOWN_FALSE

OPENAI = PluginRef("llm", "openai")
CHAT = PluginRef("agent", "chat")
INVALID = ManifestInvalid(
    "/srv/plugins/openai/dagstack.toml",
    [ManifestProblem("priority", "should be a valid integer, not '5'", 7)],
    ref=OPENAI,
)


def transition(to_state: State, from_state: State | None, **more: object) -> Transition:
    """A transition of `llm/openai` in its second generation."""
    facts: dict[str, object] = {
        "ref": OPENAI,
        "from_state": from_state,
        "to_state": to_state,
        "generation": 2,
        "reason": "plugin.py changed",
        "reload_id": 1,
    }
    return Transition(**facts | more)  # type: ignore[arg-type]


def every_fact() -> list[Fact]:
    """One fact of every kind, and one transition into every state."""
    return [
        transition(State.DISCOVERED, None, generation=0, reason="added", reload_id=None),
        transition(State.LOADED, State.STOPPED, duration_ms=3.104),
        transition(State.SETTING_UP, State.LOADED),
        transition(State.READY, State.SETTING_UP, duration_ms=5.871),
        transition(State.TEARING_DOWN, State.READY),
        transition(State.STOPPED, State.TEARING_DOWN, duration_ms=0.412),
        transition(
            State.FAILED,
            State.SETTING_UP,
            duration_ms=2.25,
            reason="setup raised RuntimeError",
            error=RuntimeError("no key"),
            stage=Stage.SETUP,
        ),
        transition(
            State.BLOCKED,
            State.LOADED,
            ref=CHAT,
            reason="a dependency is not ready",
            blocked_by=("llm/openai",),
        ),
        transition(State.REMOVED, State.STOPPED, reason="removed"),
        PluginRejected(
            ref=OPENAI,
            path="/srv/plugins/openai",
            error=INVALID,
            keeps_generation=2,
            reload_id=3,
        ),
        PluginFixed(
            ref=OPENAI,
            path="/srv/plugins/openai",
            message="the file matches what runs",
            reload_id=4,
        ),
        PluginLeaked(
            ref=OPENAI,
            generation=1,
            holders=(
                "task 'poll' still runs Plugin.poll() at /srv/plugins/openai/plugin.py:21",
                "instance of Plugin, held by app.cache.CALLBACKS -> list -> method Plugin.ask",
            ),
        ),
        AgentAsked(
            ref=OPENAI,
            client="claude-code 2.1",
            tool="call",
            method="ask",
            arguments=("question",),
        ),
        PluginBlocking(
            ref=OPENAI,
            method="setup",
            seconds=1.2,
            path="/srv/plugins/openai/plugin.py",
            line=12,
        ),
        PluginBlockingEnded(ref=OPENAI, method="setup", seconds=3.4),
        PluginOverstepped(
            ref=OPENAI,
            message="called sys.exit(3) in a task or callback; the server goes on",
            path="/srv/plugins/openai/plugin.py",
            line=12,
        ),
        UndeclaredImport(
            ref=CHAT,
            imported=OPENAI,
            message=(
                "imports code of llm/openai, which may not be loaded yet; add it to depends_on in "
                "/srv/plugins/chat/dagstack.toml:7"
            ),
            path="/srv/plugins/chat/plugin.py",
            line=1,
        ),
        PluginRetrying(ref=OPENAI, attempt=3, seconds=2.0, error=ConnectionError("refused")),
        PluginDegraded(
            ref=OPENAI, generation=2, error=PluginUnhealthy(OPENAI, "health() returned False")
        ),
        PluginRecovered(ref=OPENAI, generation=2),
        PluginToolsChanged(ref=OPENAI),
        PluginRequiresRestart(ref=OPENAI, generation=2, reason=TEARDOWN_FALSE, reload_id=1),
        TeardownFailed(ref=OPENAI, generation=2, error=TeardownTimeout(OPENAI, 15), reload_id=1),
        PluginDrained(
            ref=OPENAI,
            reload_id=1,
            duration_ms=31.5,
            held_by=Call("ask", CHAT, "/srv/plugins/chat/plugin.py", 9),
            ended=8.5,
        ),
        DrainTimedOut(
            ref=OPENAI,
            calls=2,
            seconds=5.0,
            places=("/srv/plugins/openai/plugin.py:31",),
            reload_id=1,
        ),
        HookFailed(ref=OPENAI, hook="on_started", error=RuntimeError("no key")),
        TaskFailed(ref=OPENAI, task="Task-7", error=RuntimeError("no key")),
        ReloadPlanned(
            reload_id=1,
            paths=("/srv/plugins/openai/plugin.py",),
            plan=(
                Planned(OPENAI, "tear down", "plugin.py changed"),
                Planned(OPENAI, "import", "plugin.py changed"),
                Planned(OPENAI, "set up", "plugin.py changed"),
            ),
            began=8.0,
        ),
        ReloadStarted(
            reload_id=1,
            paths=("/srv/plugins/openai/plugin.py",),
            changed=(OPENAI,),
            affected=(CHAT, OPENAI),
        ),
        ReloadWaiting(
            waits=(Wait(OPENAI, "setup()", 3.2, "/srv/plugins/openai/plugin.py", 12),),
            reload_id=1,
        ),
        ReloadCommitted(
            reload_id=1, duration_ms=12.318, changed=(OPENAI,), affected=(CHAT, OPENAI)
        ),
        ReloadRolledBack(
            reload_id=2,
            duration_ms=15.5,
            roll_back_ms=6.2,
            changed=(OPENAI,),
            affected=(CHAT, OPENAI),
            errors={OPENAI: RuntimeError("no key")},
            running={CHAT: 1, OPENAI: 2},
        ),
        ReloadFailed(
            reload_id=2,
            duration_ms=9.75,
            changed=(OPENAI,),
            affected=(OPENAI,),
            errors={OPENAI: RuntimeError("no key")},
        ),
        ReloadSkipped(
            reload_id=4,
            duration_ms=1.25,
            paths=("/srv/plugins/openai/plugin.py",),
            reason="no content changed",
        ),
        WatchStarted(roots=("/srv/plugins",), plugins=2, ready=2, duration_ms=48.2),
        WatchStopped(duration_ms=6.1, errors=(RuntimeError("no key"),)),
        WatchProblem(
            message="the folder was replaced or is gone; waiting for it",
            path="/srv/plugins",
            error=FolderGone(
                "/srv/plugins",
                [ManifestProblem("", "the folder was replaced or is gone; waiting for it")],
            ),
        ),
        WatchRecovered(message="the folder is there again, and watched", path="/srv/plugins"),
        EventsMissed(count=12),
    ]


def timeless(text: str) -> str:
    """What a terminal view has printed, without the time of day in lines and frames."""
    text = re.sub(r" \d\d:\d\d:\d\d ─╯", "─" * 11 + "╯", text)
    return re.sub(r"(?m)^\d\d:\d\d:\d\d ", "", text)
