"""The states of a plugin, the only transitions between them, and what it has under way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.life import InvalidTransition

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


class State(StrEnum):
    """Where a plugin is in its life.

    The way through is discovered, loaded, setting_up, ready, tearing_down, stopped; the resting
    places are failed, blocked and removed.
    """

    DISCOVERED = "discovered"
    LOADED = "loaded"
    SETTING_UP = "setting_up"
    READY = "ready"
    TEARING_DOWN = "tearing_down"
    STOPPED = "stopped"
    FAILED = "failed"
    BLOCKED = "blocked"
    REMOVED = "removed"


class Stage(StrEnum):
    """The step in which a plugin failed."""

    PREPARE = "prepare"
    IMPORT = "import"
    SETUP = "setup"
    RUN = "run"
    HEALTH = "health"

    @property
    def failure(self) -> str:
        """What is said of a plugin that has failed in it, behind its name."""
        return _FAILURES[self]


_FAILURES = {
    Stage.PREPARE: "cannot be loaded",
    Stage.IMPORT: "failed to import",
    Stage.SETUP: "failed in setup",
    Stage.RUN: "failed while running",
    Stage.HEALTH: "was not healthy",
}


TRANSITIONS = MappingProxyType(
    {
        State.DISCOVERED: frozenset({State.LOADED, State.FAILED, State.BLOCKED, State.REMOVED}),
        State.LOADED: frozenset(
            {State.LOADED, State.SETTING_UP, State.BLOCKED, State.FAILED, State.REMOVED}
        ),
        State.SETTING_UP: frozenset({State.READY, State.FAILED, State.STOPPED}),
        State.READY: frozenset({State.TEARING_DOWN}),
        State.TEARING_DOWN: frozenset({State.STOPPED, State.FAILED}),
        State.STOPPED: frozenset({State.LOADED, State.FAILED, State.BLOCKED, State.REMOVED}),
        State.FAILED: frozenset({State.LOADED, State.FAILED, State.BLOCKED, State.REMOVED}),
        State.BLOCKED: frozenset({State.LOADED, State.FAILED, State.BLOCKED, State.REMOVED}),
        State.REMOVED: frozenset({State.DISCOVERED}),
    }
)
"""Every allowed step. `loaded -> loaded`, `failed -> failed` and `blocked -> blocked` are a new
generation, a new error and a new blocker."""


def check_transition(ref: PluginRef, from_state: State, to_state: State) -> None:
    """Pass silently for an allowed step, raise `InvalidTransition` for any other."""
    if to_state not in TRANSITIONS[from_state]:
        raise InvalidTransition(ref, from_state, to_state)


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """What is known of one plugin at one moment.

    Attributes:
        ref: the plugin.
        state: where it is in its life.
        generation: the import that runs, counted from 1; 0 when none does.
        path: the plugin's folder, or None for a plugin registered by hand.
        error: why it is `failed`, what its newer source suffers from, or why it is degraded; a
            record that keeps nothing of the plugin (`core.recorded`).
        pending: True when what runs differs from what is on disk; `error` says why.
        degraded: True when it is ready but has failed its last health check.
        requires_restart: True when a teardown of it has returned False: something has stayed
            that only a new process is rid of. It stays True.
        stage: the step that failed, for a `failed` plugin.
        blocked_by: what it waits for, for a `blocked` plugin; refs that exist are printed
            `kind/name`, missing ones as written in `depends_on`.
    """

    ref: PluginRef
    state: State
    generation: int
    path: str | None = None
    error: BaseException | None = None
    pending: bool = False
    stage: Stage | None = None
    blocked_by: tuple[str, ...] = ()
    degraded: bool = False
    requires_restart: bool = False


class OperationKind(StrEnum):
    """What an `Operation` is."""

    CALL = "call"
    """A call of one of the plugin's methods that went through its proxy and has not come back."""
    TASK = "background task"
    """Started with `ctx.start_soon`."""
    THREAD = "thread"
    """Started with `ctx.run_thread`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something of a plugin's that is under way (contract, section 10).

    Attributes:
        kind: what it is.
        name: the method, or the name that the task or thread was given.
        path: the file that it is at, None where that is unknown.
        line: the line in `path`, counted from 1.
    """

    kind: OperationKind
    name: str
    path: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        is_call = self.kind is OperationKind.CALL
        what = f"call of {self.name}()" if is_call else f"{self.kind} {self.name!r}"
        return f"{what} at {self.path}:{self.line}" if self.path else what
