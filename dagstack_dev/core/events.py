"""Facts: what happened, as values. Observers turn them into logs, pages and lines on a terminal.

Their fields are in the order in which the log has them.
Their errors are records (`core.recorded`): copies that keep nothing of the code that raised them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.lifecycle import Stage, State
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.timeline import Call, Edit, Look, Planned


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Fact:
    """Something that happened: a frozen dataclass, whose fields are given by name.

    Attributes:
        event: the name under which it is logged; a transition has that of its state.
        level: the level, likewise.
    """

    event: ClassVar[str]
    level: ClassVar[str]

    def __init_subclass__(cls, event: str = "", level: str = "info") -> None:
        if event:
            cls.event, cls.level = event, level
        dataclass(frozen=True, kw_only=True)(cls)


class Transition(Fact):
    """A plugin went from one state to another. The only fact that stands for a state change.

    `duration_ms` is the time that the step into `to_state` took (the import for `loaded`, the
    setup for `ready`, the teardown for `stopped`), None where nothing was run.
    """

    ref: PluginRef
    from_state: State | None
    to_state: State
    generation: int
    reload_id: int | None = None
    duration_ms: float | None = None
    reason: str
    error: BaseException | None = None
    stage: Stage | None = None
    blocked_by: tuple[str, ...] = ()


class PluginRejected(Fact, event="plugin.rejected", level="error"):
    """A newer source was not taken over. `ref` is None when not even that can be read.

    `keeps_generation` is the generation that goes on running, or None when none does.
    """

    ref: PluginRef | None
    path: str
    keeps_generation: int | None
    reload_id: int | None = None
    error: BaseException


class PluginFixed(Fact, event="plugin.fixed"):
    """What was rejected or rolled back is no more: `message` says what became of it.

    `ref` is None, and `path` a file, for a configuration or hookspecs that can be used again.
    """

    ref: PluginRef | None
    path: str
    message: str
    reload_id: int | None = None


class Leaks(StrEnum):
    """What is done about old generations of which something stays behind.

    OFF: they are not looked at. WARN: what stays is reported. ERROR: likewise, as an error, and
    `dagstack-dev watch` ends with exit code 3.
    """

    OFF = "off"
    WARN = "warn"
    ERROR = "error"


class PluginLeaked(Fact, event="plugin.leaked", level="warning"):
    """Something of an old generation is still there or still runs; reported once per generation.

    `holders` says what it is and what holds it or where it runs, one sentence each. `is_error`
    is whether `Leaks.ERROR` was asked for.
    """

    ref: PluginRef
    generation: int
    holders: tuple[str, ...]
    is_error: bool = False
    reload_id: int | None = None


class PluginBlocking(Fact, event="plugin.blocking", level="warning"):
    """A synchronous method has kept the event loop busy for `seconds` and still does.

    `ref` is None for code that plugins share. `method` is what the server has called, such as
    `setup`; of what others have called, the function that has the line.
    """

    ref: PluginRef | None
    method: str
    seconds: float
    path: str
    line: int


class PluginBlockingEnded(Fact, event="plugin.blocking_ended"):
    """The event loop goes on after `seconds`: follows a `PluginBlocking` of the same method."""

    ref: PluginRef | None
    method: str
    seconds: float


class PluginDegraded(Fact, event="plugin.degraded", level="warning"):
    """A ready plugin has failed its health check. It goes on running."""

    ref: PluginRef
    generation: int
    error: BaseException


class PluginRecovered(Fact, event="plugin.recovered"):
    """A plugin that was degraded has passed its health check."""

    ref: PluginRef
    generation: int


class PluginRequiresRestart(Fact, event="plugin.requires_restart", level="warning"):
    """Something of a plugin stays that only a new process is rid of.

    Its `teardown` has returned False, or an extension module of it has changed. Reported
    once for each plugin. `reason` says which, in words.
    """

    ref: PluginRef
    generation: int
    reload_id: int | None = None
    reason: str


class UndeclaredImport(Fact, event="plugin.undeclared_import", level="warning"):
    """A plugin has imported code of `imported` and does not depend on it; reported once for both.

    `message` says what to do. `path` and `line` are those of the import.
    """

    ref: PluginRef
    imported: PluginRef
    message: str
    path: str
    line: int


class PluginRetrying(Fact, event="plugin.retrying", level="warning"):
    """A plugin failed for a transient reason, and is tried again in `seconds`.

    `attempt` counts from 1 since it last ran for a while or was edited. `is_longest` is whether
    the pauses do not grow any more.
    """

    ref: PluginRef
    attempt: int
    seconds: float
    error: BaseException
    is_longest: bool = False


class TeardownFailed(Fact, event="plugin.teardown_failed", level="error"):
    """A plugin's teardown raised or ran out of time; everything else went on."""

    ref: PluginRef
    generation: int
    reload_id: int | None = None
    error: BaseException


class PluginDrained(Fact, event="plugin.drained", level="debug"):
    """Calls that held up the teardown of a plugin have ended, or are not waited for any more.

    `held_by` is the one that ended last, or has not ended; None where it is unknown. They took
    `duration_ms` until `ended`, on the clock of `time.perf_counter`; other plugins may have taken
    longer.
    """

    ref: PluginRef
    reload_id: int | None = None
    duration_ms: float
    held_by: Call | None = None
    ended: float


class DrainTimedOut(Fact, event="plugin.drain_timed_out", level="warning"):
    """Calls were still in flight when the drain time ended; teardown went on without them.

    `places` are the lines they were at, as `path:line`, as far as that is known.
    """

    ref: PluginRef
    calls: int
    seconds: float
    places: tuple[str, ...] = ()
    reload_id: int | None = None


class HookFailed(Fact, event="plugin.hook_failed", level="error"):
    """A plugin's hook raised in a dispatch that goes on without it, and the error is not raised."""

    ref: PluginRef
    hook: str
    error: BaseException


class TaskFailed(Fact, event="plugin.task_failed", level="error"):
    """A task that a plugin has made by hand has raised, and nothing has asked for it since."""

    ref: PluginRef
    task: str
    error: BaseException
    message: str = "ctx.start_soon would make this a failure of the plugin"


class ReloadPlanned(Fact, event="reload.planned", level="debug"):
    """It is decided what a reload does, even if that is nothing.

    The reload `began` with the first event that it is for, on the clock of `time.perf_counter`;
    `looks` are the steps until all was read. `edits` are the files that it is for, as far as
    they are kept.
    """

    reload_id: int
    paths: tuple[str, ...]
    plan: tuple[Planned, ...]
    began: float
    looks: tuple[Look, ...] = ()
    edits: tuple[Edit, ...] = ()


class ReloadStarted(Fact, event="reload.started"):
    """A reload begins to act: `changed` plugins and everything downstream, `affected`."""

    reload_id: int
    paths: tuple[str, ...]
    changed: tuple[PluginRef, ...]
    affected: tuple[PluginRef, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Something that is waited for: `what` of which plugin, for how long, and the line it is at.

    `path` and `line` are None where that is unknown.
    """

    ref: PluginRef
    what: str
    seconds: float
    path: str | None = None
    line: int | None = None


class ReloadWaiting(Fact, event="reload.waiting"):
    """A start, a reload or an end waits: for `waits`, the longest first, and as many `more`.

    Reported when something takes longer than a second, and again each time that has tripled.
    """

    reload_id: int | None = None
    waits: tuple[Wait, ...]
    more: int = 0


class ReloadCommitted(Fact, event="reload.committed"):
    """Every transaction over `affected` is in force."""

    reload_id: int
    duration_ms: float
    changed: tuple[PluginRef, ...]
    affected: tuple[PluginRef, ...]


class ReloadRolledBack(Fact, event="reload.rolled_back", level="error"):
    """A transaction failed and the previous generations run again.

    `roll_back_ms` is the part of `duration_ms` that it took to bring them back.
    """

    reload_id: int
    duration_ms: float
    roll_back_ms: float
    changed: tuple[PluginRef, ...] = ()
    affected: tuple[PluginRef, ...]
    errors: Mapping[PluginRef, BaseException] = field(default_factory=dict)
    running: Mapping[PluginRef, int] = field(default_factory=dict)


class ReloadFailed(Fact, event="reload.failed", level="error"):
    """A transaction left plugins of its own `failed`: there was nothing to go back to.

    What else there is in `affected` may be ready. `as_before` are those of `errors` that had failed
    in the same words before. `roll_back_ms` is the part of `duration_ms` that a roll-back took;
    None where there was none.
    """

    reload_id: int
    duration_ms: float
    roll_back_ms: float | None = None
    changed: tuple[PluginRef, ...] = ()
    affected: tuple[PluginRef, ...]
    errors: Mapping[PluginRef, BaseException] = field(default_factory=dict)
    as_before: tuple[PluginRef, ...] = ()


class ReloadSkipped(Fact, event="reload.skipped"):
    """A batch of changes, or the part of it about `settled`, asked for nothing: `reason` says why.

    `settled` are plugins that were pending and are no longer: what runs is on disk again.
    """

    reload_id: int
    duration_ms: float
    paths: tuple[str, ...]
    reason: str
    settled: tuple[PluginRef, ...] = ()

    @property
    def affected(self) -> tuple[PluginRef, ...]:
        """What it touched: the plugins of which it ended something."""
        return self.settled

    @property
    def changed(self) -> tuple[PluginRef, ...]:
        """What was built again: nothing."""
        return ()


ReloadEnd = ReloadCommitted | ReloadRolledBack | ReloadFailed | ReloadSkipped
"""How a reload, or a part of one, can end."""


class PluginOverstepped(Fact, event="plugin.overstepped", level="warning"):
    """Plugin code reached for what belongs to the whole process: `message` says what came of it.

    `ref`, `path` and `line` are None where it is unknown whose code it was.
    """

    ref: PluginRef | None
    message: str
    path: str | None = None
    line: int | None = None


class PluginToolsChanged(Fact, event="plugin.tools_changed"):
    """The MCP server that a plugin is has other tools by now, without a reload."""

    ref: PluginRef


class AgentAsked(Fact, event="agent.asked"):
    """A coding agent has asked for something that may change what runs.

    `ref` and `method` are None where it is about no single plugin or method; `arguments` are names.
    """

    ref: PluginRef | None
    client: str
    tool: str
    method: str | None = None
    arguments: tuple[str, ...] = ()


class WatchStarted(Fact, event="watch.started"):
    """The first start has ended and the roots are watched.

    `plugins` counts folders, those included of which not even a name can be read.
    `code_roots` are the folders with further code that plugins import.
    """

    roots: tuple[str, ...]
    code_roots: tuple[str, ...] = ()
    plugins: int
    ready: int
    polling: bool = False
    duration_ms: float


class WatchStopped(Fact, event="watch.stopped"):
    """Everything is torn down; `errors` are those of the teardowns."""

    duration_ms: float
    errors: tuple[BaseException, ...] = ()


class WatchProblem(Fact, event="watch.problem", level="warning"):
    """The watcher had to restart, fall back to polling or ignore a file: `message` says so.

    `error` is why it is unknown what is at `path`, until that has recovered; None while it is not.
    """

    message: str
    path: str | None = None
    error: BaseException | None = None


class EventsMissed(Fact, event="events.missed", level="warning"):
    """A reader of `DevServer.events` was too slow: `count` facts that came before were dropped."""

    count: int


class WatchRecovered(Fact, event="watch.recovered"):
    """A problem of the watcher with `path` is over: `message` says so."""

    message: str
    path: str | None = None
