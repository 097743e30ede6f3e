"""What of the plugins differs from before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagstack_dev.core.sources import PluginSource


@dataclass(frozen=True, slots=True)
class DiskChanges:
    """What of the plugins differs from before.

    Attributes:
        added: plugins that were not there before.
        changed: those whose files differ, as (before, now).
        removed: those that are gone, or are plugins no longer.
    """

    added: tuple[PluginSource, ...] = ()
    changed: tuple[tuple[PluginSource, PluginSource], ...] = ()
    removed: tuple[PluginSource, ...] = ()
