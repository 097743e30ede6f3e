"""Which generations the plugins have had, and what was edited for each."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.snapshot import GenerationRecord
from dagstack_dev.core.timeline import Edit, bounded, edits_between

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource

MOST_GENERATIONS: Final = 10
"""How many are kept of each plugin."""

MOST_BYTES: Final = 32_000_000
"""How much is kept of the edited files of all plugins together."""


@dataclass(slots=True)
class _Known:
    """What is kept of one plugin: its generations by a key, and the files of the last one."""

    records: OrderedDict[int, GenerationRecord] = field(default_factory=OrderedDict)
    source: PluginSource | None = None


class Generations:
    """The last generations of each plugin.

    Where too much was edited for all of them together, it is forgotten what was edited for the
    oldest ones; which files these were stays known.

    Args:
        most_bytes: how much is kept of edited files.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._keys = count()
        self._known: defaultdict[PluginRef, _Known] = defaultdict(_Known)
        self._sizes: OrderedDict[int, tuple[PluginRef, int]] = OrderedDict()

    def of(self, ref: PluginRef) -> tuple[GenerationRecord, ...]:
        """Return those of one plugin, the newest last."""
        return tuple(self._known[ref].records.values())

    def note(self, ref: PluginRef, number: int, since: float, source: PluginSource | None) -> None:
        """Note that a generation is ready, unless it is the last one that is known.

        Args:
            ref: the plugin.
            number: its generation.
            since: when it became ready, in seconds since the epoch.
            source: its files.
        """
        known, edits = self._known[ref], None
        if known.records:
            if next(reversed(known.records.values())).number == number:
                return
            edits = tuple(bounded(edits_between(known.source, source)))
        known.source, key = source, next(self._keys)
        known.records[key] = GenerationRecord(number, since, edits)
        if size := sum(each.size for each in edits or ()):
            self._sizes[key] = ref, size
            self._bytes += size
        if len(known.records) > MOST_GENERATIONS:
            self._release(known.records.popitem(last=False)[0])
        while self._bytes > self._most_bytes:
            oldest, (its_ref, size) = self._sizes.popitem(last=False)
            self._bytes -= size
            records = self._known[its_ref].records
            paths = (each.path for each in records[oldest].edits or ())
            edits = tuple(Edit(path, None, None) for path in paths)
            records[oldest] = records[oldest]._replace(edits=edits)

    def forget(self, ref: PluginRef) -> None:
        """Forget a plugin that is gone."""
        for key in self._known.pop(ref, _Known()).records:
            self._release(key)

    def _release(self, key: int) -> None:
        """Count the edits of a generation no more."""
        _, size = self._sizes.pop(key, (None, 0))
        self._bytes -= size
