"""One hook of the active plugin of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dagstack_dev.core.errors.calls import NobodyAnswers
from dagstack_dev.core.hookspecs.kinds import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Call, Dispatcher
from dagstack_dev.host.plugins.selection import select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagstack_dev.host.plugins.members import Member


class SingletonDispatcher(Dispatcher[Any]):
    """Calls the hook of the active plugin: of those that are ready and have it, just one.

    It is chosen as `get_plugin` without a name does: by routing policy, then
    `DAGSTACK_ACTIVE_<KIND>`, then the highest priority (ADR-2). Returns what the hook answers.

    `dispatch` raises `KindUnknown`, too, where no ready plugin has the hook or the active one is
    none of those, and `AmbiguousPlugin` where several share the highest priority and nothing else
    tells.
    """

    dispatch_class: ClassVar = DispatchClass.SINGLETON

    async def _run(
        self, call: Call, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        self._check(kind, hook)
        name = self._name(kind, hook)
        left: set[Member] = set()
        while True:
            member = self._active(kind, hook, left)
            result = await call(member, name, args, kwargs)
            if result is not LEFT:
                return result
            left.add(member)

    def _active(self, kind: str, hook: str, left: set[Member]) -> Member:
        """Return the plugin to call, of those that have not `left` since the dispatch began."""
        live = self._live(self._table.members.having(kind, hook))
        members = [member for member in live if member not in left] if left else live
        if not members:
            known = [entry.ref for entry in self._table.present()]
            raise NobodyAnswers(kind, hook=hook, known=known)
        return select(kind, members, self._registry.routing_policy)
