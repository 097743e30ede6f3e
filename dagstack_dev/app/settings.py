"""What a dev server can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstack_dev.core.events import Leaks

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a `DevServer`; the defaults suit daily work.

    Attributes:
        settle_ms: how long the disk has to be quiet for a save to count as complete, in
            milliseconds. A plain save pays it once.
        doubt_ms: how long to wait for more where a save looks unfinished: a file suddenly empty
            or gone, a new folder, many folders at once. In milliseconds.
        drain_seconds: how long calls in flight get before a teardown goes on without them.
        call_patience: how long a call waits for a plugin that is being reloaded, in seconds.
        ignore: globs to leave out, besides the built-in ones.
        polling: look at intervals instead of asking the system for events.
        sweep_seconds: how long to rest at least between two looks everywhere for what no event
            has told of; the more there is to look at, the longer.
        config_file: a TOML file with a table `[kind.name]` per plugin. It takes the place of
            `context.config`, and what it changes is reloaded.
        leaks: what to do about old generations of which something stays behind: a reference, a
            task, a thread, a handler. See `Leaks`.
    """

    settle_ms: int = 5
    doubt_ms: int = 150
    drain_seconds: float = 5.0
    call_patience: float = 30.0
    ignore: tuple[str, ...] = ()
    polling: bool = False
    sweep_seconds: float = 30.0
    config_file: Path | None = None
    leaks: Leaks = Leaks.WARN
