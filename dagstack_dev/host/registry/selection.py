"""Which plugin of a kind is the active one, where only one can be (ADR-2)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

from dagstack_dev.core.errors.registry import ActiveUnknown, AmbiguousPlugin

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest

RoutingPolicy: TypeAlias = "Callable[[str, Sequence[PluginManifest]], str | None]"
"""Given a kind and its plugins' manifests, names the active one, or leaves it open with None."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Z0-9]")


class _Candidate(Protocol):
    """A plugin, by its manifest in force."""

    @property
    def manifest(self) -> PluginManifest: ...


T = TypeVar("T", bound=_Candidate)


@lru_cache
def active_variable(kind: str) -> str:
    """Return the environment variable that names the active plugin of a kind."""
    return f"DAGSTACK_ACTIVE_{_NOT_IN_NAMES.sub('_', kind.upper())}"


def select(kind: str, candidates: Sequence[T], policy: RoutingPolicy | None) -> T:
    """Return the active plugin of a kind: by policy, then by environment, then by priority.

    Args:
        kind: the kind.
        candidates: its plugins; not empty.
        policy: the app's, if it has one.

    Raises:
        ActiveUnknown: policy or environment name a plugin that is none of them; a `KindUnknown`.
        AmbiguousPlugin: several share the highest priority, and nothing else decides.
    """
    if policy is not None:
        name = policy(kind, [each.manifest for each in candidates])
        if name:
            return _named(kind, name, candidates, "the routing policy")
    variable = active_variable(kind)
    name = os.environ.get(variable)
    if name:
        return _named(kind, name, candidates, variable)
    if len(candidates) == 1:
        return candidates[0]
    highest = max(each.manifest.priority for each in candidates)
    best = [each for each in candidates if each.manifest.priority == highest]
    if len(best) > 1:
        raise AmbiguousPlugin.lookup(kind, sorted(each.manifest.ref for each in best))
    return best[0]


def _named(kind: str, name: str, candidates: Sequence[T], source: str) -> T:
    for each in candidates:
        if each.manifest.name == name:
            return each
    raise ActiveUnknown(kind, name, source=source, known=[each.manifest.ref for each in candidates])
