"""What all dispatchers have in common: who is called, through what, and in which order."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio

from dagstack_dev.core.builtin_kinds import find_spec
from dagstack_dev.core.dispatch_errors import DispatchMismatch
from dagstack_dev.core.errors import PluginCancelled, PluginUnavailable
from dagstack_dev.core.events import HookFailed
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.current import current_plugin
from dagstack_dev.host.proxy import HOOK_PREFIX, refit
from dagstack_dev.host.tasks import is_stray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dagstack_dev.core.hookspecs import DispatchClass, HookSpec
    from dagstack_dev.host.dispatch.members import Member
    from dagstack_dev.host.registry import Registry


class _Left:
    """What a call answers whose plugin has no such hook any more, or is no longer there."""


LEFT: Final = _Left()

_PLAIN: Final = frozenset({bool, bytes, dict, float, int, list, set, str, tuple, type(None)})
"""What most hooks answer, and what is not looked at twice."""


class Dispatcher:
    """Calls one hook of the ready plugins of a kind, through their proxies.

    Plugins that are being swapped by a reload count as ready: an asynchronous dispatch waits for
    them, as any call does. A synchronous one can wait in a thread other than the event loop's
    only; on the loop's own, the plugin's call is a `PluginUnavailable`. A plugin that does not
    come back is left out. A dispatch out of a plugin's own setup or teardown reaches those that
    are ready at that moment, and waits for nobody.

    Args:
        registry: whose plugins are called.
        dispatch_class_override: takes the place of what the hookspec declares, for kinds that
            have none (contract, section 8).
    """

    dispatch_class: ClassVar[DispatchClass]

    def __init__(self, registry: Registry, *, dispatch_class_override: str | None = None) -> None:
        self._registry = registry
        self._table = registry.table
        self._override = dispatch_class_override

    def _check(self, kind: str, hook: str) -> HookSpec | None:
        """The spec of a hook that is ours to call; None where an override takes its place.

        Raises:
            DispatchMismatch: it is declared to be called in another way.
            HookspecMissing: it is not declared; a `KindUnknown`.
        """
        self._registry.look_at_loop()
        if self._override is not None:
            spec, declared = None, self._override
        else:
            spec = find_spec(kind, self._table.kinds).hook(hook)
            declared = spec.dispatch
        if declared != self.dispatch_class:
            raise DispatchMismatch(kind, hook, declared, self.dispatch_class)
        return spec

    def _live(self, members: Iterable[Member]) -> list[Member]:
        """Those of `members` that answer now, or after a reload that they are in."""
        caller = current_plugin.get()
        if caller is None or self._table.states.get(caller) is State.READY:
            return [member for member in members if member.is_ready or member.gate.is_held]
        return [member for member in members if member.is_ready]  # Who swaps it may wait for us.

    def _name(self, kind: str, hook: str) -> str:
        """Where the proxies of a kind have a hook: apart, if others may not call it directly."""
        return HOOK_PREFIX + hook if hook in self._table.reserved(kind) else hook

    def _call(
        self,
        member: Member,
        name: str,
        ctx: object,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """The result of a method of the plugin's proxy, or `LEFT`.

        Raises:
            TypeError: the method is asynchronous.
            Exception: what the plugin raises.
        """
        try:
            method = getattr(member.entry.proxy, name, None) or self._seek(member, name)
            if method is None:
                return LEFT
            result = method(ctx, *args, **kwargs)
        except PluginUnavailable as error:
            if _has_left(member, error):
                return LEFT
            raise
        if type(result) not in _PLAIN and hasattr(type(result), "__await__"):
            _close(result)
            hook = name.removeprefix(HOOK_PREFIX)
            raise TypeError(f"{member.ref}: {hook} is asynchronous; use dispatch_async")
        return result

    async def _call_async(
        self,
        member: Member,
        name: str,
        ctx: object,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """As `_call`; waits for a plugin that is being reloaded, and for its answer.

        Raises:
            PluginCancelled: the call ended with a cancellation, and not the caller's.
            Exception: what the plugin raises.
        """
        try:
            if member.gate.closed:
                await member.gate.pass_through()
            method = getattr(member.entry.proxy, name, None) or self._seek(member, name)
            if method is None:
                return LEFT
            result = method(ctx, *args, **kwargs)
            return await result if hasattr(type(result), "__await__") else result
        except PluginUnavailable as error:
            if _has_left(member, error):
                return LEFT
            raise
        except anyio.get_cancelled_exc_class() as error:
            if is_stray(error):
                raise PluginCancelled(member.ref, name.removeprefix(HOOK_PREFIX)) from error
            raise

    def _seek(self, member: Member, name: str) -> Any:
        """A method that the proxy, if there is one yet, does not know of."""
        proxy = self._table.proxy(member.entry)
        if name.startswith(HOOK_PREFIX) and member.has(name.removeprefix(HOOK_PREFIX)):
            refit(proxy)  # The method has come since the proxy was made.
        return getattr(proxy, name, None)

    def _tell(self, member: Member, hook: str, error: Exception) -> None:
        """Let the observers know of an error that is not raised."""
        self._table.publish(HookFailed(ref=member.ref, hook=hook, error=recorded(error)))


def _has_left(member: Member, error: PluginUnavailable) -> bool:
    """Whether `error` says that the plugin itself is not there any more."""
    return error.ref == member.ref and member.gate.unavailable is not None


def _close(awaitable: Any) -> None:
    """Let go of a coroutine that nobody will await, without a warning."""
    with suppress(Exception):
        awaitable.close()
