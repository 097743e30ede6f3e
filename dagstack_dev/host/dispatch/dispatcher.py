"""What all dispatchers have in common: who is called, through what, and in which order."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import anyio

from dagstack_dev.core.errors.calls import DispatchMismatch, PluginUnavailable
from dagstack_dev.core.errors.life import PluginCancelled
from dagstack_dev.core.events import HookFailed
from dagstack_dev.core.hookspecs.builtin import find_spec
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.calls.current import current_plugin
from dagstack_dev.host.calls.proxy import HOOK_PREFIX, refit
from dagstack_dev.host.loop.tasks import is_stray

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from dagstack_dev.core.hookspecs.kinds import DispatchClass, HookSpec
    from dagstack_dev.host.plugins.members import Member
    from dagstack_dev.host.registry.registry import Registry


T = TypeVar("T")
Answer = TypeVar("Answer")


class _Left:
    """What a call answers whose plugin has no such hook any more, or is no longer there."""


LEFT: Final = _Left()

_PLAIN: Final = frozenset({bool, bytes, dict, float, int, list, set, str, tuple, type(None)})
"""What most hooks answer, and what is not looked at twice."""


Call: TypeAlias = (
    "Callable[[Member, str, Sequence[Any], Mapping[str, Any]], Coroutine[Any, Any, Any]]"
)
"""Calls a method of a plugin's proxy; what that answers, or `LEFT`."""


class Dispatcher(Generic[Answer]):
    """Calls one hook of the ready plugins of a kind, through their proxies.

    Plugins that are being swapped by a reload count as ready: an asynchronous dispatch waits for
    them, as any call does. A synchronous one can wait in a thread other than the event loop's
    only; on the loop's own, the plugin's call is a `PluginUnavailable`. A plugin that does not
    come back is left out. A dispatch out of a plugin's own setup or teardown reaches those that
    are ready at that moment, and waits for none.

    Which plugins are called, and what becomes of their answers, says `_run` of each class, for
    both sorts of dispatch: in a synchronous one no call that it awaits ever waits.

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

    def dispatch(self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any) -> Answer:
        """Call the hook of plugins, as the class tells; for hooks that are synchronous.

        Args:
            kind: of the plugins.
            hook: the hook.
            ctx: its first argument.
            args: further ones.
            kwargs: likewise, by name.

        Raises:
            DispatchMismatch: the hook is declared to be called in another way.
            HookspecMissing: it is not declared; a `KindUnknown`.
            TypeError: the hook of a plugin is asynchronous.
        """
        return at_once(self._run(self._call_now, kind, hook, (ctx, *args), kwargs))

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any
    ) -> Answer:
        """As `dispatch`; for hooks of either sort."""
        return await self._run(self._call, kind, hook, (ctx, *args), kwargs)

    async def _run(
        self, call: Call, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Answer:
        raise NotImplementedError

    def _check(self, kind: str, hook: str) -> HookSpec | None:
        """Return the spec of a hook that is ours to call; None where an override takes its place.

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
        """Return those of `members` that answer now, or after a reload that they are in."""
        caller = current_plugin.get()
        if caller is None or self._table.states.get(caller) is State.READY:
            return [member for member in members if member.is_ready or member.gate.is_held]
        return [member for member in members if member.is_ready]  # Who swaps it may wait for us.

    def _name(self, kind: str, hook: str) -> str:
        """Return where proxies have a hook: apart, if others may not call it directly."""
        return HOOK_PREFIX + hook if hook in self._table.reserved(kind) else hook

    async def _call_now(
        self, member: Member, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Be the `Call` of a synchronous dispatch.

        Raises:
            TypeError: the method is asynchronous.
            Exception: what the plugin raises.
        """
        try:
            result = self._method(member, name)(*args, **kwargs)
        except PluginUnavailable as error:
            return _left(member, error)
        if type(result) not in _PLAIN and hasattr(type(result), "__await__"):
            with suppress(Exception):
                result.close()  # Else Python would warn that it was never awaited.
            hook = name.removeprefix(HOOK_PREFIX)
            raise TypeError(f"{member.ref}: {hook} is asynchronous; use dispatch_async")
        return result

    async def _call(
        self, member: Member, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Be the `Call` of an asynchronous one: wait for a plugin that is being reloaded, too.

        Raises:
            PluginCancelled: the call ended with a cancellation, and not the caller's.
            Exception: what the plugin raises.
        """
        try:
            if member.gate.closed:
                await member.gate.pass_through()
            result = self._method(member, name)(*args, **kwargs)
            return await result if hasattr(type(result), "__await__") else result
        except PluginUnavailable as error:
            return _left(member, error)
        except anyio.get_cancelled_exc_class() as error:
            if is_stray(error):
                raise PluginCancelled(member.ref, name.removeprefix(HOOK_PREFIX)) from error
            raise

    def _method(self, member: Member, name: str) -> Any:
        """Return a method of the plugin's proxy; one that answers `LEFT` where it has none."""
        return getattr(member.entry.proxy, name, None) or self._seek(member, name)

    def _seek(self, member: Member, name: str) -> Any:
        """Return a method that the proxy, if there is one yet, does not know of."""
        proxy = self._table.proxy(member.entry)
        if name.startswith(HOOK_PREFIX) and member.has(name.removeprefix(HOOK_PREFIX)):
            refit(proxy)  # The method has come since the proxy was made.
        return getattr(proxy, name, None) or (lambda *_, **__: LEFT)

    def _tell(self, member: Member, hook: str, error: Exception) -> None:
        """Publish an error that is not raised."""
        self._table.publish(HookFailed(ref=member.ref, hook=hook, error=recorded(error)))


def _left(member: Member, error: PluginUnavailable) -> object:
    """Return `LEFT` if `error` says that the plugin itself is not there any more, or raise it."""
    if error.ref == member.ref and member.gate.unavailable is not None:
        return LEFT
    raise error


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    raise AssertionError("it waits")
