"""One hook of every plugin, each fed with what the one before it has made."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from dagstack_dev.core.errors.registry import NotForChains
from dagstack_dev.core.hookspecs.kinds import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Call, Dispatcher, at_once

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
        stages, name = self._stages(kind, hook), self._name(kind, hook)
        return at_once(_pass(self._call_now, stages, name, ctx, initial_value, kwargs))

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *, initial_value: Any = None, **kwargs: Any
    ) -> Any:
        """As `dispatch`; for hooks of either sort."""
        stages, name = self._stages(kind, hook), self._name(kind, hook)
        return await _pass(self._call, stages, name, ctx, initial_value, kwargs)

    def _stages(self, kind: str, hook: str) -> list[Member]:
        self._check(kind, hook)
        members = self._live(self._table.members.having(kind, hook))
        for member in members:
            if member.manifest.in_process_only:
                raise NotForChains(member.ref, hook, member.entry.offer.folder)
            if member.manifest.priority >= MIDDLEWARE_PRIORITY_THRESHOLD and not member.is_warned:
                member.is_warned = True
                _warn(member)
        return members


async def _pass(
    call: Call, stages: Iterable[Member], name: str, ctx: object, value: Any, kwargs: dict[str, Any]
) -> Any:
    for member in stages:
        result = await call(member, name, (ctx, value), kwargs)
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
