"""What a kind asks of its plugins: its hooks, each with the way in which it is called.

Specs are values. They come from a decorated class (`core.hookspecs.classes`), from YAML
(`core.hookspecs.yaml_text`), or are built in (`core.hookspecs.builtin`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from keyword import iskeyword
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.registry import HookspecMissing, KindVersionIncompatible
from dagstack_dev.core.refs import IDENTIFIER, IDENTIFIER_RULE, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.manifest.fields import PluginManifest

_VERSION: Final = re.compile(r"[0-9]+(\.[0-9]+){0,2}")
_PLACEHOLDERS: Final = ("kind", "plugin", "hook", "function")

NO_HOOKS: Final = frozenset({"setup", "teardown", "health", "matches"})
"""Methods that a plugin of any kind may have, and the host calls by itself."""

TOOL_NAME_TEMPLATE: Final = "{kind}.{plugin}.{hook}"
"""How a hook is called over MCP where its spec does not say (ADR-4)."""


class DispatchClass(StrEnum):
    """How a hook is called: the closed set of ADR-2. To change a hook's is a major change."""

    SINGLETON = "singleton"
    BROADCAST_COLLECT = "broadcast_collect"
    BROADCAST_NOTIFY = "broadcast_notify"
    CHAIN = "chain"
    CAPABILITY = "capability"


class ErrorPolicy(StrEnum):
    """What a `broadcast_collect` does when one of the plugins raises (ADR-2)."""

    FAIL_FAST = "fail_fast"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSpec:
    """One hook of a kind (contract, section 14).

    Attributes:
        name: of the method that plugins have for it.
        dispatch: how it is called.
        description: for people.
        input_schema, output_schema: JSON schemas of what goes in and comes out.
        mcp_exposed: whether it may be called over MCP.
        mcp_tool_name_template: its name there, with `{kind}`, `{plugin}`, `{hook}` and
            `{function}`.
        error_policy: what a broadcast does when a plugin raises.
    """

    name: str
    dispatch: DispatchClass
    description: str = ""
    input_schema: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None
    mcp_exposed: bool = False
    mcp_tool_name_template: str = TOOL_NAME_TEMPLATE
    error_policy: ErrorPolicy = ErrorPolicy.BEST_EFFORT


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSpec:
    """A kind of plugins and its hooks (contract, section 14).

    Attributes:
        kind: as manifests name it.
        kind_api_version: its version, as `1` or `1.2.0`; plugins declare the major one.
        hooks: each with a name of its own.
        description: for people.
        reserved: the hooks that are not for one plugin's proxy to call: all but singletons.
    """

    kind: str
    kind_api_version: str = "1"
    hooks: tuple[HookSpec, ...] = ()
    description: str = ""
    reserved: Mapping[str, DispatchClass] = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, HookSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {hook.name: hook for hook in self.hooks}
        reserved = {
            name: hook.dispatch
            for name, hook in by_name.items()
            if hook.dispatch is not DispatchClass.SINGLETON
        }
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))
        object.__setattr__(self, "reserved", MappingProxyType(reserved))

    @property
    def api_major(self) -> int:
        """The part of the version that manifests have to agree with."""
        return int(major_of(self.kind_api_version))

    def find(self, hook: str) -> HookSpec | None:
        """Return the hook of that name, or None."""
        return self._by_name.get(hook)

    def hook(self, name: str) -> HookSpec:
        """Return the hook of that name.

        Raises:
            HookspecMissing: there is none; a `KindUnknown`.
        """
        found = self._by_name.get(name)
        if found is None:
            raise HookspecMissing(self.kind, hook=name, declared=sorted(self._by_name))
        return found


class Kinds:
    """The kinds that an app has declared; immutable. Without any, every kind is welcome."""

    __slots__ = ("_specs",)

    def __init__(self, specs: Iterable[KindSpec] = ()) -> None:
        self._specs = MappingProxyType({spec.kind: spec for spec in specs})

    def __bool__(self) -> bool:
        return bool(self._specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kinds) and self._specs == other._specs

    def __hash__(self) -> int:
        return hash(frozenset(self._specs))

    @property
    def specs(self) -> Mapping[str, KindSpec]:
        """Each spec by its kind."""
        return self._specs

    def with_specs(self, specs: Iterable[KindSpec]) -> Kinds:
        """These and `specs`, which take the place of older ones of the same kind."""
        return Kinds([*self._specs.values(), *specs])

    def allow(self, manifest: PluginManifest) -> bool:
        """Return whether `check` passes."""
        spec = self._specs.get(manifest.kind)
        if spec is None:
            return not self._specs
        return major_of(manifest.kind_api_version) == major_of(spec.kind_api_version)

    def check(self, manifest: PluginManifest, path: str | None) -> None:
        """Refuse a plugin that may not be of the kind that it names (contract, section 4).

        Args:
            manifest: of the plugin.
            path: the manifest's file, for messages.

        Raises:
            HookspecMissing: kinds are declared, but not this one; a `KindUnknown`.
            KindVersionIncompatible: the plugin is for another major version of it; a
                `VersionIncompatible`.
        """
        if self.allow(manifest):
            return
        spec = self._specs.get(manifest.kind)
        if spec is None:
            declared = sorted(self._specs)
            raise HookspecMissing(manifest.kind, declared=declared, ref=manifest.ref, path=path)
        raise KindVersionIncompatible(
            manifest.ref, manifest.kind_api_version, spec.kind_api_version, path
        )


NO_KINDS: Final = Kinds()


def major_of(version: str) -> str:
    """Return what stands before the first dot, without leading zeros."""
    major = version.partition(".")[0]
    return str(int(major)) if major.isdecimal() else major


def problem_of(field: str, value: str) -> str | None:
    """Return what is wrong with the value of a field, in words, or None."""
    check = _CHECKS.get(field)
    return None if check is None else check(value)


def _problem_of_kind(kind: str) -> str | None:
    return None if re.fullmatch(IDENTIFIER, kind) else f"{kind!r} {IDENTIFIER_RULE}"


def _problem_of_version(version: str) -> str | None:
    return None if _VERSION.fullmatch(version) else f'{version!r} must read "1" or "1.0.0"'


def _problem_of_hook_name(name: str) -> str | None:
    if name in NO_HOOKS:
        return f"{name!r} is no hook: plugins of every kind may have it, and the host calls it"
    if name.isidentifier() and not iskeyword(name) and not name.startswith("_"):
        return None
    return f"{name!r} must be the name of a public method"


def _problem_of_template(template: str) -> str | None:
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        return f"{template!r} cannot be filled in: {error}"
    unknown = next((name for name in names if name not in _PLACEHOLDERS), None)
    if unknown is None:
        return None
    known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
    return f"{{{unknown}}} is none of {known}{did_you_mean(unknown, _PLACEHOLDERS)}"


def _none_of(known: type[StrEnum]) -> Callable[[str], str | None]:
    words = [member.value for member in known]

    def check(word: str) -> str | None:
        if word in words:
            return None
        return f"{word!r} is none of {', '.join(words)}{did_you_mean(word, words)}"

    return check


_CHECKS: Final = {
    "kind": _problem_of_kind,
    "kind_api_version": _problem_of_version,
    "name": _problem_of_hook_name,
    "dispatch": _none_of(DispatchClass),
    "error_policy": _none_of(ErrorPolicy),
    "mcp_tool_name_template": _problem_of_template,
}
