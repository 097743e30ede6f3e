"""One hook of the active plugin of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dagstack_dev.core.dispatch_errors import NobodyAnswers
from dagstack_dev.core.hookspecs import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Dispatcher
from dagstack_dev.host.dispatch.selection import select

if TYPE_CHECKING:
    from dagstack_dev.host.dispatch.members import Member


class SingletonDispatcher(Dispatcher):
    """Calls the hook of the active plugin: of those that are ready and have it, just one.

    It is chosen as `get_plugin` without a name does: by routing policy, then
    `DAGSTACK_ACTIVE_<KIND>`, then the highest priority (ADR-2).
    """

    dispatch_class: ClassVar = DispatchClass.SINGLETON

    def dispatch(self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any) -> Any:
        """Call the hook of the active plugin; for a hook that is synchronous.

        Returns:
            What the hook answers.

        Raises:
            DispatchMismatch: the hook is declared to be called in another way.
            KindUnknown: it is not declared, no ready plugin has it, or the active one is none of
                those.
            AmbiguousPlugin: several share the highest priority, and nothing else tells.
            Exception: what the plugin raises.
        """
        self._check(kind, hook)
        name = self._name(kind, hook)
        left: set[Member] = set()
        while True:
            member = self._active(kind, hook, left)
            result = self._call(member, name, ctx, args, kwargs)
            if result is not LEFT:
                return result
            left.add(member)

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any
    ) -> Any:
        """As `dispatch`; for a hook of either sort."""
        self._check(kind, hook)
        name = self._name(kind, hook)
        left: set[Member] = set()
        while True:
            member = self._active(kind, hook, left)
            result = await self._call_async(member, name, ctx, args, kwargs)
            if result is not LEFT:
                return result
            left.add(member)

    def _active(self, kind: str, hook: str, left: set[Member]) -> Member:
        """The plugin to call, of those that have not `left` since the dispatch began."""
        live = self._live(self._table.members.having(kind, hook))
        members = [member for member in live if member not in left] if left else live
        if not members:
            known = [entry.ref for entry in self._table.present()]
            raise NobodyAnswers(kind, hook, known=known)
        return select(kind, members, self._registry.routing_policy)
