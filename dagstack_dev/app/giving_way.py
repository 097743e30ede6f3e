"""Plugins that are only tried again give way to whatever is newer."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dagstack_dev.app.inbox import Batch
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.table import PluginTable

_URGENT: Final = frozenset(
    {".py", ".toml", ".js", ".mjs", ".cjs", ".ts", ".go", ".rs", ".rb", ".sh"}
)
"""Suffixes of what people edit. Others change by themselves too, as logs do: no slow plugin would
ever come up beside them."""


class GivingWay:
    """Breaks off setups that may last, as those of plugins whose server is down.

    Args:
        table: the plugins.
    """

    def __init__(self, table: PluginTable) -> None:
        self._table = table
        self._refs: Collection[PluginRef] = ()
        self._is_pressed = False

    @contextmanager
    def trying(self, refs: Collection[PluginRef], waiting: Batch) -> Iterator[None]:
        """Inside this block, `refs` are tried again; `waiting` is what has come in already."""
        self._refs = refs
        self._is_pressed = _is_urgent(waiting)
        try:
            yield
        finally:
            self._refs = ()

    def note(self, waiting: Batch) -> None:
        """Something has come in; `waiting` is all that waits now."""
        if self._refs and _is_urgent(waiting):
            self._is_pressed = True
            for ref in self._refs:
                self._put_off(ref)

    def begins(self, ref: PluginRef) -> None:
        """The setup of `ref` begins."""
        if self._is_pressed and ref in self._refs:
            self._put_off(ref)

    def _put_off(self, ref: PluginRef) -> None:
        running = self._table.entries[ref].running
        if running is not None:
            running.put_off()


def _is_urgent(waiting: Batch) -> bool:
    asked = waiting.everywhere or waiting.forced or waiting.crashed
    return bool(asked) or any(PurePath(path).suffix in _URGENT for path in waiting.paths)
