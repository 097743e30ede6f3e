"""What there is to say of a single fact, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.padding import Padding
from rich.text import Text

from dagstack_dev.cli.screen import timed
from dagstack_dev.cli.wording import at, short
from dagstack_dev.core.blame import blame
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.events import (
    DrainTimedOut,
    Fact,
    HookFailed,
    PluginBlocking,
    PluginBlockingEnded,
    PluginDegraded,
    PluginLeaked,
    PluginOverstepped,
    PluginRecovered,
    PluginRequiresRestart,
    ReloadWaiting,
    TaskFailed,
    UndeclaredImport,
    WatchProblem,
    WatchRecovered,
)
from dagstack_dev.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

_WAITS: Final = 3
"""How much of what is waited for gets a line of its own."""


def remarks(fact: Fact) -> Iterator[RenderableType]:
    """Yield what to print of `fact`; nothing for one that is no single remark."""
    match fact:
        case PluginRecovered():
            yield timed(Text.assemble(("✓ ", "green"), f"{fact.ref} is healthy again"))
        case PluginBlockingEnded():
            took = f"after {fact.seconds:.1f} s in {busy_method(fact)}"
            yield timed(Text.assemble(("✓ ", "green"), f"the event loop goes on {took}"))
        case WatchRecovered():
            where = f"{short(fact.path)}: " if fact.path else ""
            yield timed(Text.assemble(("✓ ", "green"), f"{where}{fact.message}"))
        case ReloadWaiting():
            for wait in fact.waits[:_WAITS]:
                where = f" ({at(wait.path, wait.line, '')})" if wait.path else ""
                since = f"{wait.what} since {wait.seconds:.0f} s{where}"
                yield timed(Text(f"  waiting for {wait.ref}: {since}", "dim"))
            more = len(fact.waits[_WAITS:]) + fact.more
            if more:
                yield timed(Text(f"  and {more} more", "dim"))
        case PluginLeaked():
            yield _warning(f"{fact.ref}: generation {fact.generation} has left something behind")
            for holder in fact.holders:
                yield Padding(Text(short(holder), "dim"), (0, 0, 0, 4), expand=False)
        case _:
            message = _message(fact)
            if message is not None:
                yield _warning(message)


def _message(fact: Fact) -> str | None:
    match fact:
        case PluginDegraded():
            return f"{fact.ref} is degraded: {_reason(fact.error)}"
        case PluginRequiresRestart():
            return f"{fact.ref}: {fact.reason}; restart dagstack-dev to be sure"
        case PluginBlocking():
            busy = f"has kept the event loop busy for {fact.seconds:.1f} s"
            return f"{busy_method(fact)} {busy}{at(fact.path, fact.line)}"
        case PluginOverstepped():
            return f"{fact.ref or 'something'} {fact.message}{at(fact.path, fact.line)}"
        case UndeclaredImport():
            return f"{fact.ref} {short(fact.message)}{at(fact.path, fact.line)}"
        case DrainTimedOut():
            where = f", at {', '.join(map(short, fact.places))}" if fact.places else ""
            calls = counted(fact.calls, "call")
            return f"{fact.ref}: {calls} still in flight after {fact.seconds:g} s{where}"
        case HookFailed():
            return f"{fact.ref}: {fact.hook} raised {_reason(fact.error)}"
        case TaskFailed():
            return f"{fact.ref}: its {fact.task} raised {_reason(fact.error)}; {fact.message}"
        case WatchProblem():
            where = f"{short(fact.path)}: " if fact.path else ""
            return f"{where}{fact.message}"
        case _:
            return None


def busy_method(fact: PluginBlocking | PluginBlockingEnded) -> str:
    """Return the method that keeps the event loop busy, or did, and whose it is."""
    return fact.method if fact.ref is None else f"{fact.ref}: {fact.method}"


def _reason(error: BaseException) -> str:
    """Return what `error` says, and the line that it blames."""
    cause = blame(error)
    reason = getattr(error, "reason", None) or in_words(error)
    return f"{reason}{at(cause.path, cause.line)}"


def _warning(message: str) -> Text:
    return timed(Text.assemble(("! ", "yellow"), message))
