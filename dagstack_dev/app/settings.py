"""The settings of a dev server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstack_dev.core.defaults import CALL_PATIENCE, DRAIN_SECONDS
from dagstack_dev.core.events import Leaks

if TYPE_CHECKING:
    import os


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a `DevServer`; the defaults suit daily work.

    Attributes:
        settle_ms: how long the disk has to be quiet for a save to count as complete, in
            milliseconds. A plain save pays it once.
        debounce_ms: how long to wait for more where a save looks unfinished: a file suddenly
            empty or gone, a new folder, many folders at once. In milliseconds.
        drain_seconds: how long calls in flight get before a teardown goes on without them; once for
            all plugins of a reload, and once more for each that is still busy then.
        call_patience: how long a call waits for a plugin that is being reloaded, in seconds.
        ignore: globs to leave out, besides the built-in ones.
        gitignore: whether to leave out what git ignores, too, but for Python files and manifests.
        polling: look at intervals instead of asking the system for events.
        sweep_seconds: how long to rest at least between two looks everywhere for what no event
            has reported; the more there is to look at, the longer.
        hookspec_files: YAML files that declare kinds, on top of what the app has declared; while
            the server runs, a plugin of another kind is rejected. What changes in them is declared
            anew.
        config_file: a TOML file with a table `[kind.name]` per plugin. It takes the place of
            `context.config`, and what it changes is reloaded.
        entry_points: a group of entry points whose plugins are loaded too, such as
            `dagstack.plugins`; those that are installed in editable mode are watched.
        leaks: what to do about old generations of which something stays behind: a reference, a
            task, a thread, a handler. See `Leaks`.
        retry_seconds: how long after its failure a plugin is tried again whose error is transient,
            as that of a server that is down; each further pause is twice as long. 0 switches it
            off.
        retry_limit_seconds: the longest such pause, and how long a plugin has to be ready for
            its next failure to begin with the shortest.
        health_seconds: how often the plugins that have a health check are asked. 0 switches
            it off.
        health_timeout_seconds: how long they may take to answer.
        health_failures: after how many failures in a row a plugin is torn down.
    """

    settle_ms: int = 5
    debounce_ms: int = 150
    drain_seconds: float = DRAIN_SECONDS
    call_patience: float = CALL_PATIENCE
    ignore: tuple[str, ...] = ()
    gitignore: bool = True
    polling: bool = False
    sweep_seconds: float = 30.0
    hookspec_files: tuple[str | os.PathLike[str], ...] = ()
    config_file: str | os.PathLike[str] | None = None
    entry_points: str | None = None
    leaks: Leaks = Leaks.WARN
    retry_seconds: float = 0.5
    retry_limit_seconds: float = 30.0
    health_seconds: float = 30.0
    health_timeout_seconds: float = 5.0
    health_failures: int = 3
