"""Plugins that are loaded one after another, each earlier where another one imports its code.

What a plugin imports of another one without depending on it would be there or not as chance has
it: at a start it may come later in the order, in a reload it runs already.
"""

from __future__ import annotations

import threading
from contextvars import Context, copy_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.blame import blame
from dagstack_dev.core.events import UndeclaredImport
from dagstack_dev.core.graph import reach
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.parsing import place_of_dependencies
from dagstack_dev.host.calls.current import current_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dagstack_dev.core.plan import Step
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable


_NOTHING: Final[Mapping[PluginRef, Step]] = MappingProxyType({})


def _load_nothing(ref: PluginRef) -> None:
    """Stand for a way to load while nothing is to be loaded."""


class _Import(NamedTuple):
    """One plugin's import of another one's code, and the line of it."""

    importer: PluginRef
    ref: PluginRef
    path: str
    line: int


class LoadQueue:
    """Loads plugins; the `core.ports.LoadsOnDemand` of runtimes."""

    def __init__(self, table: PluginTable) -> None:
        self._table = table
        self._left: dict[PluginRef, None] = {}
        self._load: Callable[[PluginRef], None] = _load_nothing
        self._unable: Mapping[PluginRef, Step] = {}
        self._context = Context()
        self._thread = 0
        self._unreported: list[_Import] = []
        self._known: set[tuple[PluginRef, PluginRef]] = set()

    def run(
        self,
        refs: Iterable[PluginRef],
        load: Callable[[PluginRef], None],
        unable: Mapping[PluginRef, Step] = _NOTHING,
    ) -> None:
        """Call `load` once with each of `refs`.

        Args:
            refs: the plugins, in topological order.
            load: loads one plugin. It raises nothing that only means this plugin.
            unable: what is not to be loaded, each with the step that says why.
        """
        self._left = dict.fromkeys(refs)
        self._load, self._unable = load, unable
        self._context, self._thread = copy_context(), threading.get_ident()
        try:
            for ref in [*self._left]:
                if ref in self._left:
                    self._take(ref)
        finally:  # Else what ran before, and the errors of it, would be held until the next time.
            self._left, self._load, self._context = {}, _load_nothing, Context()

    def _take(self, ref: PluginRef) -> None:
        del self._left[ref]
        # Not that of the plugin in whose import this may be.
        self._context.copy().run(self._load, ref)

    def need(self, ref: PluginRef) -> str | None:
        """Load `ref` now if it is in the queue, and before it what it depends on of that.

        Returns:
            Why its code cannot be imported, should that still be so; None if there is no such
            plugin.
        """
        if threading.get_ident() == self._thread and ref in self._left:
            for each in self._with_dependencies(ref):
                if each in self._left:  # Another one of them may have imported it.
                    self._take(each)
        return self._problem(ref)

    def _with_dependencies(self, ref: PluginRef) -> list[PluginRef]:
        """Return `ref` and, before it, what it depends on that is not loaded yet."""
        graph = self._table.graph
        needed = reach([ref], lambda each: self._left.keys() & graph.dependencies(each))
        return [ref] if len(needed) == 1 else [each for each in self._left if each in needed]

    def _problem(self, ref: PluginRef) -> str | None:
        table = self._table
        entry = table.entries.get(ref)
        if entry is None or ref not in table.graph:  # It is gone, or goes.
            return None
        if ref in self._left:
            return (
                f"{ref} is not loaded yet, and a thread cannot have it loaded; import it outside "
                "of threads, or add it to depends_on"
            )
        step = self._unable.get(ref)
        waits_for = entry.blocked_by or (step.blocked_by if step else ())
        error = entry.failure or (step.error if step else None)
        if error is not None and not waits_for:
            cause = blame(error)
            place = f" ({cause.path}:{cause.line})" if cause.path else ""
            return f"{ref} has failed: {cause.type}: {cause.message}{place}"
        waits_for = waits_for or tuple(
            str(each)
            for each in table.graph.dependencies(ref)
            if table.entries[each].failure is not None
        )
        if waits_for:
            return f"{ref} waits for {', '.join(waits_for)}"
        if table.states[ref] in {State.STOPPED, State.DISCOVERED}:
            return f"{ref} is not loaded"
        return f"{ref} does not run in this process, so its code cannot be imported"

    def note_import(self, importer: PluginRef | None, ref: PluginRef, path: str, line: int) -> None:
        """Code of `ref` has been imported by `importer`, or by shared code, at this line."""
        importer = importer or current_plugin.get()
        if importer in {None, ref} or importer not in self._table.entries:
            return
        if (importer, ref) not in self._known:
            self._known.add((importer, ref))
            self._unreported.append(_Import(importer, ref, path, line))
            is_up = self._table.states[importer] is State.READY
            if is_up and threading.get_ident() == self._thread:
                self.report_imports()

    def report_imports(self) -> None:
        """Publish the imports that are not declared; not in the midst of plugin code."""
        imports, self._unreported = self._unreported, []
        for importer, ref, path, line in imports:
            graph = self._table.graph
            if importer in graph.downstream([ref]):
                self._known.discard((importer, ref))  # It may be declared no more one day.
                continue
            if ref in graph.downstream([importer]):
                message = (
                    f"imports code of {ref}, which depends on {importer} in turn; move what both "
                    "need into a module beside them"
                )
            else:
                manifest, at = place_of_dependencies(self._table.entries[importer].revision.source)
                message = (
                    f"imports code of {ref}, which may not be loaded yet; add it to depends_on in "
                    f"{manifest}:{at}"
                )
            self._table.publish(
                UndeclaredImport(ref=importer, imported=ref, message=message, path=path, line=line)
            )
