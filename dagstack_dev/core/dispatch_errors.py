"""What can go wrong with hookspecs and dispatch, as exceptions that carry facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors import (
    Invalid,
    KindUnknown,
    PluginRegistryError,
    VersionIncompatible,
    in_words,
)
from dagstack_dev.core.refs import PluginRef, closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence


class HookspecsInvalid(Invalid):
    """A hookspec cannot be used; `problems` lists everything wrong with it at once."""

    what = "hookspecs"


class HookspecMissing(KindUnknown):
    """No hookspec declares a kind, or a hook of it.

    Attributes:
        kind: the kind.
        hook: the hook, None when the kind itself is not declared.
        declared: the kinds that are, or the hooks of that kind.
        ref: the plugin that is refused for it, if any (contract, section 4).
        path: that plugin's manifest.
    """

    def __init__(
        self,
        kind: str,
        hook: str | None = None,
        *,
        declared: Sequence[str],
        ref: PluginRef | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(kind)
        self.hook = hook
        self.declared = tuple(declared)
        self.ref = ref
        self.path = path

    @property
    def suggestion(self) -> str | None:
        """The declared kind or hook that comes closest, or None."""
        return closest(self.hook or self.kind, self.declared)

    def __str__(self) -> str:
        hint = did_you_mean(self.hook or self.kind, self.declared)
        listed = ", ".join(self.declared) or "none"
        if self.hook is not None:
            return f"kind {self.kind!r} has no hook {self.hook!r}{hint} (hooks: {listed})"
        subject = f"{self.ref}: " if self.ref else ""
        mend = f"mend kind in {self.path}, or " if self.path else ""
        return (
            f"{subject}no hookspec declares kind {self.kind!r}{hint} (kinds: {listed}); {mend}"
            "declare it with registry.add_hookspecs"
        )


class KindVersionIncompatible(VersionIncompatible):
    """A plugin is written for another major version of its kind (contract, section 4)."""

    def __init__(self, ref: PluginRef, wanted: str, declared: str, path: str | None) -> None:
        super().__init__(ref, wanted, declared, path)
        self.kind = ref.kind
        self.wanted = wanted
        self.declared = declared

    def __str__(self) -> str:
        return (
            f"{self.ref} is written for kind_api_version {self.wanted}, the hookspec of kind "
            f"{self.kind!r} is version {self.declared}; port the plugin and mend "
            f"kind_api_version in {self.path or 'its manifest'}"
        )


class DispatchMismatch(PluginRegistryError):
    """A hook was called in another way than its dispatch class says (ADR-2).

    Attributes:
        kind, hook: the hook.
        declared: its dispatch class.
        expected: the dispatch class of whoever was asked to call it; None for a direct call.
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
    """The name of the dispatcher for a dispatch class."""
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


class NotForChains(PluginRegistryError):
    """A plugin has a hook that is called in a chain, but is `in_process_only` (ADR-3)."""

    ref: PluginRef
    hook: str
    path: str | None

    def __str__(self) -> str:
        return (
            f"{self.ref}: hook {self.hook!r} is called in a chain, where in_process_only plugins "
            f"may not be; remove in_process_only from {self.path or 'its manifest'} or the hook "
            "from its class"
        )


class ActiveUnknown(KindUnknown):
    """The plugin that is to be the active one of its kind is not there; `source` named it."""

    def __init__(self, kind: str, name: str, source: str, *, known: Sequence[PluginRef]) -> None:
        super().__init__(kind, name, known=known)
        self.source = source

    def __str__(self) -> str:
        return f"{self.source} names {self.kind}/{self.name}, but {super().__str__()}"


class NobodyAnswers(KindUnknown):
    """No ready plugin of a kind has a hook (ADR-2); `known` are the plugins that could."""

    def __init__(self, kind: str, hook: str, *, known: Sequence[PluginRef]) -> None:
        super().__init__(kind, known=known)
        self.hook = hook

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
        plugins = "1 plugin" if len(self.errors) == 1 else f"{len(self.errors)} plugins"
        listed = "; ".join(f"{name}: {in_words(error)}" for name, error in self.errors)
        return f"{plugins} failed in a broadcast: {listed}"
