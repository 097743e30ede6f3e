"""One hook of every plugin: to collect what they answer, or to tell them something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from dagstack_dev.core.dispatch_errors import BroadcastErrors
from dagstack_dev.core.errors import add_note
from dagstack_dev.core.hookspecs import DispatchClass, ErrorPolicy
from dagstack_dev.core.recorded import trim
from dagstack_dev.host.dispatch.dispatcher import LEFT, Dispatcher

if TYPE_CHECKING:
    from dagstack_dev.core.hookspecs import HookSpec
    from dagstack_dev.host.dispatch.members import Member


class BroadcastCollectDispatcher(Dispatcher):
    """Calls every plugin that has the hook, one after the other, and collects the answers.

    In order: `tryfirst`, neither, `trylast`; then `priority`, the highest first; then name. What
    plugins raise is collected, too, and told as `plugin.hook_failed`; with `error_policy:
    fail_fast` in the hookspec, the first of it ends the broadcast and is raised (ADR-2).
    """

    dispatch_class: ClassVar = DispatchClass.BROADCAST_COLLECT

    def dispatch(
        self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any
    ) -> tuple[list[Any], BroadcastErrors | None]:
        """Call the hook of every ready plugin; for hooks that are synchronous.

        Returns:
            The answers, in order, and what was raised, if anything.

        Raises:
            DispatchMismatch: the hook is declared to be called in another way.
            HookspecMissing: it is not declared; a `KindUnknown`.
        """
        failures = _Failures(self, self._check(kind, hook), hook)
        name = self._name(kind, hook)
        results = []
        for member in self._live(self._table.members.having(kind, hook)):
            try:
                result = self._call(member, name, ctx, args, kwargs)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                failures.add(member, error)
            else:
                if result is not LEFT:
                    results.append(result)
        return results, failures.error

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any
    ) -> tuple[list[Any], BroadcastErrors | None]:
        """As `dispatch`; for hooks of either sort, one after the other."""
        failures = _Failures(self, self._check(kind, hook), hook)
        name = self._name(kind, hook)
        results = []
        for member in self._live(self._table.members.having(kind, hook)):
            try:
                result = await self._call_async(member, name, ctx, args, kwargs)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                failures.add(member, error)
            else:
                if result is not LEFT:
                    results.append(result)
        return results, failures.error


class _Failures:
    """What plugins have raised in a broadcast so far."""

    def __init__(
        self, dispatcher: BroadcastCollectDispatcher, spec: HookSpec | None, hook: str
    ) -> None:
        self._dispatcher = dispatcher
        self._fails_fast = spec is not None and spec.error_policy is ErrorPolicy.FAIL_FAST
        self._hook = hook
        self._errors: list[tuple[str, BaseException]] = []

    def add(self, member: Member, error: Exception) -> None:
        if self._fails_fast:
            add_note(error, f"raised by {member.ref} in a broadcast of {self._hook}")
            raise error
        trim(error)
        self._errors.append((member.ref.name, error))
        self._dispatcher._tell(member, self._hook, error)  # noqa: SLF001 - a part of it

    @property
    def error(self) -> BroadcastErrors | None:
        return BroadcastErrors(self._errors) if self._errors else None


class BroadcastNotifyDispatcher(Dispatcher):
    """Tells every plugin that has the hook; nothing comes back, whatever they raise or answer.

    An error is told as `plugin.hook_failed`, with the plugin's name. In order as for
    `BroadcastCollectDispatcher`; asynchronous hooks run side by side (ADR-2), so that one that is
    slow keeps nobody else from the news.
    """

    dispatch_class: ClassVar = DispatchClass.BROADCAST_NOTIFY

    def dispatch(self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any) -> None:
        """Call the hook of every ready plugin; for hooks that are synchronous.

        Raises:
            DispatchMismatch: the hook is declared to be called in another way.
            HookspecMissing: it is not declared; a `KindUnknown`.
        """
        self._check(kind, hook)
        name = self._name(kind, hook)
        for member in self._live(self._table.members.having(kind, hook)):
            try:
                self._call(member, name, ctx, args, kwargs)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                self._tell(member, hook, error)

    async def dispatch_async(
        self, kind: str, hook: str, ctx: object, /, *args: Any, **kwargs: Any
    ) -> None:
        """As `dispatch`; for hooks of either sort. Returns when all of them have ended."""
        self._check(kind, hook)
        members = self._live(self._table.members.having(kind, hook))
        method = self._name(kind, hook)

        async def tell(member: Member) -> None:
            try:
                await self._call_async(member, method, ctx, args, kwargs)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                self._tell(member, hook, error)

        if len(members) == 1:
            await tell(members[0])
        elif members:
            async with anyio.create_task_group() as group:
                for member in members:
                    group.start_soon(tell, member, name=f"{hook} of {member.ref}")
