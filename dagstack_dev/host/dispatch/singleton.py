"""One hook of the active plugin of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dagstack_dev.core.errors.calls import NobodyAnswers
from dagstack_dev.core.hookspecs.kinds import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Dispatcher, HookCall
from dagstack_dev.host.registry.selection import select

if TYPE_CHECKING:
    from dagstack_dev.host.plugins.members import Member


class SingletonDispatcher(Dispatcher[Any]):
    """Calls the hook of the active plugin: of those that are ready and have it, just one.

    It is chosen as `get_plugin` without a name does: by routing policy, then
    `DAGSTACK_ACTIVE_<KIND>`, then the highest priority (ADR-2). Returns what the hook answers.

    `dispatch` raises `KindUnknown`, too, where no ready plugin has the hook or the active one is
    none of those, and `AmbiguousPlugin` where several share the highest priority and nothing else
    decides.
    """

    dispatch_class: ClassVar = DispatchClass.SINGLETON

    async def _run(self, hook: HookCall) -> Any:
        left: set[Member] = set()
        while True:
            member = self._active(hook, left)
            result = await hook.on(member)
            if result is not LEFT:
                return result
            left.add(member)

    def _active(self, hook: HookCall, left: set[Member]) -> Member:
        """Return the plugin to call, of those that have not `left` since the dispatch began."""
        members = [member for member in self._having(hook) if member not in left]
        if not members:
            known = [entry.ref for entry in self._table.present()]
            raise NobodyAnswers(hook.kind, hook=hook.hook, known=known)
        return select(hook.kind, members, self._registry.routing_policy)
