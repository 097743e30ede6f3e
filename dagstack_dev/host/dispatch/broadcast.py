"""One hook of every plugin: to collect what they answer, or to notify them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from dagstack_dev.core.errors.base import add_note
from dagstack_dev.core.errors.calls import BroadcastErrors
from dagstack_dev.core.hookspecs.kinds import DispatchClass, ErrorPolicy
from dagstack_dev.core.tracebacks import trim
from dagstack_dev.host.dispatch.dispatcher import LEFT, Dispatcher, HookCall

if TYPE_CHECKING:
    from dagstack_dev.host.plugins.members import Member


class BroadcastCollectDispatcher(Dispatcher[tuple[list[Any], BroadcastErrors | None]]):
    """Calls every plugin that has the hook, one after the other.

    Returns the answers, in order, and what was raised, if anything.

    In order: `tryfirst`, neither, `trylast`; then `priority`, the highest first; then name. What
    plugins raise is collected, too, and reported as `plugin.hook_failed`; with `error_policy:
    fail_fast` in the hookspec, the first of it ends the broadcast and is raised (ADR-2).
    """

    dispatch_class: ClassVar = DispatchClass.BROADCAST_COLLECT

    async def _run(self, hook: HookCall) -> tuple[list[Any], BroadcastErrors | None]:
        fails_fast = hook.spec is not None and hook.spec.error_policy is ErrorPolicy.FAIL_FAST
        results: list[Any] = []
        errors: list[tuple[str, BaseException]] = []
        for member in self._having(hook):
            try:
                result = await hook.on(member)
            except Exception as error:
                if fails_fast:
                    add_note(error, f"raised by {member.ref} in a broadcast of {hook.hook}")
                    raise
                trim(error)
                errors.append((member.ref.name, error))
                self._report(member, hook.hook, error)
            else:
                if result is not LEFT:
                    results.append(result)
        return results, BroadcastErrors(errors) if errors else None


class BroadcastNotifyDispatcher(Dispatcher[None]):
    """Notifies every plugin that has the hook; nothing comes back, whatever they raise or answer.

    An error is reported as `plugin.hook_failed`, with the plugin's name. In order as for
    `BroadcastCollectDispatcher`; asynchronous hooks run side by side (ADR-2), so that one that is
    slow does not delay the others, and `dispatch_async` returns when all have ended.
    """

    dispatch_class: ClassVar = DispatchClass.BROADCAST_NOTIFY

    async def _run(self, hook: HookCall) -> None:
        members = self._having(hook)

        async def notify(member: Member) -> None:
            try:
                await hook.on(member)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                self._report(member, hook.hook, error)

        if not hook.waits or len(members) == 1:
            for member in members:
                await notify(member)
        elif members:
            async with anyio.create_task_group() as group:
                for member in members:
                    group.start_soon(notify, member, name=f"{hook.hook} of {member.ref}")
