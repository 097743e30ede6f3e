"""One hook of every plugin, each fed with what the one before it has made."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from dagstack_dev.core.errors.registry import NotForChains
from dagstack_dev.core.hookspecs.kinds import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Dispatcher, HookCall, at_once

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.host.plugins.members import Member

MIDDLEWARE_PRIORITY_THRESHOLD: Final = 1000
"""From this priority on a plugin counts as middleware of the host (ADR-5)."""


class _StopChain:
    """The type of `STOP_CHAIN`: one falsy object, however it is copied."""

    _only: ClassVar[_StopChain | None] = None

    def __new__(cls) -> Self:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only  # type: ignore[return-value] # it has no subclass

    def __repr__(self) -> str:
        return "STOP_CHAIN"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "STOP_CHAIN"


STOP_CHAIN: Final = _StopChain()
"""What a hook answers to end its chain: what it was given is the result."""


class ChainDispatcher(Dispatcher[Any]):
    """Passes a value through every plugin that has the hook: each is given what comes before it.

    In order: `tryfirst`, neither, `trylast`; then `priority`, the highest first; then name. What
    a plugin raises ends the chain and is raised.
    """

    dispatch_class: ClassVar = DispatchClass.CHAIN

    def dispatch(
        self, kind: str, hook: str, ctx: object, /, *, initial_value: Any = None, **kwargs: Any
    ) -> Any:
        """Call `hook(ctx, value, **kwargs)` of one plugin after the other; for synchronous hooks.

        Args:
            kind: of the plugins.
            hook: the hook.
            ctx: its first argument.
            initial_value: the value for the first plugin.
            kwargs: passed on to every plugin.

        Returns:
            What the last plugin has made of the value; what a plugin was given that answered
            `STOP_CHAIN`; `initial_value` where there is no plugin.

        Raises:
            DispatchMismatch: the hook is declared to be called in another way.
            HookspecMissing: it is not declared; a `KindUnknown`.
            NotForChains: one of the plugins is `in_process_only` (ADR-3).
            Exception: what a plugin raises.
        """
        chain = self._hook(kind, hook, (ctx, initial_value), kwargs, waits=False)
        return at_once(_pass(chain, self._stages(chain)))

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *, initial_value: Any = None, **kwargs: Any
    ) -> Any:
        """As `dispatch`; for hooks of either sort."""
        chain = self._hook(kind, hook, (ctx, initial_value), kwargs, waits=True)
        return await _pass(chain, self._stages(chain))

    def _stages(self, hook: HookCall) -> list[Member]:
        members = self._having(hook)
        for member in members:
            if member.manifest.in_process_only:
                raise NotForChains(member.ref, hook.hook, member.entry.revision.folder)
            if member.manifest.priority >= MIDDLEWARE_PRIORITY_THRESHOLD and not member.is_warned:
                member.is_warned = True
                _warn(member)
        return members


async def _pass(hook: HookCall, stages: Iterable[Member]) -> Any:
    ctx, value = hook.args
    for member in stages:
        result = await hook.on(member, args=(ctx, value))
        if result is STOP_CHAIN:
            break
        if result is not LEFT:
            value = result
    return value


def _warn(member: Member) -> None:
    text = (
        f"{member.ref} has priority {member.manifest.priority}; from "
        f"{MIDDLEWARE_PRIORITY_THRESHOLD} on it is for middleware of the host, so lower it"
    )
    warnings.warn(text, stacklevel=4)
