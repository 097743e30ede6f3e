"""What a person sees: a banner, a line per reload, a short frame per failure."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.text import Text

from dagstack_dev.cli.failures import (
    FRAMES_LIMIT,
    NAMES_LIMIT,
    Failures,
    alike,
    names,
    teardown_of,
)
from dagstack_dev.cli.plugin_tree import blockers, label, plugin_tree
from dagstack_dev.cli.reload_line import ends, reload_line
from dagstack_dev.cli.remarks import remarks
from dagstack_dev.cli.screen import timed
from dagstack_dev.cli.wording import duration, short, spaced
from dagstack_dev.core.errors.files import AppFileInvalid
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
    TeardownFailed,
    Transition,
    WatchProblem,
    WatchRecovered,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.wording import counted
from dagstack_dev.host.reload.transaction import ROLLED_BACK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from rich.console import Console, RenderableType
    from rich.tree import Tree

    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry.registry import Registry
    from dagstack_dev.page.access import Access

TREE_LIMIT: Final = 40
"""Plugins up to which the banner draws all; of more, as many of those that are not ready."""

_UNUSABLE: Final = "cannot be used", "bold red"


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
        self._steps: list[Transition] = []  # Of reloads that have not been reported yet.
        self._unframed: list[Transition] = []  # Failures among them.
        self._framed: dict[PluginRef, BaseException] = {}  # Before the report of its reload.
        self._teardowns: dict[PluginRef, int | None] = {}  # The reloads of those that have failed.
        self._torn_down = 0
        self._at_start: list[Transition] = []
        self._unread: dict[str, BaseException] = {}  # Files and folders that cannot be used.
        self._started = False
        self._renewed: tuple[int, frozenset[PluginRef]] = 0, frozenset()

    def __call__(self, fact: Fact, /) -> None:
        """Print what a person wants to know of `fact`, if anything."""
        self._failures.note_reload(getattr(fact, "reload_id", None))
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
                self._failures.forget(fact.settled)
            case PluginFixed():
                self._fixed(fact)
            case PluginRetrying() if not self._started:
                self._early_retries.append(fact)
            case PluginRetrying():
                self._failures.show_retry(fact)
            case WatchStopped():
                self._stopped(fact)
            case TeardownFailed():
                self._teardowns[fact.ref] = fact.reload_id
                self._failures.show_teardown(fact.ref, fact.error)
            case PluginRequiresRestart() if self._is_ending(fact):
                pass
            case _:
                self._note_unseen(fact)
                self._print(*remarks(fact))

    def _remember(self, fact: Transition) -> None:
        if fact.to_state in {State.READY, State.REMOVED}:
            self._failures.end_retries(fact.ref, is_gone=fact.to_state is State.REMOVED)
            if self._teardowns.get(fact.ref) != fact.reload_id:  # Another generation is up since.
                self._teardowns.pop(fact.ref, None)
        if fact.reload_id is not None:
            self._steps.append(fact)
            if fact.to_state is State.FAILED:
                self._unframed.append(fact)
            elif fact.reason == ROLLED_BACK:
                self._frame_before_roll_back(fact.reload_id)
        elif fact.to_state is State.FAILED:
            if self._started:  # No reload's: a plugin died by itself.
                self._failures.show_crash(fact.ref, f"{fact.ref} {_how(fact)}", fact.error)
            else:
                self._at_start.append(fact)
        elif fact.to_state is State.STOPPED:
            self._torn_down += 1

    # The banner

    def _banner(self, fact: WatchStarted) -> None:
        at_start, self._at_start = self._at_start, []
        failures = {each.ref: each for each in at_start if not self._is_preempted(each.error)}
        groups = alike((each.ref, each.error, each.stage) for each in failures.values())
        for refs in islice(groups, FRAMES_LIMIT):
            first = failures[refs[0]]
            self._failures.show(str(first.ref), f"{names(refs)} {_how(first)}", first.error)
        for failure in failures.values():
            self._failures.remember(failure.ref, failure.error)
        self._started = True
        watched = [", ".join(map(short, fact.roots))] if fact.roots else []
        if fact.code_roots:
            watched.append(f"code in {', '.join(map(short, fact.code_roots))}")
        what = " and ".join(watched) or "nothing"
        how = " by polling" if fact.polling else ""
        title = Text.assemble(("dagstack-dev", "bold"), f" watching {what}{how}")
        statuses = self._registry.statuses()
        if not statuses and not self._unread:
            self._print(title, Text("no plugins yet; a folder with a dagstack.toml will be one"))
            return
        more = 0
        if len(statuses) > TREE_LIMIT:
            not_ready = [each for each in statuses.values() if each.state is not State.READY]
            not_ready.sort(key=lambda each: each.state is State.BLOCKED)  # The causes first.
            statuses = {each.ref: each for each in not_ready[:TREE_LIMIT]}
            more = len(not_ready) - len(statuses)
        tree = self._tree(title, statuses)
        if more:
            tree.add(Text(f"and {more} more are not ready", "dim"))
        self._print(tree)
        down = fact.plugins - fact.ready
        summary = Text.assemble(
            f"{fact.plugins} plugins, " if down and fact.plugins > 1 else "",
            (f"{fact.ready} ready", "green"),
            (f", {down} not", "bold red") if down else "",
            (f"  {duration(fact.duration_ms)}", "dim"),
            ("  waiting for a fix; Ctrl-C to stop" if down else "  Ctrl-C to stop", "dim"),
        )
        self._print(summary)
        for retry in self._early_retries:
            self._failures.show_retry(retry)
        self._early_retries.clear()

    def show_page(self, access: Access) -> None:
        """Print where the dev page is, and where coding agents find their tools."""
        self._console.print(Text.assemble("page  ", (access.address, "bold")), soft_wrap=True)
        agents = f"agents  {access.agents_url}  its token: dagstack-dev page --agents"
        self._console.print(Text(agents, "dim"), soft_wrap=True)

    # What is asked for by a key

    @property
    def last_place(self) -> tuple[str, int] | None:
        """The path and line of the last failure shown that is not mended."""
        failed = {str(each.ref) for each in self._registry.statuses().values() if each.error}
        failed.update(map(short, self._unread), map(teardown_of, self._teardowns))
        return self._failures.last_place(failed)

    def show_tree(self) -> None:
        """Print all plugins, each below what it depends on."""
        statuses = self._registry.statuses()
        total = len(statuses) + len(self._unnamed)
        self._print(self._tree(Text(counted(total, "plugin"), "bold"), statuses))

    @property
    def _unnamed(self) -> list[str]:
        """The folders of plugins that not even a name can be read of, or that another has."""
        unread = self._unread.items()
        return [path for path, error in unread if not isinstance(error, AppFileInvalid)]

    def _tree(self, title: Text, statuses: Mapping[PluginRef, PluginStatus]) -> Tree:
        tree = plugin_tree(title, statuses, self._registry)
        for folder in islice(self._unnamed, TREE_LIMIT):
            tree.add(Text.assemble((short(folder), "bold"), "  ", _UNUSABLE))
        return tree

    def show_status(self) -> None:
        """Print how many plugins are in which state, and those about which there is more to say."""
        statuses = sorted(self._registry.statuses().values(), key=_urgency)
        counts = Counter(each.state for each in statuses)
        states = [f"{number} {spaced(state)}" for state, number in counts.items()]
        if unnamed := len(self._unnamed):
            states.append(f"{unnamed} cannot be used")
        self._print(timed(Text(", ".join(states) or "no plugins", "bold")))
        for each in statuses:
            if each.state is not State.READY or each.error or each.requires_restart:
                self._print(Text("  ").append_text(label(each, self._registry)))
        for path in self._unread:
            self._print(Text.assemble("  ", (short(path), "bold"), "  ", _UNUSABLE))

    def show_failures(self) -> None:
        """Frame again what has failed and is not mended."""
        statuses = self._registry.statuses().values()
        failed = [each for each in statuses if each.error is not None]
        by_ref = {each.ref: each for each in failed}
        for refs in alike((each.ref, each.error, each.stage) for each in failed):
            first = by_ref[refs[0]]
            how = first.stage.failure if first.stage else "failed"
            if first.pending and self._failures.is_rejection(first.ref):
                how = "rejected"
            elif first.degraded and not first.pending:
                how = "is degraded"
            keeps = f"still running generation {first.generation}" if first.pending else None
            self._failures.show(str(first.ref), f"{names(refs)} {how}", first.error, keeps)
        for path, error in self._unread.items():
            self._failures.show(short(path), f"{short(path)} cannot be used", error)
        blocked = [each for each in statuses if each.state is State.BLOCKED]
        self._print_waiting(blocked)
        if not (failed or blocked or self._unread):
            self._print(timed(Text.assemble(("✓ ", "green"), "no failures")))

    # Reloads

    def _committed(self, fact: ReloadCommitted) -> None:
        affected = {*fact.affected, *fact.changed}
        steps = self._take_steps(affected)
        self._failures.forget(affected)
        *_, blocked = ends(steps)
        self._done(fact, affected.difference(step.ref for step in blocked), steps)
        self._print_waiting(blocked)

    def _done(
        self,
        fact: ReloadCommitted | ReloadFailed,
        done: AbstractSet[PluginRef],
        steps: Sequence[Transition],
    ) -> None:
        """Print the line of what is ready or gone by `steps`; its next failure is news."""
        if not done:
            return
        reload_id, renewed = self._renewed
        others = renewed if fact.reload_id == reload_id else ()
        self._renewed = fact.reload_id, frozenset({*fact.changed, *others})
        self._failures.forget(done)
        self._print(timed(reload_line(fact, done, steps)))

    def _print_waiting(self, blocked: Sequence[Transition | PluginStatus]) -> None:
        for step in blocked[:NAMES_LIMIT]:
            whom = blockers(step.ref, step.blocked_by, self._registry)
            why = f" waits for {whom}" if whom else " is blocked"
            self._print(Text.assemble("  ", (str(step.ref), "yellow"), why))
        if len(blocked) > NAMES_LIMIT:
            self._print(Text(f"  and {len(blocked) - NAMES_LIMIT} more wait", "yellow"))

    def _rejected(self, fact: PluginRejected) -> None:
        if fact.ref is None:
            self._unread[fact.path] = fact.error
        keeps = None
        if fact.keeps_generation is not None:
            keeps = f"still running generation {fact.keeps_generation}"
        elif isinstance(fact.error, AppFileInvalid):
            keeps = "its last valid version stays in force"
        self._failures.show_rejection(fact.ref, short(fact.path), fact.error, keeps)

    def _fixed(self, fact: PluginFixed) -> None:
        self._unread.pop(fact.path, None)
        reload_id, renewed = self._renewed
        if fact.ref in renewed and fact.reload_id == reload_id:
            return  # The line of the reload says so.
        who = str(fact.ref) if fact.ref else short(fact.path)
        line = Text.assemble(("✓ ", "green"), (who, "bold"), f" fixed: {fact.message}")
        self._print(timed(line))

    def _note_unseen(self, fact: Fact) -> None:
        """Remember which watched folders are gone."""
        if isinstance(fact, WatchProblem) and fact.path and fact.error is not None:
            self._unread[fact.path] = fact.error
        elif isinstance(fact, WatchRecovered) and fact.path:
            self._unread.pop(fact.path, None)

    def _frame_before_roll_back(self, reload_id: int) -> None:
        """Frame what has failed in a reload: what is logged next is of what ran before."""
        now = [step for step in self._unframed if step.reload_id == reload_id]
        self._unframed = [step for step in self._unframed if step.reload_id != reload_id]
        for step in now:
            ref, error = step.ref, step.error
            if error is not None:
                if self._is_news(ref, error):
                    self._failures.show_news([ref], f"{ref} failed", error, None)
                self._framed[ref] = error

    def _is_news(self, ref: PluginRef, error: BaseException) -> bool:
        """Return whether a failure is to be framed; a broken off setup is but a line."""
        if self._framed.get(ref) is error or self._failures.is_crash(ref, error):
            return False
        return not (self._is_preempted(error) or self._failures.is_retry(ref, error))

    def _rolled_back(self, fact: ReloadRolledBack) -> None:
        self._take_steps(fact.affected)
        culprits = set(fact.errors)
        innocent = set(fact.changed) - culprits
        if innocent and not culprits.isdisjoint(fact.changed):
            rest = []  # It is tried next, without the culprits: what follows says how that went.
        else:
            rest = [ref for ref in fact.running if ref not in culprits]
        for ref, error in fact.errors.items():
            if self._is_news(ref, error):
                self._failures.show_news([ref], f"{ref} failed", error, None)
        self._forget_framed(fact.affected)
        if all(type(error) is SetupPreempted for error in fact.errors.values()):
            return
        own = (ref for ref in fact.errors if ref in fact.running)
        kept = [f"{ref} generation {fact.running[ref]}" for ref in own]
        running = ", ".join(kept + ([names(rest)] if rest else []))
        line = Text.assemble(("↩ ", "yellow"), f"rolled back after {duration(fact.duration_ms)}")
        self._print(timed(line.append(f", still running: {running}" if running else "")))

    def _forget_framed(self, reported: Iterable[PluginRef]) -> None:
        for ref in reported:
            self._framed.pop(ref, None)

    def _failed(self, fact: ReloadFailed) -> None:
        steps = self._take_steps(fact.affected)
        up, went, blocked = ends(steps)
        behind = _waiting_for(fact.errors, blocked)
        waiting = f"{names(behind)} {'wait' if behind[1:] else 'waits'} for" if behind else ""
        framed: list[PluginRef] = []
        for ref, error in fact.errors.items():
            if self._is_news(ref, error):
                framed.append(ref)
            elif waiting and self._failures.is_crash(ref, error):
                self._print(Text(f"  {waiting} {ref}", "yellow"))
                waiting = ""
        self._forget_framed(fact.affected)
        for refs in alike((ref, fact.errors[ref], None) for ref in framed):
            error, keeps = fact.errors[refs[0]], f"{waiting} it" if waiting else None
            self._failures.show_news(refs, f"{names(refs)} failed", error, keeps)
            waiting = ""
        done = {*went} if fact.roll_back_ms is not None else {*up, *went}  # Else: as it ran before.
        self._done(fact, done, steps)
        self._print_waiting([step for step in blocked if step.ref not in behind])

    def _take_steps(self, refs: Collection[PluginRef]) -> list[Transition]:
        """Return the steps of `refs`, which are being reported; other parts come later."""
        taken = [step for step in self._steps if step.ref in refs]
        self._steps = [step for step in self._steps if step.ref not in refs]
        self._unframed = [step for step in self._unframed if step.ref not in refs]
        return taken

    def _is_preempted(self, error: BaseException | None) -> bool:
        """Print a line for a setup that was broken off for an edit, and return whether it was."""
        if type(error) is not SetupPreempted:
            return False
        self._print(Text(f"  {error}", "dim"))
        return True

    def _stopped(self, fact: WatchStopped) -> None:
        count = f"{counted(self._torn_down, 'plugin')} torn down"
        errors = f", {counted(len(fact.errors), 'error')}" if fact.errors else ""
        self._print(
            Text.assemble(("■ ", "dim"), f"{count}{errors}  ", (duration(fact.duration_ms), "dim"))
        )

    def _is_ending(self, fact: PluginRequiresRestart) -> bool:
        """Return whether everything is being torn down, and the process about to end anyhow."""
        stopped = self._registry.table.states.get(fact.ref) is State.STOPPED
        return stopped and fact.reload_id is None

    def _print(self, *things: RenderableType) -> None:
        for thing in things:
            self._console.print(thing)


def _how(step: Transition) -> str:
    """Return in which way a plugin has failed, behind its name."""
    return step.stage.failure if step.stage else f"failed: {step.reason}"


def _urgency(status: PluginStatus) -> int:
    """Return a key that sorts plugins: what runs, what does not, and what waits for that."""
    return {State.READY: 0, State.BLOCKED: 2}.get(status.state, 1)


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
