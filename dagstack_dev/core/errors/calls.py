"""Calls that reach no plugin, or not in the way that its hook is declared (ADR-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import PluginRegistryError, in_words, place_of
from dagstack_dev.core.errors.registry import KindUnknown
from dagstack_dev.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstack_dev.core.refs import PluginRef


class PluginUnavailable(PluginRegistryError):
    """A call reached a plugin that cannot answer now; `reason` says why and what to do."""

    ref: PluginRef
    reason: str

    template = "{ref} is unavailable: {reason}"


class NoSuchMethod(PluginUnavailable):
    """A call asks a plugin for a method that it does not have, or that is not for callers."""

    template = "{ref}: {reason}"


class PluginNotSetUp(PluginUnavailable, AttributeError):
    """A plugin was called in the setup of another one, and its own setup has not ended yet.

    An `AttributeError` too: what its setup makes is not there yet, which is how `hasattr` puts it.

    Attributes:
        caller: the plugin whose code calls.
        path: the caller's manifest, where there is one; `line` is that of its `depends_on`.
        is_downstream: whether the plugin depends on `caller` itself, directly or not.
    """

    def __init__(
        self,
        ref: PluginRef,
        caller: PluginRef,
        *,
        path: str | None = None,
        line: int | None = None,
        is_downstream: bool = False,
    ) -> None:
        reason = f"is not set up yet; add it to depends_on in {place_of(path, line)}"
        if is_downstream:
            reason = f"is not set up yet, for it depends on {caller}; call it after that is set up"
        elif path is None:
            reason = f"is not set up yet; add it to depends_on of {caller}"
        super().__init__(ref, reason)
        self.caller = caller
        self.path = path
        self.line = line
        self.is_downstream = is_downstream

    template = "{ref} {reason}"


class DispatchMismatch(PluginRegistryError):
    """A hook was called in another way than its dispatch class says (ADR-2).

    Attributes:
        kind, hook: the hook.
        declared: its dispatch class.
        expected: the dispatch class of the dispatcher that was asked; None for a direct call.
    """

    kind: str
    hook: str
    declared: str
    expected: str | None = None
    ref: PluginRef | None = None

    def __str__(self) -> str:
        right = dispatcher_of(self.declared)
        call = f"{right}(registry).dispatch({self.kind!r}, {self.hook!r}, ctx, ...)"
        if self.expected is None:
            return (
                f"{self.ref}: hook {self.hook!r} is declared {self.declared}, so it is not for "
                f"one plugin's proxy to call; use {call}"
            )
        wrong = dispatcher_of(self.expected)
        return (
            f"hook {self.hook!r} of kind {self.kind!r} is declared {self.declared}, not "
            f"{self.expected} as {wrong} takes it; use {call}"
        )


def dispatcher_of(dispatch: str) -> str:
    """Return the name of the dispatcher for a dispatch class."""
    return "".join(word.capitalize() for word in dispatch.split("_")) + "Dispatcher"


class NoCapabilityMatch(PluginRegistryError):
    """No plugin of a kind takes an input (ADR-2).

    Attributes:
        kind, hook: what was asked for.
        asked: the plugins that came into question, in order.
    """

    kind: str
    hook: str
    asked: Sequence[PluginRef]

    def __str__(self) -> str:
        asked = ", ".join(map(str, self.asked)) or "none came into question"
        return (
            f"no ready plugin takes this input for {self.kind}.{self.hook} (asked: {asked}); add "
            "a plugin for it, or one with fallback = true"
        )


class NobodyAnswers(KindUnknown):
    """No ready plugin of a kind has a hook (ADR-2); `known` are the plugins that could."""

    hook: str = ""

    def __str__(self) -> str:
        there = ", ".join(str(ref) for ref in self.known if ref.kind == self.kind)
        if not there:
            return super().__str__()
        return f"no ready plugin of kind {self.kind!r} has the hook {self.hook!r} (of {there})"


class BroadcastErrors(PluginRegistryError):
    """What the plugins of one broadcast raised; the others' results are there all the same.

    Attributes:
        errors: name of the plugin and what it raised, in the order of the calls.
    """

    def __init__(self, errors: Sequence[tuple[str, BaseException]]) -> None:
        super().__init__(tuple(errors))
        self.errors: list[tuple[str, BaseException]] = list(errors)

    def __str__(self) -> str:
        listed = "; ".join(f"{name}: {in_words(error)}" for name, error in self.errors)
        return f"{counted(len(self.errors), 'plugin')} failed in a broadcast: {listed}"
