"""What a batch puts before the planner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagstack_dev.core.plan import Candidate, Load

if TYPE_CHECKING:
    from dagstack_dev.core.errors import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.entry import Entry, Offer


@dataclass(slots=True)
class Draft:
    """What a batch puts before the planner.

    Attributes:
        candidates: by ref.
        offers: what each is loaded from.
        removed: plugins whose folder is gone.
        unchanged: plugins whose folder is again what runs already.
        unclaimed: folders that cannot even be given a plugin, with the reason.
        offering: folders that offer something, or are broken.
    """

    candidates: dict[PluginRef, Candidate] = field(default_factory=dict)
    offers: dict[PluginRef, Offer] = field(default_factory=dict)
    removed: set[PluginRef] = field(default_factory=set)
    unchanged: set[PluginRef] = field(default_factory=set)
    unclaimed: dict[str, PluginRegistryError] = field(default_factory=dict)
    offering: set[str] = field(default_factory=set)


def candidate_for(entry: Entry, reason: str, load: Load) -> Candidate:
    """What `entry` is already, to be loaded once more."""
    return Candidate(
        entry.ref,
        wants=entry.manifest.depends_on,
        priority=entry.manifest.priority,
        reason=reason,
        load=load,
    )
