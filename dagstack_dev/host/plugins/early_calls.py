"""Why a call must not wait for a setup: it comes from one that has to be over first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.calls import PluginNotSetUp
from dagstack_dev.core.frames import callers as frames_of_callers
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.parsing import place_of_dependencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.code_map import CodeMap
    from dagstack_dev.host.plugins.entry import Entry

_UP: Final = frozenset({State.READY, State.TEARING_DOWN})
"""The states in which a plugin may call any other: its setup has ended."""


class EarlyCalls:
    """The `host.calls.gate.TooEarly` of a table.

    Args:
        entries: the plugins.
        states: where each is in its life.
        code: whose code is where.
        graph: returns the dependencies in force.
    """

    def __init__(
        self,
        entries: Mapping[PluginRef, Entry],
        states: Mapping[PluginRef, State],
        code: CodeMap,
        graph: Callable[[], DependencyGraph],
    ) -> None:
        self._entries = entries
        self._states = states
        self._code = code
        self._graph = graph

    def __call__(
        self, ref: PluginRef, callers: Sequence[PluginRef], *, can_wait: bool
    ) -> PluginNotSetUp | None:
        """Return why a call must not wait until `ref`, whose gate is closed, has been set up.

        It comes from the import or setup of a plugin that does not depend on `ref`: in another
        order, or with `ref` waiting for that setup in turn, there would be no instance to answer.
        Where the setup of `ref` is under way, it can be waited for.

        Args:
            ref: the plugin that is called.
            callers: those that the call comes from, the innermost first; none for the app.
            can_wait: whether the call may wait at all.
        """
        states = self._states
        if states[ref] in _UP or (can_wait and states[ref] is State.SETTING_UP):
            return None
        known = [each for each in callers or self._on_stack() if each in states]
        if all(states[each] in _UP for each in known):
            return None
        path, line = place_of_dependencies(self._entries[known[0]].revision.source)
        below = next((each for each in known if ref in self._graph().downstream([each])), None)
        return PluginNotSetUp(
            ref, below or known[0], path=path, line=line, is_downstream=below is not None
        )

    def _on_stack(self) -> Iterator[PluginRef]:
        """Yield the plugins whose code is on the stack, the innermost first."""
        for frame in frames_of_callers(sys._getframe(1)):  # noqa: SLF001 - there is no other way
            ref = self._code.plugin_at(frame.f_code.co_filename)
            if ref is not None:
                yield ref
