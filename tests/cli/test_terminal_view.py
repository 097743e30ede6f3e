"""What the terminal view prints for each kind of fact."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import anyio
import pytest
from facts import CHAT, INVALID, OPENAI, every_fact, timeless, transition
from rich.console import Console

from dagstack_dev import ConfigInvalid, PluginManifest, PluginRegistry
from dagstack_dev.cli.failures import FRAMES_LIMIT, NAMES_LIMIT
from dagstack_dev.cli.terminal import TREE_LIMIT, Terminal
from dagstack_dev.core.errors.files import ManifestProblem
from dagstack_dev.core.errors.life import PluginLoadError, SetupPreempted
from dagstack_dev.core.errors.registry import DependencyCycle
from dagstack_dev.core.events import (
    DrainTimedOut,
    Fact,
    HookFailed,
    PluginBlocking,
    PluginBlockingEnded,
    PluginFixed,
    PluginLeaked,
    PluginOverstepped,
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    ReloadWaiting,
    TaskFailed,
    TeardownFailed,
    UndeclaredImport,
    Wait,
    WatchProblem,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.host.reload.transaction import ROLLED_BACK
from dagstack_dev.testing.harness import minimal_context

STARTED = WatchStarted(roots=("/srv/plugins",), plugins=2, ready=2, duration_ms=48.2)
ERROR = RuntimeError("no key")
LOCAL = PluginRef("llm", "local")
Show = Callable[..., str]


@pytest.fixture
def registry() -> PluginRegistry:
    """One with two plugins, the second of which depends on the first."""
    registry = PluginRegistry()
    _register(registry, OPENAI)
    _register(registry, CHAT, "openai")
    return registry


def _register(registry: PluginRegistry, ref: PluginRef, *depends_on: str) -> PluginManifest:
    manifest = {
        "name": ref.name,
        "kind": ref.kind,
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Plugin",
        "depends_on": list(depends_on),
    }
    return registry.register_manifest(manifest, object())


@pytest.fixture
def show(registry: PluginRegistry) -> Show:
    """Let a terminal view see facts; the answer is what it printed, without the time of day."""

    def printed(*facts: Fact, width: int = 100) -> str:
        file = StringIO()
        terminal = Terminal(registry, Console(file=file, width=width))
        for fact in facts:
            terminal(fact)
        return timeless(file.getvalue())

    return printed


def committed(*changed: PluginRef, affected: tuple[PluginRef, ...] = ()) -> ReloadCommitted:
    return ReloadCommitted(
        reload_id=1, duration_ms=12.3, changed=changed, affected=(*changed, *affected)
    )


@pytest.mark.parametrize("fact", every_fact(), ids=lambda fact: type(fact).__name__)
def test_no_fact_prints_more_than_the_width_or_fails(show: Show, fact: Fact) -> None:
    for width in (20, 300):
        assert all(len(line) <= width for line in show(fact, width=width).splitlines())


def test_the_banner_draws_each_plugin_once_below_what_it_depends_on(show: Show) -> None:
    assert show(STARTED).splitlines() == [
        "dagstack-dev watching /srv/plugins",
        "└── llm/openai  loaded",
        "    └── agent/chat  loaded",
        "2 ready  48 ms  Ctrl-C to stop",
    ]


def test_the_banner_of_many_plugins_names_only_those_that_are_not_ready(
    show: Show, registry: PluginRegistry
) -> None:
    for number in range(TREE_LIMIT):
        _register(registry, PluginRef("many", f"plugin{number}"))
    assert "├── many/plugin0  loaded" in show(STARTED).splitlines()
    anyio.run(registry.setup_all, minimal_context(registry))
    assert "many/" not in show(STARTED)


def test_the_banner_of_very_many_plugins_that_are_not_ready_counts_the_rest(
    registry: PluginRegistry, show: Show
) -> None:
    for number in range(2 * TREE_LIMIT):
        _register(registry, PluginRef("tool", f"t{number:03}"))
    printed = show(STARTED).splitlines()
    assert len(printed) == TREE_LIMIT + 3
    assert printed[-2] == f"└── and {TREE_LIMIT + 2} more are not ready"


def test_plugins_that_fail_alike_at_the_start_share_one_frame(show: Show) -> None:
    cycle = DependencyCycle([OPENAI, CHAT])
    failures = [
        transition(
            State.FAILED, State.DISCOVERED, ref=ref, reload_id=None, error=cycle, stage=stage
        )
        for ref, stage in ((OPENAI, Stage.PREPARE), (CHAT, Stage.PREPARE), (LOCAL, Stage.SETUP))
    ]
    printed = show(*failures, STARTED)
    assert "llm/openai, agent/chat cannot be loaded" in printed
    assert "llm/local failed in setup" in printed
    assert printed.count("dependency cycle: llm/openai -> agent/chat -> llm/openai") == 2


def test_the_same_message_from_two_places_is_two_frames(show: Show) -> None:
    errors = {ref: PluginLoadError(ref, "import", "no", path=f"/{ref}") for ref in (OPENAI, CHAT)}
    failures = [
        transition(State.FAILED, State.LOADED, ref=ref, reload_id=None, error=error)
        for ref, error in errors.items()
    ]
    printed = show(*failures, STARTED)
    assert "╭─ llm/openai failed" in printed
    assert "╭─ agent/chat failed" in printed


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ([committed(OPENAI)], "↻ llm/openai  12 ms"),
        ([committed(OPENAI, affected=(CHAT,))], "↻ llm/openai + 1 dependent  12 ms"),
        ([committed(OPENAI, affected=(CHAT, LOCAL))], "↻ llm/openai + 2 dependents  12 ms"),
        ([transition(State.DISCOVERED, None), committed(OPENAI)], "+ llm/openai  12 ms"),
        ([transition(State.REMOVED, State.STOPPED), committed(OPENAI)], "- llm/openai  12 ms"),
        (
            [transition(State.DISCOVERED, None, ref=LOCAL), committed(LOCAL, OPENAI)],
            "↻ llm/openai  + llm/local  12 ms",
        ),
        (
            [transition(State.REMOVED, State.STOPPED, ref=LOCAL), committed(OPENAI, LOCAL, CHAT)],
            "↻ llm/openai, agent/chat  - llm/local  12 ms",
        ),
        (
            [
                transition(State.REMOVED, State.STOPPED, ref=LOCAL),
                committed(OPENAI, LOCAL, affected=(CHAT,)),
            ],
            "↻ llm/openai + 1 dependent  - llm/local  12 ms",
        ),
        (
            [
                transition(State.DISCOVERED, None, ref=LOCAL),
                committed(LOCAL, affected=(CHAT,)),
            ],
            "+ llm/local  ↻ 1 dependent  12 ms",
        ),
    ],
)
def test_a_reload_is_one_line(show: Show, facts: list[Fact], line: str) -> None:
    assert show(*facts) == line + "\n"


def test_many_changed_plugins_are_counted(show: Show) -> None:
    refs = tuple(PluginRef("k", f"p{number}") for number in range(NAMES_LIMIT + 2))
    assert show(committed(*refs)) == "↻ k/p0, k/p1, k/p2 and 2 more  12 ms\n"


def test_plugins_that_wait_are_shown_below_with_a_guess_at_a_misspelt_name(show: Show) -> None:
    waits = transition(State.BLOCKED, State.STOPPED, ref=CHAT, blocked_by=("llm/local", "opanai"))
    removed = transition(State.REMOVED, State.STOPPED, ref=LOCAL)
    assert show(removed, waits, committed(LOCAL, affected=(CHAT,))) == (
        "- llm/local  12 ms\n"
        "  agent/chat waits for llm/local, which does not exist, opanai, which does not exist; did "
        "you mean \n'openai'?\n"
    )


def test_a_rejection_shows_the_problem_and_what_keeps_running(show: Show) -> None:
    fact = PluginRejected(ref=OPENAI, path="/x", error=INVALID, keeps_generation=4, reload_id=1)
    printed = show(fact)
    assert "╭─ llm/openai rejected, still running generation 4 (D101) ─" in printed
    assert "priority: should be a valid integer, not '5'" in printed
    assert "/srv/plugins/openai/dagstack.toml:7" in printed


def test_what_keeps_running_has_a_line_of_its_own_where_the_title_has_no_room(show: Show) -> None:
    fact = PluginRejected(ref=OPENAI, path="/x", error=INVALID, keeps_generation=4, reload_id=1)
    top, *rest = show(fact, width=40).splitlines()
    assert top.startswith("╭─ llm/openai rejected (D101) ─")
    assert rest[-2].startswith("│ still running generation 4 ")


def test_one_mistake_that_many_share_is_one_frame_and_a_line_for_each_other(show: Show) -> None:
    openai, chat = (
        PluginRejected(ref=ref, path=f"/{ref}", error=ERROR, keeps_generation=4, reload_id=1)
        for ref in (OPENAI, CHAT)
    )
    printed = show(openai, chat)
    assert printed.count("╭─") == 1
    line = "! agent/chat rejected for the same reason, still running generation 4"
    assert printed.splitlines()[-1] == line
    assert show(rolled_back(ERROR), openai) == show(rolled_back(ERROR))
    in_between = ReloadSkipped(reload_id=1, duration_ms=1, paths=(), reason="", settled=(OPENAI,))
    assert show(openai, in_between, openai).count("╭─") == 2


def test_of_many_failures_of_one_reload_the_last_are_lines(show: Show) -> None:
    refs = [PluginRef("tool", f"p{number:02}") for number in range(FRAMES_LIMIT + 2)]
    rejected = [
        PluginRejected(
            ref=ref, path=f"/{ref}", error=OSError(ref.name), keeps_generation=2, reload_id=7
        )
        for ref in refs
    ]
    printed = show(*rejected)
    assert printed.count("╭─") == FRAMES_LIMIT
    assert printed.splitlines()[-1] == (
        f"! {refs[-1]} rejected: OSError: {refs[-1].name}; still running generation 2"
    )
    next_one = replace(rejected[0], reload_id=8)
    assert show(*rejected, next_one).count("╭─") == FRAMES_LIMIT + 1
    failed = [
        ReloadFailed(reload_id=7, duration_ms=1, affected=(ref,), errors={ref: OSError(ref.name)})
        for ref in refs
    ]
    assert show(*failed).count("╭─") == FRAMES_LIMIT
    assert show(*failed).splitlines()[-1] == f"! {refs[-1]} failed: OSError: {refs[-1].name}"


def test_a_configuration_that_is_rejected_stays_in_force_as_it_was(show: Show) -> None:
    error = ConfigInvalid("/srv/config.toml", [ManifestProblem("", "is not valid TOML", 2)])
    fact = PluginRejected(ref=None, path="/srv/config.toml", error=error, keeps_generation=None)
    top = "╭─ /srv/config.toml rejected, its last valid version stays in force (D403) ─"
    assert show(fact).startswith(top)


def test_a_roll_back_names_the_plugins_that_go_on_running(show: Show) -> None:
    fact = ReloadRolledBack(
        reload_id=1,
        duration_ms=15,
        roll_back_ms=6,
        affected=(CHAT, OPENAI),
        errors={OPENAI: ERROR},
        running={CHAT: 1, OPENAI: 3},
    )
    printed = show(fact)
    assert printed.startswith("╭─ llm/openai failed ─")
    assert "RuntimeError: no key" in printed
    assert printed.splitlines()[-1] == (
        "↩ rolled back after 15 ms, still running: llm/openai generation 3, agent/chat"
    )


def test_a_failure_is_framed_before_what_is_logged_during_the_roll_back(show: Show) -> None:
    failed = transition(State.FAILED, State.SETTING_UP, error=ERROR, stage=Stage.SETUP)
    anew = transition(State.SETTING_UP, State.LOADED, reason=ROLLED_BACK)
    before = show(failed, anew)
    assert before.count("│ RuntimeError: no key") == 1
    whole = show(failed, anew, rolled_back(ERROR))
    assert whole.removeprefix(before) == (
        "↩ rolled back after 15 ms, still running: llm/openai generation 3\n"
    )
    assert show(failed, anew, rolled_back(ERROR), rolled_back(ValueError("other"))).count("╭") == 2


def test_a_setup_that_is_broken_off_is_named_before_what_ran_is_set_up_again(show: Show) -> None:
    failed = transition(State.FAILED, State.SETTING_UP, error=SetupPreempted(OPENAI))
    anew = transition(State.SETTING_UP, State.LOADED, reason=ROLLED_BACK)
    before = show(failed, anew)
    assert before == "  llm/openai: setup was broken off for an edit\n"
    assert show(failed, anew, rolled_back(failed.error)) == before  # type: ignore[arg-type]


def test_what_only_waits_is_no_line_of_a_reload(show: Show) -> None:
    blocked = transition(State.BLOCKED, State.READY, reason="changed", blocked_by=("sotre",))
    printed = show(blocked, committed(OPENAI))
    assert "↻" not in printed
    assert printed.startswith("  llm/openai waits for sotre")


def rolled_back(error: Exception) -> ReloadRolledBack:
    return ReloadRolledBack(
        reload_id=1,
        duration_ms=15,
        roll_back_ms=6,
        affected=(OPENAI,),
        errors={OPENAI: error},
        running={OPENAI: 3},
    )


def test_what_fails_as_before_when_it_is_tried_again_is_one_line(show: Show) -> None:
    again = show(rolled_back(ERROR), rolled_back(RuntimeError("no key")))
    assert again.count("╭─ llm/openai failed") == 1
    assert again.splitlines()[-1] == (
        "↩ rolled back after 15 ms, still running: llm/openai generation 3"
    )
    assert again.splitlines()[-2] == "! llm/openai fails as before: RuntimeError: no key"
    failed = ReloadFailed(reload_id=1, duration_ms=5, affected=(CHAT,), errors={OPENAI: ERROR})
    died = transition(State.FAILED, State.LOADED, reload_id=None, error=ERROR, stage=Stage.SETUP)
    at_the_start = show(died, STARTED, failed)
    assert at_the_start.count("╭─") == 1
    assert at_the_start.splitlines()[-1] == "! llm/openai fails as before: RuntimeError: no key"


@pytest.mark.parametrize(
    "between",
    [
        committed(OPENAI),
        ReloadSkipped(reload_id=1, duration_ms=1, paths=(), reason="as before", settled=(OPENAI,)),
        PluginRejected(ref=OPENAI, path="/x", error=INVALID, keeps_generation=4, reload_id=1),
        rolled_back(ValueError("something else")),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_failure_is_framed_anew_when_there_was_something_else_in_between(
    show: Show, between: Fact
) -> None:
    printed = show(rolled_back(ERROR), between, rolled_back(ERROR))
    assert printed.count("│ RuntimeError: no key") == 2


def test_a_title_too_long_for_the_frame_ends_with_an_ellipsis(show: Show) -> None:
    top = show(rolled_back(ERROR), width=20).splitlines()[0]
    assert top.endswith("…─╮")
    assert len(top) == 20


def test_a_failure_names_the_plugins_that_wait(show: Show) -> None:
    blocked = transition(State.BLOCKED, State.LOADED, ref=CHAT, blocked_by=("llm/openai",))
    fact = ReloadFailed(reload_id=1, duration_ms=5, affected=(CHAT,), errors={OPENAI: ERROR})
    printed = show(blocked, fact)
    assert "╭─ llm/openai failed, agent/chat waits for it ─" in printed


def test_who_waits_for_something_else_is_not_said_to_wait_for_what_failed(show: Show) -> None:
    gone = transition(State.REMOVED, State.STOPPED, ref=PluginRef("store", "notes"))
    blocked = transition(State.BLOCKED, State.STOPPED, ref=CHAT, blocked_by=("store/notes",))
    fact = ReloadFailed(
        reload_id=1, duration_ms=5, affected=(CHAT, gone.ref), errors={OPENAI: ERROR}
    )
    printed = show(gone, blocked, fact)
    assert "- store/notes" in printed
    assert "agent/chat waits for store/notes" in printed
    assert "waits for it" not in printed


def test_a_plugin_that_dies_is_framed_once(show: Show) -> None:
    died = transition(
        State.FAILED, State.TEARING_DOWN, reload_id=None, error=ERROR, reason="a task ended it"
    )
    wrapped = PluginLoadError(OPENAI, "run", "RuntimeError: no key")
    wrapped.__cause__ = ERROR
    failed = ReloadFailed(reload_id=1, duration_ms=5, affected=(CHAT,), errors={OPENAI: wrapped})
    printed = show(STARTED, died, failed)
    assert "llm/openai failed: a task ended it" in printed
    assert printed.count("RuntimeError: no key") == 1


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        (
            HookFailed(ref=OPENAI, hook="on_start", error=ValueError("no")),
            "! llm/openai: on_start raised ValueError: no\n",
        ),
        (
            TaskFailed(ref=OPENAI, task="Task-7", error=ValueError("no")),
            (
                "! llm/openai: its Task-7 raised ValueError: no; ctx.start_soon would make this a "
                "failure of\nthe plugin\n"
            ),
        ),
        (
            PluginBlocking(ref=OPENAI, method="setup", seconds=1.24, path="/p.py", line=3),
            "! llm/openai: setup has kept the event loop busy for 1.2 s, at /p.py:3\n",
        ),
        (
            PluginBlockingEnded(ref=None, method="fetch", seconds=1.24),
            "✓ the event loop goes on after 1.2 s in fetch\n",
        ),
        (
            PluginLeaked(ref=OPENAI, generation=1, holders=("class Plugin, held by function f",)),
            (
                "! llm/openai: generation 1 has left something behind\n"
                "    class Plugin, held by function f\n"
            ),
        ),
        (
            DrainTimedOut(ref=OPENAI, calls=1, seconds=5.0),
            "! llm/openai: 1 call still in flight after 5 s\n",
        ),
        (
            PluginOverstepped(ref=OPENAI, message="called sys.exit(3)", path="/p.py", line=3),
            f"! {OPENAI} called sys.exit(3), at /p.py:3\n",
        ),
        (
            UndeclaredImport(
                ref=OPENAI, imported=CHAT, message="imports code of x", path="/p.py", line=3
            ),
            "! llm/openai imports code of x, at /p.py:3\n",
        ),
        (PluginOverstepped(ref=None, message="set an alarm"), "! something set an alarm\n"),
        (WatchProblem(message="is gone", path="/srv"), "! /srv: is gone\n"),
    ],
)
def test_a_remark_is_one_line(show: Show, fact: Fact, says: str) -> None:
    assert show(fact) == says


def test_what_is_waited_for_has_a_line_each_and_the_rest_is_counted(show: Show) -> None:
    waits = (Wait(OPENAI, "setup()", 3.2, "/p.py", 12), *(Wait(OPENAI, "a call", 1.0),) * 3)
    assert show(ReloadWaiting(waits=waits, more=4)) == (
        "  waiting for llm/openai: setup() since 3 s (/p.py:12)\n"
        "  waiting for llm/openai: a call since 1 s\n"
        "  waiting for llm/openai: a call since 1 s\n"
        "  and 5 more\n"
    )


def test_a_long_holder_of_a_leak_stays_indented(show: Show) -> None:
    leak = PluginLeaked(ref=OPENAI, generation=1, holders=("instance of Plugin, held by a list",))
    *_, above, below = show(leak, width=30).splitlines()
    assert (above.rstrip(), below.rstrip()) == ("    instance of Plugin, held", "    by a list")


def test_a_teardown_that_fails_with_each_retry_is_framed_once(show: Show) -> None:
    failed = TeardownFailed(ref=OPENAI, generation=1, error=ERROR)
    printed = show(failed, committed(OPENAI), failed)
    assert printed.count("╭─ llm/openai: teardown failed") == 1
    last = printed.splitlines()[-1]
    assert last == "! llm/openai: teardown fails as before: RuntimeError: no key"
    other = TeardownFailed(ref=OPENAI, generation=1, error=ValueError("no"))
    assert show(failed, other, failed).count("╭─") == 3


def test_a_teardown_can_be_opened_until_another_generation_is_up(
    registry: PluginRegistry,
) -> None:
    terminal = Terminal(registry, Console(file=StringIO()))
    error = PluginLoadError(OPENAI, "teardown", "no", path="/srv/plugins/openai/plugin.py", line=3)
    terminal(TeardownFailed(ref=OPENAI, generation=1, error=error, reload_id=1))
    terminal(transition(State.READY, State.SETTING_UP, reload_id=1))
    assert terminal.last_place == ("/srv/plugins/openai/plugin.py", 3)
    terminal(transition(State.READY, State.SETTING_UP, reload_id=2))
    assert terminal.last_place is None


def test_a_failed_teardown_is_framed(show: Show) -> None:
    printed = show(TeardownFailed(ref=OPENAI, generation=1, error=ERROR))
    assert "llm/openai: teardown failed" in printed
    assert "RuntimeError: no key" in printed


def test_the_end_counts_what_was_torn_down(show: Show) -> None:
    stopped = transition(State.STOPPED, State.TEARING_DOWN, reload_id=None)
    assert show(stopped, WatchStopped(duration_ms=6.12)) == "■ 1 plugin torn down  6.1 ms\n"
    errors = (ERROR, ERROR)
    assert "0 plugins torn down, 1 error  " in show(WatchStopped(duration_ms=6, errors=errors[:1]))
    assert "0 plugins torn down, 2 errors  " in show(WatchStopped(duration_ms=6, errors=errors))


def test_what_a_person_need_not_know_prints_nothing(show: Show) -> None:
    began = ReloadStarted(reload_id=1, paths=("/x",), changed=(OPENAI,), affected=(OPENAI,))
    skipped = ReloadSkipped(reload_id=1, duration_ms=1, paths=("/x",), reason="nothing differs")
    assert show(began, transition(State.LOADED, State.STOPPED), skipped) == ""


def test_what_comes_while_another_reload_begins_is_a_newcomer_all_the_same(show: Show) -> None:
    came = transition(State.DISCOVERED, None, ref=LOCAL)
    other = ReloadStarted(reload_id=2, paths=(), changed=(OPENAI,), affected=(OPENAI,))
    assert show(came, other, committed(OPENAI), committed(LOCAL)) == (
        "↻ llm/openai  12 ms\n+ llm/local  12 ms\n"
    )


@pytest.mark.parametrize(
    ("ref", "line"),
    [
        (OPENAI, "✓ llm/openai fixed: the file matches what runs\n"),
        (None, "✓ /srv/dup fixed: the file matches what runs\n"),
    ],
)
def test_the_end_of_a_rejection_is_a_line(show: Show, ref: PluginRef | None, line: str) -> None:
    message = "the file matches what runs"
    assert show(PluginFixed(ref=ref, path="/srv/dup", message=message, reload_id=1)) == line


def test_a_rejected_edit_that_is_fixed_by_another_is_the_line_of_its_reload(show: Show) -> None:
    fixed = PluginFixed(ref=OPENAI, path="/x", message="what is on disk runs", reload_id=1)
    assert show(committed(OPENAI), fixed) == show(committed(OPENAI))


@pytest.mark.parametrize(
    ("reasons", "says"),
    [
        (["plugin.py changed"], "plugin.py changed"),
        (["plugin.py changed", "plugin.py changed"], "plugin.py changed"),
        (["plugin.py changed", "pending"], "plugin.py changed"),
        (
            ["plugin.py changed", "its configuration changed"],
            "plugin.py changed, its configuration changed",
        ),
    ],
)
def test_a_reload_says_the_time_and_which_file(
    registry: PluginRegistry, reasons: list[str], says: str
) -> None:
    file = StringIO()
    terminal = Terminal(registry, Console(file=file, width=100))
    refs = [OPENAI, CHAT][: len(reasons)]
    for ref, reason in zip(refs, reasons, strict=True):
        terminal(transition(State.READY, State.SETTING_UP, ref=ref, reason=reason))
    terminal(committed(*refs))
    names = ", ".join(map(str, refs))
    assert re.fullmatch(rf"\d\d:\d\d:\d\d ↻ {names}  {says}  12 ms\n", file.getvalue())


def test_plugins_that_fail_alike_in_a_reload_share_a_frame_and_then_a_line(show: Show) -> None:
    cycle = DependencyCycle([CHAT, OPENAI])
    failed = ReloadFailed(
        reload_id=1, duration_ms=1, affected=(CHAT, OPENAI), errors={CHAT: cycle, OPENAI: cycle}
    )
    once = show(failed)
    assert once.count("╭─ agent/chat, llm/openai failed (D203) ─") == once.count("╭") == 1
    again = show(failed, failed).removeprefix(once)
    assert again.startswith("! agent/chat, llm/openai fail as before: dependency cycle")


def test_what_comes_beside_what_fails_is_a_newcomer_in_its_line(show: Show) -> None:
    came = transition(State.DISCOVERED, None, ref=LOCAL)
    failed = ReloadFailed(reload_id=1, duration_ms=1, affected=(OPENAI,), errors={OPENAI: ERROR})
    assert show(came, failed, committed(LOCAL)).splitlines()[-1] == "+ llm/local  12 ms"
