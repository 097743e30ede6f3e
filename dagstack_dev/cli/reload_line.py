"""A reload in a line: what has changed, come and gone, why, and how long it took."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.text import Text

from dagstack_dev.cli.failures import NAMES_LIMIT, names
from dagstack_dev.cli.wording import duration, short
from dagstack_dev.core.desired import PENDING
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.events import ReloadCommitted, ReloadFailed, Transition
    from dagstack_dev.core.refs import PluginRef

SLOW_MS: Final = 500
"""Milliseconds from which on a reload says what has taken them."""

_STEPS: Final = {State.STOPPED: "teardown", State.LOADED: "import", State.READY: "setup"}


def reload_line(
    fact: ReloadCommitted | ReloadFailed,
    done: AbstractSet[PluginRef],
    steps: Collection[Transition],
) -> Text:
    """Return the line of what a reload, or a part of one, has done.

    Args:
        fact: its end.
        done: what is ready or gone by it.
        steps: all that it has taken, in their order.
    """
    _, went, _ = ends(steps)
    here = {*done}.difference(went)
    came = [step.ref for step in steps if step.to_state is State.DISCOVERED and step.ref in here]
    changed = [ref for ref in fact.changed if ref in here and ref not in came]
    others = here.difference(fact.changed, came)
    dependents = counted(len(others), "dependent") if others else ""
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
    if dependents and not changed:
        line.append("  " if line else "")
        line.append("↻ ", "green").append(dependents)
    reasons = {step.ref: step.reason for step in steps}
    news = dict.fromkeys(reasons[ref] for ref in changed if ref in reasons)
    if news.keys() > {PENDING}:
        del news[PENDING]  # It was tried again for the others.
    if news:
        line.append(f"  {', '.join(map(short, islice(news, NAMES_LIMIT)))}", "dim")
    slow = _slow_steps(steps) if fact.duration_ms >= SLOW_MS else ""
    line.append(f"  {duration(fact.duration_ms)}{slow and f': {slow}'}", "dim")
    return line


def ends(
    steps: Iterable[Transition],
) -> tuple[list[PluginRef], list[PluginRef], list[Transition]]:
    """Return what is ready and what is gone after `steps`, and the steps of what is blocked."""
    last = {step.ref: step for step in steps}.values()
    up = [step.ref for step in last if step.to_state is State.READY]
    went = [step.ref for step in last if step.to_state is State.REMOVED]
    return up, went, [step for step in last if step.to_state is State.BLOCKED]


def _slow_steps(steps: Collection[Transition]) -> str:
    """Return the slowest teardown, import and setup of a reload, without those that are quick."""
    slow = []
    for state, name in _STEPS.items():
        timed = [step for step in steps if step.to_state is state and step.duration_ms is not None]
        slowest = max(timed, key=lambda step: step.duration_ms or 0, default=None)
        if slowest is not None and (took := slowest.duration_ms or 0) >= SLOW_MS / 10:
            whose = f" of {slowest.ref}" if timed[1:] else ""
            slow.append(f"{name}{whose} {duration(took)}")
    return ", ".join(slow)
