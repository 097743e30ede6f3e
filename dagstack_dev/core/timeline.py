"""A reload as data: what was edited, what was planned and why, and how long each step took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.sources import PluginSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import SourceFile

MOST_BYTES: Final = 200_000
"""How much of the edited files is kept for one reload, before and after the edit together."""

MOST_FILES: Final = 50
"""Of how many files, likewise."""


class Planned(NamedTuple):
    """One thing that a plan does with one plugin, and why; see `ReloadPlan.actions`."""

    ref: PluginRef
    action: str
    reason: str


class Edit(NamedTuple):
    """A file that was edited; None where there is none, and for both where too much was edited."""

    path: str
    before: SourceFile | None
    after: SourceFile | None

    @property
    def size(self) -> int:
        """How many bytes are kept of it."""
        files = (each for each in (self.before, self.after) if each is not None)
        return sum(len(each.content or b"") for each in files)


def edits_between(before: PluginSource | None, after: PluginSource | None) -> Iterator[Edit]:
    """Yield the files of a plugin that differ; None is a plugin that is not there."""
    there = after or before
    if there is not None:
        nothing = PluginSource(there.folder, {}, there.module)
        before, after = before or nothing, after or nothing
        for path in before.changed_files(after):
            yield Edit(f"{there.home}/{path}", before.files.get(path), after.files.get(path))


def bounded(edits: Iterable[Edit]) -> Iterator[Edit]:
    """Yield `edits` as far as they are kept for one reload."""
    left = MOST_BYTES
    for edit, _ in zip(edits, range(MOST_FILES), strict=False):
        is_kept = edit.size <= left
        left -= edit.size if is_kept else 0
        yield edit if is_kept else Edit(edit.path, None, None)


class Look(NamedTuple):
    """A part of the time before a plan: "debounce" or "read".

    Attributes:
        step: which of them.
        until: when it ended, on the clock of `time.perf_counter`; then the next one began.
    """

    step: str
    until: float


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a plugin's method.

    Attributes:
        method: its name.
        caller: the plugin that has called it; None for the app, and where that is unknown.
        path: the file that it was called in, or that it has got to if it has not ended; None
            where that is unknown.
        line: counted from 1.
    """

    method: str
    caller: PluginRef | None = None
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, eq=False)  # Its error may have no hash.
class Span:
    """One step of a reload.

    Attributes:
        step: "debounce", "read", "prepare", "drain", "teardown", "import", "setup" or "roll_back".
        begin_ms: when it began, in milliseconds since the reload did.
        end_ms: when it ended, likewise.
        ref: the plugin; None for a step of the whole reload.
        reason: why it was taken; empty where that is plain.
        held_by: of a drain, the call that ended last, or has not ended.
        error: why it failed.
    """

    step: str
    begin_ms: float
    end_ms: float
    ref: PluginRef | None = None
    reason: str = ""
    held_by: Call | None = None
    error: BaseException | None = None
