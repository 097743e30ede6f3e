"""What a person sees: a banner, a line per reload, a short frame per failure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.text import Text

from dagstack_dev.cli.excerpts import short
from dagstack_dev.cli.failures import NAMES_LIMIT, Failures, alike, names
from dagstack_dev.cli.plugin_tree import blockers, plugin_tree
from dagstack_dev.cli.remarks import remarks
from dagstack_dev.cli.screen import timed
from dagstack_dev.core.errors.life import SetupPreempted
from dagstack_dev.core.events import (
    Fact,
    PluginFixed,
    PluginRejected,
    PluginRequiresRestart,
    PluginRetrying,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    TeardownFailed,
    Transition,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import Stage, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.console import Console, RenderableType

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry.registry import Registry

TREE_LIMIT: Final = 40
"""Plugins up to which the banner draws all; of more, as many of those that are not ready."""

FRAMES_LIMIT: Final = 20
"""Failures that the banner frames; those that come after them can be seen when they are fixed."""

_STAGES: Final = {
    Stage.PREPARE: "cannot be loaded",
    Stage.IMPORT: "failed to import",
    Stage.SETUP: "failed in setup",
    Stage.RUN: "failed",
    Stage.HEALTH: "was not healthy",
}


class Terminal:
    """Prints facts for a person; an observer.

    Args:
        registry: to draw the tree and to say what still runs.
        console: where to print.
    """

    def __init__(self, registry: Registry, console: Console) -> None:
        self._registry = registry
        self._console = console
        self._failures = Failures(console)
        self._early_retries: list[PluginRetrying] = []
        self._steps: list[Transition] = []
        self._at_start: list[Transition] = []
        self._left_out: list[str] = []
        self._started = False
        self._renewed: tuple[int, frozenset[PluginRef]] = 0, frozenset()

    def __call__(self, fact: Fact, /) -> None:
        """Print what a person wants to know of `fact`, if anything."""
        match fact:
            case Transition():
                self._remember(fact)
            case ReloadStarted():
                self._steps.clear()
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
                self._failures.forget(fact.settled)
            case PluginFixed():
                self._fixed(fact)
            case PluginRetrying() if not self._started:
                self._early_retries.append(fact)
            case PluginRetrying():
                self._failures.show_retry(fact)
            case WatchStopped():
                self._stopped(fact)
            case _:
                self._remark(fact)

    def _remember(self, fact: Transition) -> None:
        if fact.to_state in {State.READY, State.REMOVED}:
            self._failures.end_retries(fact.ref, is_gone=fact.to_state is State.REMOVED)
        if fact.reload_id is not None:
            self._steps.append(fact)
        elif fact.to_state is State.FAILED:
            if self._started:  # No reload's: a plugin died by itself.
                title = f"{fact.ref} failed: {fact.reason}"
                self._failures.show_crash(fact.ref, title, fact.error)
            else:
                self._at_start.append(fact)
        elif fact.to_state is State.STOPPED:
            self._steps.append(fact)

    # The banner

    def _banner(self, fact: WatchStarted) -> None:
        at_start, self._at_start = self._at_start, []
        failures = {each.ref: each for each in at_start if not self._is_preempted(each.error)}
        groups = alike((each.ref, each.error, each.stage) for each in failures.values())
        for refs in islice(groups, FRAMES_LIMIT):
            first = failures[refs[0]]
            how = _STAGES[first.stage] if first.stage else "failed"
            self._failures.show(str(first.ref), f"{names(refs)} {how}", first.error)
        for failure in failures.values():
            self._failures.remember(failure.ref, failure.error)
        self._steps.clear()
        self._started = True
        watched = [", ".join(map(short, fact.roots))] if fact.roots else []
        if fact.code_roots:
            watched.append(f"code in {', '.join(map(short, fact.code_roots))}")
        what = " and ".join(watched) or "nothing"
        how = " by polling" if fact.polling else ""
        title = Text.assemble(("dagstack-dev", "bold"), f" watching {what}{how}")
        statuses = self._registry.statuses()
        if not statuses and not self._left_out:
            self._print(title, Text("no plugins yet; a folder with a dagstack.toml will be one"))
            return
        more = 0
        if len(statuses) > TREE_LIMIT:
            not_ready = [each for each in statuses.values() if each.state is not State.READY]
            not_ready.sort(key=lambda each: each.state is State.BLOCKED)  # The causes first.
            statuses = {each.ref: each for each in not_ready[:TREE_LIMIT]}
            more = len(not_ready) - len(statuses)
        tree = plugin_tree(title, statuses, self._registry)
        for folder in self._left_out[:TREE_LIMIT]:
            tree.add(Text.assemble((folder, "bold"), "  ", ("left out", "bold red")))
        if more:
            tree.add(Text(f"and {more} more are not ready", "dim"))
        self._print(tree)
        down = fact.plugins - fact.ready + len(self._left_out)
        summary = Text.assemble(
            (f"{fact.ready} ready", "green"),
            (f", {down} not", "bold red") if down else "",
            (f"  {_milliseconds(fact.duration_ms)}", "dim"),
            ("  waiting for a fix; Ctrl-C to stop" if down else "  Ctrl-C to stop", "dim"),
        )
        self._print(summary)
        for retry in self._early_retries:
            self._failures.show_retry(retry)
        self._early_retries.clear()

    # Reloads

    def _committed(self, fact: ReloadCommitted) -> None:
        came = [s.ref for s in self._steps if s.to_state is State.DISCOVERED]
        went = [s.ref for s in self._steps if s.to_state is State.REMOVED]
        blocked = [s for s in self._steps if s.to_state is State.BLOCKED]
        affected = set(fact.affected)
        reasons = {s.ref: s.reason for s in self._steps if s.ref in fact.changed}
        self._renewed = fact.reload_id, frozenset(fact.changed)
        self._steps.clear()
        self._failures.forget(affected)
        changed = [ref for ref in fact.changed if ref not in came and ref not in went]
        others = affected.difference(fact.changed, came, went, (s.ref for s in blocked))
        dependents = f"{len(others)} dependent{'' if len(others) == 1 else 's'}" if others else ""
        line = Text()
        for mark, style, refs in (
            ("↻", "green", changed),
            ("+", "cyan", came),
            ("-", "yellow", went),
        ):
            if refs:
                line.append("  " if line else "").append(f"{mark} ", style)
                line.append(names(refs), "bold")
                line.append(f" + {dependents}" if dependents and refs is changed else "")
        if not changed and (dependents or not line):
            line.append("  " if line else "")
            line.append("↻ ", "green").append(dependents)
        news = list(dict.fromkeys(reasons[ref] for ref in changed if ref in reasons))
        if news:
            more = f" and {len(news) - 1} more" if news[1:] else ""
            line.append(f"  {short(news[0])}{more}", "dim")
        line.append(f"  {_milliseconds(fact.duration_ms)}", "dim")
        self._print(timed(line))
        self._print_waiting(blocked)

    def _print_waiting(self, blocked: Sequence[Transition]) -> None:
        for step in blocked[:NAMES_LIMIT]:
            whom = blockers(step.ref, step.blocked_by, self._registry)
            why = f" waits for {whom}" if whom else " is blocked"
            self._print(Text.assemble("  ", (str(step.ref), "yellow"), why))
        if len(blocked) > NAMES_LIMIT:
            self._print(Text(f"  and {len(blocked) - NAMES_LIMIT} more wait", "yellow"))

    def _rejected(self, fact: PluginRejected) -> None:
        if fact.ref is None and not self._started:
            self._left_out.append(short(fact.path))
        if fact.ref is not None:
            self._failures.forget([fact.ref])
        who = str(fact.ref) if fact.ref else short(fact.path)
        keeps = (
            f"still running generation {fact.keeps_generation}"
            if fact.keeps_generation is not None
            else None
        )
        self._failures.show(who, f"{who} rejected", fact.error, keeps)

    def _fixed(self, fact: PluginFixed) -> None:
        reload_id, renewed = self._renewed
        if fact.ref in renewed and fact.reload_id == reload_id:
            return  # The line of the reload says so.
        who = str(fact.ref) if fact.ref else short(fact.path)
        line = Text.assemble(("✓ ", "green"), (who, "bold"), f" fixed: {fact.message}")
        self._print(timed(line))

    def _rolled_back(self, fact: ReloadRolledBack) -> None:
        self._forget_steps(fact.affected)
        culprits = set(fact.errors)
        number = {ref: fact.running.get(ref) for ref in culprits}
        rest = [ref for ref in fact.running if ref not in culprits]
        for ref, error in fact.errors.items():
            if self._is_preempted(error):
                continue
            keeps = (
                f"still running generation {number[ref]}"
                if number[ref] is not None
                else f"still running: {names(rest)}"
            )
            if rest and number[ref] is not None:
                keeps += f", and so {'is' if len(rest) == 1 else 'are'} {names(rest)}"
            after = f"rolled back after {_milliseconds(fact.duration_ms)}"
            self._failures.show_news([ref], f"{ref} failed, {after}", error, keeps)

    def _failed(self, fact: ReloadFailed) -> None:
        steps = [step for step in self._steps if step.ref in fact.affected]
        went = [step.ref for step in steps if step.to_state is State.REMOVED]
        blocked = [step for step in steps if step.to_state is State.BLOCKED]
        self._forget_steps(fact.affected)
        behind = _waiting_for(fact.errors, blocked)
        waiting = f"waiting for it: {names(behind)}" if behind else None
        framed: list[PluginRef] = []
        for ref, error in fact.errors.items():
            if self._failures.is_crash(ref, error):
                if waiting:
                    self._print(Text(f"  {waiting}", "yellow"))
                    waiting = None
            elif not (self._is_preempted(error) or self._failures.is_retry(ref, error)):
                framed.append(ref)
        for refs in alike((ref, fact.errors[ref], None) for ref in framed):
            error = fact.errors[refs[0]]
            self._failures.show_news(refs, f"{names(refs)} failed", error, waiting)
            waiting = None
        if went:
            self._print(timed(Text.assemble(("- ", "yellow"), (names(went), "bold"))))
        self._print_waiting([step for step in blocked if step.ref not in behind])

    def _forget_steps(self, refs: Collection[PluginRef]) -> None:
        """Leave `refs`, which have been reported, out of the line about the rest of a reload."""
        self._steps = [step for step in self._steps if step.ref not in refs]

    def _is_preempted(self, error: BaseException | None) -> bool:
        """Print a line for a setup that was broken off for an edit, and return whether it was."""
        if type(error) is not SetupPreempted:
            return False
        self._print(Text(f"  {error}", "dim"))
        return True

    def _stopped(self, fact: WatchStopped) -> None:
        stopped = [step for step in self._steps if step.to_state is State.STOPPED]
        count = f"{len(stopped)} plugin{'' if len(stopped) == 1 else 's'} torn down"
        number = len(fact.errors)
        errors = f", {number} error{'' if number == 1 else 's'}" if number else ""
        self._print(
            Text.assemble(
                ("■ ", "dim"), f"{count}{errors}  ", (_milliseconds(fact.duration_ms), "dim")
            )
        )

    def _remark(self, fact: Fact) -> None:
        if isinstance(fact, TeardownFailed):
            self._failures.show(str(fact.ref), f"{fact.ref}: teardown failed", fact.error)
        elif not (isinstance(fact, PluginRequiresRestart) and self._is_ending(fact)):
            self._print(*remarks(fact))

    def _is_ending(self, fact: PluginRequiresRestart) -> bool:
        """Return whether everything is being torn down, and the process about to end anyhow."""
        stopped = self._registry.table.states.get(fact.ref) is State.STOPPED
        return stopped and fact.reload_id is None

    def _print(self, *things: RenderableType) -> None:
        for thing in things:
            self._console.print(thing)


def _milliseconds(duration: float) -> str:
    return f"{duration:.1f} ms" if duration < 10 else f"{duration:.0f} ms"  # noqa: PLR2004 - digits


def _waiting_for(failed: Iterable[PluginRef], blocked: Collection[Transition]) -> list[PluginRef]:
    """Return those of `blocked` that wait for any of `failed`, directly or through others."""
    found: list[PluginRef] = []
    behind = {str(ref) for ref in failed}
    left = list(blocked)
    while near := [step for step in left if not behind.isdisjoint(step.blocked_by)]:
        found += (step.ref for step in near)
        behind = {str(step.ref) for step in near}
        left = [step for step in left if step not in near]
    return sorted(found)
