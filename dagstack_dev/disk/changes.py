"""What a look at the disk found different."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.disk.reading import SeenFile


@dataclass(frozen=True, slots=True)
class DiskChanges:
    """What a look at the disk found different.

    Attributes:
        added: plugin folders that were not there before.
        changed: folders whose files differ, as (before, now).
        removed: folders that are gone, or are plugins no longer.
        unsettled: folders that look as if they were still being written: new ones, and those
            where a file is suddenly empty or gone. Nobody should act on this look yet.
        denied: folders that are there and cannot be searched, with the reason. What was known
            below them counts as unchanged.
    """

    added: tuple[PluginSource, ...] = ()
    changed: tuple[tuple[PluginSource, PluginSource], ...] = ()
    removed: tuple[PluginSource, ...] = ()
    unsettled: frozenset[str] = frozenset()
    denied: Mapping[str, str] = field(default_factory=dict)
    _seen: dict[str, dict[str, SeenFile]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def present(self) -> Iterator[PluginSource]:
        """What is there now of what differs."""
        yield from self.added
        yield from (now for _, now in self.changed)

    def and_also(self, other: DiskChanges) -> DiskChanges:
        """These changes and those of `other`, for one reload."""
        return DiskChanges(
            self.added + other.added,
            self.changed + other.changed,
            self.removed + other.removed,
            self.unsettled | other.unsettled,
            {**self.denied, **other.denied},
            {**self._seen, **other._seen},
        )

    def seen(self, folder: str) -> dict[str, SeenFile]:
        """The files of an added or changed folder, as they were read."""
        return self._seen[folder]


def looks_unfinished(before: PluginSource, now: PluginSource) -> bool:
    """Whether a file was emptied or has vanished, as half-way through a save."""
    return any(
        not old.is_empty and (path not in now.files or now.files[path].is_empty)
        for path, old in before.files.items()
    )
