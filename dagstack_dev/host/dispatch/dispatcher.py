"""What all dispatchers have in common: who is called, through what, and in which order."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

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
    from collections.abc import Coroutine, Iterable, Mapping

    from dagstack_dev.core.hookspecs.kinds import DispatchClass, HookSpec
    from dagstack_dev.host.plugins.members import Member
    from dagstack_dev.host.plugins.table import PluginTable
    from dagstack_dev.host.registry.registry import Registry


T = TypeVar("T")
Answer = TypeVar("Answer")


class _Left:
    """What a call answers whose plugin has no such hook any more, or is no longer there."""


LEFT: Final = _Left()

_PLAIN: Final = frozenset({bool, bytes, dict, float, int, list, set, str, tuple, type(None)})
"""What most hooks answer, and what is not looked at twice."""


class HookCall:
    """One hook, and how one dispatch calls it on plugins.

    Args:
        table: where the plugins are.
        kind: of the plugins.
        hook: the hook.
        args: what it is called with.
        kwargs: likewise, by name.
        waits: whether the dispatch may wait: for asynchronous hooks, and for reloads.
        spec: what is declared of it; None where that does not count.
    """

    __slots__ = ("_name", "_table", "args", "hook", "kind", "kwargs", "spec", "waits")

    def __init__(
        self,
        table: PluginTable,
        kind: str,
        hook: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        waits: bool,
        spec: HookSpec | None,
    ) -> None:
        self._table = table
        self.kind = kind
        self.hook = hook
        self.args = args
        self.kwargs = kwargs
        self.waits = waits
        self.spec = spec
        # Where others may not call the hook directly, proxies have it under another name, too.
        self._name = HOOK_PREFIX + hook if hook in table.reserved(kind) else hook

    async def on(
        self, member: Member, *, args: tuple[Any, ...] = (), method: str | None = None
    ) -> Any:
        """Call the hook of one plugin. This waits for nothing where the dispatch may not.

        Args:
            member: the plugin.
            args: for this call alone, if there are any.
            method: called in place of the hook.

        Returns:
            What it answers, or `LEFT`.

        Raises:
            TypeError: the method is asynchronous, and the dispatch is not.
            PluginCancelled: the call ended with a cancellation, and not the caller's.
            Exception: what the plugin raises.
        """
        try:
            if self.waits and member.gate.closed:
                await member.gate.pass_through()
            name = method or self._name
            function = getattr(member.entry.proxy, name, None) or self._seek(member, name)
            result = function(*(args or self.args), **self.kwargs)
            if type(result) in _PLAIN or not hasattr(type(result), "__await__"):
                return result
            if self.waits:
                return await result
        except PluginUnavailable as error:
            if error.ref == member.ref and member.gate.refusal is not None:
                return LEFT
            raise
        except BaseException as error:
            if self.waits and is_stray(error):
                raise PluginCancelled(member.ref, method or self.hook) from error
            raise
        with suppress(Exception):
            result.close()  # Else Python would warn that it was never awaited.
        raise TypeError(f"{member.ref}: {method or self.hook} is asynchronous; use dispatch_async")

    def _seek(self, member: Member, name: str) -> Any:
        """Return a method that the proxy, if there is one yet, does not know of.

        One that answers `LEFT`, where the plugin has none.
        """
        proxy = self._table.proxy(member.entry)
        if name.startswith(HOOK_PREFIX) and member.has(name.removeprefix(HOOK_PREFIX)):
            refit(proxy)  # The method has come since the proxy was made.
        return getattr(proxy, name, None) or (lambda *_, **__: LEFT)


class Dispatcher(Generic[Answer]):
    """Calls one hook of the ready plugins of a kind, through their proxies.

    Plugins that are being swapped by a reload count as ready: an asynchronous dispatch waits for
    them, as any call does. A synchronous one can wait in a thread other than the event loop's
    only; on the loop's own, the plugin's call is a `PluginUnavailable`. A plugin that does not
    come back is left out. A dispatch out of a plugin's own setup or teardown reaches those that
    are ready at that moment, and waits for none.

    Which plugins are called, and what becomes of their answers, says `_run` of each class, for
    both sorts of dispatch: in a synchronous one, no `HookCall` that it awaits ever waits.

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
        """Call the hook of plugins, as the class says; for hooks that are synchronous.

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
        return at_once(self._run(self._hook(kind, hook, (ctx, *args), kwargs, waits=False)))

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any
    ) -> Answer:
        """As `dispatch`; for hooks of either sort."""
        return await self._run(self._hook(kind, hook, (ctx, *args), kwargs, waits=True))

    async def _run(self, hook: HookCall) -> Answer:
        raise NotImplementedError

    def _hook(
        self, kind: str, hook: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, waits: bool
    ) -> HookCall:
        """Return a hook that is ours to call.

        Raises:
            DispatchMismatch: it is declared to be called in another way.
            HookspecMissing: it is not declared; a `KindUnknown`.
        """
        self._registry.look_at_loop()
        spec, declared = None, self._override
        if declared is None:
            spec = find_spec(kind, self._table.kinds).hook(hook)
            declared = spec.dispatch
        if declared != self.dispatch_class:
            raise DispatchMismatch(kind, hook, declared, self.dispatch_class)
        return HookCall(self._table, kind, hook, args, kwargs, waits=waits, spec=spec)

    def _having(self, hook: HookCall) -> list[Member]:
        """Return the plugins that have the hook and answer, in the order of dispatch."""
        return self._live(self._table.members.having(hook.kind, hook.hook))

    def _live(self, members: Iterable[Member]) -> list[Member]:
        """Return those of `members` that answer now, or after a reload that they are in."""
        caller = current_plugin.get()
        if caller is None or self._table.states.get(caller) is State.READY:
            return [member for member in members if member.is_ready or member.gate.is_held]
        return [member for member in members if member.is_ready]  # Who swaps it may wait for us.

    def _report(self, member: Member, hook: str, error: Exception) -> None:
        """Publish an error that is not raised."""
        self._table.publish(HookFailed(ref=member.ref, hook=hook, error=recorded(error)))


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    raise AssertionError("it waits")
