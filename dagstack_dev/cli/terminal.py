"""What a person sees: a banner, a line per reload, a short frame per failure."""

from __future__ import annotations

import linecache
import os
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from dagstack_dev.core.blame import blame, plugin_frames, root_error
from dagstack_dev.core.errors import ManifestInvalid, PluginRegistryError
from dagstack_dev.core.events import (
    DrainTimedOut,
    Fact,
    PluginBlocking,
    PluginLeaked,
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
    TeardownFailed,
    Transition,
    WatchProblem,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry import Registry

TREE_LIMIT: Final = 40
"""Plugins up to which the banner draws the whole tree."""

NAMES_LIMIT: Final = 3
"""Plugins that one line names before it counts."""

_CONTEXT_LINES: Final = 2
_STYLES: Final = {
    State.READY: "green",
    State.FAILED: "bold red",
    State.BLOCKED: "yellow",
}


class Terminal:
    """Prints facts for a person; an observer.

    Args:
        registry: to draw the tree and to say what still runs.
        console: where to print; standard output by default.
    """

    def __init__(self, registry: Registry, console: Console | None = None) -> None:
        self._registry = registry
        self._console = console or Console(highlight=False, soft_wrap=False)
        self._steps: list[Transition] = []
        self._failures: list[Transition] = []
        self._started = False

    def __call__(self, fact: Fact, /) -> None:
        """Print what a person wants to know of `fact`, if anything."""
        match fact:
            case Transition():
                self._remember(fact)
            case WatchStarted():
                self._banner(fact)
            case PluginRejected():
                self._rejected(fact)
            case ReloadCommitted():
                self._committed(fact)
            case ReloadRolledBack():
                self._rolled_back(fact)
            case ReloadFailed():
                self._failed(fact)
            case ReloadSkipped():
                self._steps.clear()
            case WatchStopped():
                self._stopped(fact)
            case _:
                self._remark(fact)

    def _remember(self, fact: Transition) -> None:
        if fact.reload_id is not None:
            self._steps.append(fact)
        elif fact.to_state is State.FAILED:
            self._failures.append(fact)
            if self._started:  # No reload's: a plugin died by itself.
                self._frame(str(fact.ref), f"{fact.ref} failed: {fact.reason}", fact.error)
        elif fact.to_state is State.STOPPED:
            self._steps.append(fact)

    # The banner

    def _banner(self, fact: WatchStarted) -> None:
        for failure in self._failures:
            stage = failure.stage.value if failure.stage else "start"
            self._frame(str(failure.ref), f"{failure.ref} failed in {stage}", failure.error)
        self._failures.clear()
        self._steps.clear()
        self._started = True
        roots = ", ".join(_short(root) for root in fact.roots)
        how = " by polling" if fact.polling else ""
        title = Text.assemble(("dagstack-dev", "bold"), f" watching {roots}{how}")
        statuses = self._registry.statuses()
        if not statuses:
            self._print(title, Text("no plugins yet; a folder with a dagstack.toml will be one"))
            return
        if len(statuses) <= TREE_LIMIT:
            self._print(self._tree(title, statuses))
        else:
            self._print(title)
            for status in statuses.values():
                if status.state is not State.READY:
                    self._print(Text("  ").append_text(_label(status)))
        down = fact.plugins - fact.ready
        summary = Text.assemble(
            (f"{fact.ready} ready", "green"),
            (f", {down} not", "bold red") if down else "",
            (f"  {_milliseconds(fact.duration_ms)}", "dim"),
            ("  Ctrl-C to stop", "dim"),
        )
        self._print(summary)

    def _tree(self, title: Text, statuses: dict[PluginRef, PluginStatus]) -> Tree:
        """Each plugin once, below the dependency that was set up last before it."""
        graph = self._registry.table.graph
        order = self._registry.table.setup_order
        tree = Tree(title, guide_style="dim")
        branches: dict[PluginRef, Tree] = {}
        rest = dict(statuses)

        def place(ref: PluginRef, seen: frozenset[PluginRef]) -> Tree:
            if ref in branches:
                return branches[ref]
            above = [
                other
                for other in (graph.dependencies(ref) if ref in graph else ())
                if other in rest and other not in seen
            ]
            above.sort(key=lambda other: order.get(other, 0))
            parent = place(above[-1], seen | {ref}) if above else tree
            label = _label(rest[ref])
            if len(above) > 1:
                label.append(f"  + {', '.join(map(str, above[:-1]))}", "dim")
            branches[ref] = parent.add(label)
            return branches[ref]

        for ref in sorted(rest, key=lambda ref: (order.get(ref, len(order) + 1), ref)):
            place(ref, frozenset())
        return tree

    # Reloads

    def _committed(self, fact: ReloadCommitted) -> None:
        came = [s.ref for s in self._steps if s.to_state is State.DISCOVERED]
        went = [s.ref for s in self._steps if s.to_state is State.REMOVED]
        blocked = [s for s in self._steps if s.to_state is State.BLOCKED]
        affected = set(fact.affected)
        self._steps.clear()
        changed = [ref for ref in fact.changed if ref not in came]
        others = affected.difference(fact.changed, came, went, (s.ref for s in blocked))
        line = Text()
        for mark, style, refs in (
            ("↻", "green", changed),
            ("+", "cyan", came),
            ("-", "yellow", went),
        ):
            if refs:
                line.append(f"{mark} ", style).append(_names(refs), "bold").append("  ")
        if not line:
            line.append("↻ ", "green")
        if others:
            line.append(f"+ {len(others)} {'dependent' if len(others) == 1 else 'dependents'}  ")
        line.append(_milliseconds(fact.duration_ms), "dim")
        self._print(line)
        for step in blocked[:NAMES_LIMIT]:
            self._print(
                Text.assemble(
                    "  ", (str(step.ref), "yellow"), f" waits for {', '.join(step.blocked_by)}"
                )
            )
        if len(blocked) > NAMES_LIMIT:
            self._print(Text(f"  and {len(blocked) - NAMES_LIMIT} more wait", "yellow"))

    def _rejected(self, fact: PluginRejected) -> None:
        self._steps.clear()
        who = str(fact.ref) if fact.ref else _short(fact.path)
        keeps = (
            f"{fact.ref} keeps running generation {fact.keeps_generation}"
            if fact.keeps_generation is not None
            else None
        )
        self._frame(who, f"{who} not taken over", fact.error, keeps)

    def _rolled_back(self, fact: ReloadRolledBack) -> None:
        self._steps.clear()
        culprits = set(fact.errors)
        number = {ref: fact.running.get(ref) for ref in culprits}
        rest = [ref for ref in fact.running if ref not in culprits]
        for ref, error in fact.errors.items():
            keeps = (
                f"{ref} keeps running generation {number[ref]}"
                if number[ref] is not None
                else f"still running: {_names(rest)}"
            )
            if rest and number[ref] is not None:
                keeps += f", and so {'does' if len(rest) == 1 else 'do'} {_names(rest)}"
            after = f"rolled back after {_milliseconds(fact.duration_ms)}"
            self._frame(str(ref), f"{ref} failed, {after}", error, keeps)

    def _failed(self, fact: ReloadFailed) -> None:
        blocked = [s for s in self._steps if s.to_state is State.BLOCKED]
        self._steps.clear()
        waiting = f"waiting for it: {_names([s.ref for s in blocked])}" if blocked else None
        for ref, error in fact.errors.items():
            self._frame(str(ref), f"{ref} failed", error, waiting)
            waiting = None

    def _stopped(self, fact: WatchStopped) -> None:
        stopped = [step for step in self._steps if step.to_state is State.STOPPED]
        count = f"{len(stopped)} plugin{'' if len(stopped) == 1 else 's'} torn down"
        errors = f", {len(fact.errors)} with errors" if fact.errors else ""
        self._print(
            Text.assemble(
                ("■ ", "dim"), f"{count}{errors}  ", (_milliseconds(fact.duration_ms), "dim")
            )
        )

    # Single remarks

    def _remark(self, fact: Fact) -> None:
        match fact:
            case TeardownFailed():
                self._frame(str(fact.ref), f"{fact.ref}: teardown failed", fact.error)
            case PluginBlocking():
                self._warn(
                    f"{fact.ref}: {fact.method} has kept the event loop busy for "
                    f"{fact.seconds:.1f} s, at {_short(fact.path)}:{fact.line}"
                )
            case PluginLeaked():
                self._warn(f"{fact.ref}: generation {fact.generation} is still in memory")
                for holder in fact.holders[:NAMES_LIMIT]:
                    self._print(Text(f"    {holder}", "dim"))
            case DrainTimedOut():
                calls = "1 call" if fact.calls == 1 else f"{fact.calls} calls"
                self._warn(f"{fact.ref}: {calls} still in flight after {fact.seconds:g} s")
            case WatchProblem():
                where = f"{_short(fact.path)}: " if fact.path else ""
                self._warn(f"{where}{fact.message}")
            case _:
                pass

    def _warn(self, message: str) -> None:
        self._print(Text.assemble(("! ", "yellow"), message))

    def _print(self, *things: RenderableType) -> None:
        for thing in things:
            self._console.print(thing)

    # Frames

    def _frame(
        self, who: str, title: str, error: BaseException | None, keeps: str | None = None
    ) -> None:
        parts: list[RenderableType] = []
        if error is not None:
            parts += _error_lines(error, who)
        if keeps:
            parts.append(Text(keeps, "green"))
        self._print(
            Panel(
                Group(*parts), title=Text(title, "bold red"), title_align="left", border_style="red"
            )
        )


def _error_lines(error: BaseException, who: str) -> Iterable[RenderableType]:
    """What went wrong and where, with the lines of the file around it."""
    if isinstance(error, ManifestInvalid):
        for problem in error.problems:
            subject = f"{problem.field}: " if problem.field else ""
            yield Text(f"{subject}{problem.message}")
            yield from _source_lines(error.path or "", problem.line)
        return
    found = blame(error)
    frames = plugin_frames(error)
    root = root_error(error)
    if isinstance(error, PluginRegistryError) and root is error:
        yield Text(found.message.removeprefix(f"{who}: "))
    else:
        message = getattr(root, "msg", None) or str(root)
        yield Text(f"{type(root).__name__}: {message}" if message else type(root).__name__)
    for frame in frames[:-1]:
        yield Text(f"{_short(frame.path)}:{frame.line} in {frame.function}", "dim")
    if frames and not isinstance(root, SyntaxError):
        yield from _source_lines(frames[-1].path, frames[-1].line, frames[-1].function)
    elif found.path is not None:
        yield from _source_lines(found.path, found.line)


def _source_lines(path: str, line: int | None, function: str = "") -> Iterable[RenderableType]:
    inside = f" in {function}" if function else ""
    yield Text(f"{_short(path)}{f':{line}' if line else ''}{inside}", "cyan")
    if line is None:
        return
    linecache.checkcache(path)
    last = line + (0 if function else 1)
    for number in range(max(1, line - _CONTEXT_LINES), last + 1):
        text = linecache.getline(path, number).rstrip("\n")
        if number > line and not text:
            continue
        here = number == line
        yield Text.assemble(
            ("❱ " if here else "  ", "red"),
            (f"{number:>4}  ", "dim"),
            (text.expandtabs(4), "bold" if here else "dim"),
        )


def _label(status: PluginStatus) -> Text:
    label = Text.assemble(
        (str(status.ref), "bold"), "  ", (status.state.value, _STYLES.get(status.state, "dim"))
    )
    if status.blocked_by:
        label.append(f" by {', '.join(status.blocked_by)}", "yellow")
    return label


def _names(refs: Sequence[PluginRef]) -> str:
    named = ", ".join(str(ref) for ref in refs[:NAMES_LIMIT])
    more = len(refs) - NAMES_LIMIT
    return f"{named} and {more} more" if more > 0 else named


def _milliseconds(duration: float) -> str:
    return f"{duration:.1f} ms" if duration < 10 else f"{duration:.0f} ms"  # noqa: PLR2004 - digits


def _short(path: str) -> str:
    """`path` relative to the current folder where that is shorter to read."""
    here = os.getcwd() + os.sep  # noqa: PTH109 - a string is what is compared
    return path.removeprefix(here)
