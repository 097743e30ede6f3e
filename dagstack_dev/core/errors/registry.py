"""Plugins that cannot be found, distinguished, or taken at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.core.core_version import admitting
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.refs import PluginRef, closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class AmbiguousPlugin(PluginRegistryError):
    """One name, several plugins.

    Raised for two folders that declare the same kind and name (`paths`), for a bare name in
    `depends_on` that exists in several kinds, for a lookup without a name that ends in a tie, and
    for two fallbacks of a kind (`candidates`).
    """

    message: str
    ref: PluginRef | None = None
    candidates: Sequence[PluginRef] = ()
    paths: Sequence[str] = ()

    template = "{message}"

    def _complete(self) -> None:
        self.path = self.paths[-1] if self.paths else None

    @classmethod
    def duplicate(cls, ref: PluginRef, paths: Sequence[str]) -> AmbiguousPlugin:
        """Several folders declare `ref`."""
        listed = " and ".join(paths)
        message = f"{ref} is declared twice, in {listed}; give one of them another name or kind"
        return cls(message, ref=ref, candidates=(ref,), paths=paths)

    @classmethod
    def dependency(
        cls, ref: PluginRef, name: str, candidates: Sequence[PluginRef]
    ) -> AmbiguousPlugin:
        """`ref` depends on a bare `name` that exists in several kinds."""
        tables = " or ".join(
            f'{{ kind = "{other.kind}", name = "{other.name}" }}' for other in candidates
        )
        listed = ", ".join(map(str, candidates))
        message = f"{ref}: depends_on {name!r} may be {listed}; write {tables} in depends_on"
        return cls(message, ref=ref, candidates=candidates)

    @classmethod
    def fallback(cls, refs: Sequence[PluginRef], path: str) -> AmbiguousPlugin:
        """Several plugins of one kind say that they take whatever is left (ADR-2)."""
        listed = ", ".join(map(str, refs))
        message = (
            f"{listed} both say fallback = true, and a kind can have one; remove it from "
            f"all but one of them (the last is in {path})"
        )
        return cls(message, ref=refs[-1], candidates=refs, paths=(path,))

    @classmethod
    def lookup(cls, kind: str, candidates: Sequence[PluginRef]) -> AmbiguousPlugin:
        """Say that a lookup of `kind` alone found several plugins of one priority."""
        listed = ", ".join(map(str, candidates))
        message = (
            f"{len(candidates)} plugins of kind {kind!r} have the highest priority: "
            f"{listed}; pass name= or give one of them a higher priority"
        )
        return cls(message, candidates=candidates)


class VersionIncompatible(PluginRegistryError):
    """A plugin's `core_version` excludes the version of the running core."""

    ref: PluginRef
    required: str
    core_version: str
    path: str | None

    def __str__(self) -> str:
        return (
            f"{self.ref} needs core_version {self.required}, this core is {self.core_version}; "
            f'write for example core_version = "{admitting(self.core_version)}", or use another '
            f"core{self._place}"
        )


class KindUnknown(PluginRegistryError):
    """A lookup named a kind, or a name of that kind, that is not registered."""

    kind: str
    name: str | None = None
    known: Sequence[PluginRef] = ()

    def _complete(self) -> None:
        if self.name is not None:
            self.ref = PluginRef(self.kind, self.name)

    def _asked(self) -> tuple[str, Sequence[str]]:
        """Return the word that is not known, and those that are."""
        kinds = sorted({ref.kind for ref in self.known})
        if self.name is None or self.kind not in kinds:
            return self.kind, kinds
        return self.name, sorted(ref.name for ref in self.known if ref.kind == self.kind)

    @property
    def suggestion(self) -> str | None:
        """What is known and comes closest, or None."""
        return closest(*self._asked())

    def __str__(self) -> str:
        word, known = self._asked()
        listed, hint = ", ".join(known) or "none", did_you_mean(word, known)
        if self.name is None or not any(ref.kind == self.kind for ref in self.known):
            return f"no plugin of kind {word!r} is registered{hint} (kinds: {listed})"
        return f"kind {self.kind!r} has no plugin named {word!r}{hint} (names: {listed})"


INSTALL_MCP: Final = 'pip install "httpx2>=2.10,<3"'
"""What of the extra `[mcp]` is needed, spelt so that it works beside a checkout, too."""


_INSTALL: Final = {"mcp_http": INSTALL_MCP}
"""What brings a runtime that is known, but may not be installed."""


class RuntimeNotSupported(PluginRegistryError):
    """None of the runtimes that a plugin declares can be served here.

    The message says what to install, where that is all that is missing.
    """

    ref: PluginRef
    declared: Sequence[str]
    available: Sequence[str]
    path: str | None

    def __str__(self) -> str:
        install = next((_INSTALL[word] for word in self.declared if word in _INSTALL), None)
        if install is not None:
            return (
                f"{self.ref} runs in {', '.join(self.declared)}, which is not installed; run "
                f"{install}{self._place}"
            )
        hint = next((h for word in self.declared if (h := did_you_mean(word, self.available))), "")
        return (
            f"{self.ref} runs in {', '.join(self.declared)}, which is not available here{hint} "
            f"(available: {', '.join(self.available)}){self._place}"
        )


class DependencyCycle(PluginRegistryError):
    """The declared dependencies close a cycle; `cycle` lists its plugins in order, each once."""

    cycle: Sequence[PluginRef]

    def _complete(self) -> None:
        self.ref = self.cycle[0]

    def __str__(self) -> str:
        if len(self.cycle) == 1:
            return f"{self.ref} depends on itself; remove it from depends_on{self._place}"
        closed = " -> ".join(str(ref) for ref in (*self.cycle, self.cycle[0]))
        return f"dependency cycle: {closed}; remove one of these from depends_on{self._place}"


class DependencyMissing(PluginRegistryError):
    """A plugin depends on plugins that are not there; `missing` holds their names as written.

    Args:
        ref: the plugin.
        missing: the names.
        known: those that there are. They are looked through when the error is read: a folder may
            hold thousands of plugins that all miss something.
        path: its folder.
    """

    ref: PluginRef
    missing: Sequence[str]
    known: Collection[str] = ()
    path: str | None = None

    @property
    def suggestions(self) -> dict[str, str]:
        """What may have been meant by a name that is missing."""
        near = ((name, closest(name, self.known)) for name in self.missing)
        return {name: match for name, match in near if match is not None}

    def __str__(self) -> str:
        near = self.suggestions
        wanted = ", ".join(
            f"{name!r} (did you mean {near[name]!r}?)" if name in near else repr(name)
            for name in self.missing
        )
        advice = "which does not exist; add it or change depends_on"
        return f"{self.ref} depends on {wanted}, {advice}{self._place}"


class DependencyBlocked(PluginRegistryError):
    """What a plugin depends on is there but cannot be made ready."""

    ref: PluginRef
    blockers: Sequence[PluginRef]

    def __str__(self) -> str:
        return f"{self.ref} waits for {', '.join(map(str, self.blockers))}, which is not ready"


class HookspecMissing(KindUnknown):
    """No hookspec declares a kind, or a hook of it.

    Attributes:
        kind: the kind.
        hook: the hook, None when the kind itself is not declared.
        declared: the kinds that are, or the hooks of that kind.
        ref: the plugin that is refused for it, if any (contract, section 4).
        path: that plugin's manifest.
    """

    hook: str | None = None
    declared: Sequence[str] = ()
    ref: PluginRef | None = None
    path: str | None = None

    def _asked(self) -> tuple[str, Sequence[str]]:
        return self.hook or self.kind, self.declared

    def __str__(self) -> str:
        hint, listed = did_you_mean(*self._asked()), ", ".join(self.declared) or "none"
        if self.hook is not None:
            return f"kind {self.kind!r} has no hook {self.hook!r}{hint} (hooks: {listed})"
        subject = f"{self.ref}: " if self.ref else ""
        other = f"mend kind in {self.path}, or " if self.path else ""
        return (
            f"{subject}no hookspec declares kind {self.kind!r}{hint} (kinds: {listed}); {other}"
            "declare it with registry.add_hookspecs"
        )


class KindVersionIncompatible(VersionIncompatible):
    """A plugin is written for another major version of its kind (contract, section 4)."""

    def _complete(self) -> None:
        self.kind, self.wanted, self.declared = self.ref.kind, self.required, self.core_version

    def __str__(self) -> str:
        return (
            f"{self.ref} is written for kind_api_version {self.wanted}, the hookspec of kind "
            f"{self.kind!r} is version {self.declared}; port the plugin and mend "
            f"kind_api_version in {self.path or 'its manifest'}"
        )


class ActiveUnknown(KindUnknown):
    """The plugin that is to be the active one of its kind is not there; `source` named it."""

    source: str = ""

    def __str__(self) -> str:
        return f"{self.source} names {self.kind}/{self.name}, but {super().__str__()}"


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
