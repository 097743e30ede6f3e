"""One hook of every plugin: to collect what they answer, or to tell them something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from dagstack_dev.core.errors.base import add_note
from dagstack_dev.core.errors.calls import BroadcastErrors
from dagstack_dev.core.hookspecs.kinds import DispatchClass, ErrorPolicy
from dagstack_dev.core.recorded import trim
from dagstack_dev.host.dispatch.dispatcher import LEFT, Call, Dispatcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagstack_dev.host.plugins.members import Member


class BroadcastCollectDispatcher(Dispatcher[tuple[list[Any], BroadcastErrors | None]]):
    """Calls every plugin that has the hook, one after the other.

    Returns the answers, in order, and what was raised, if anything.

    In order: `tryfirst`, neither, `trylast`; then `priority`, the highest first; then name. What
    plugins raise is collected, too, and told as `plugin.hook_failed`; with `error_policy:
    fail_fast` in the hookspec, the first of it ends the broadcast and is raised (ADR-2).
    """

    dispatch_class: ClassVar = DispatchClass.BROADCAST_COLLECT

    async def _run(
        self, call: Call, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], BroadcastErrors | None]:
        spec = self._check(kind, hook)
        fails_fast = spec is not None and spec.error_policy is ErrorPolicy.FAIL_FAST
        name = self._name(kind, hook)
        results: list[Any] = []
        errors: list[tuple[str, BaseException]] = []
        for member in self._live(self._table.members.having(kind, hook)):
            try:
                result = await call(member, name, args, kwargs)
            except Exception as error:
                if fails_fast:
                    add_note(error, f"raised by {member.ref} in a broadcast of {hook}")
                    raise
                trim(error)
                errors.append((member.ref.name, error))
                self._tell(member, hook, error)
            else:
                if result is not LEFT:
                    results.append(result)
        return results, BroadcastErrors(errors) if errors else None


class BroadcastNotifyDispatcher(Dispatcher[None]):
    """Tells every plugin that has the hook; nothing comes back, whatever they raise or answer.

    An error is told as `plugin.hook_failed`, with the plugin's name. In order as for
    `BroadcastCollectDispatcher`; asynchronous hooks run side by side (ADR-2), so that one that is
    slow does not delay the others, and `dispatch_async` returns when all have ended.
    """

    dispatch_class: ClassVar = DispatchClass.BROADCAST_NOTIFY

    async def _run(
        self, call: Call, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self._check(kind, hook)
        name = self._name(kind, hook)
        members = self._live(self._table.members.having(kind, hook))

        async def tell(member: Member) -> None:
            try:
                await call(member, name, args, kwargs)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                self._tell(member, hook, error)

        if call == self._call_now or len(members) == 1:
            for member in members:
                await tell(member)
        elif members:
            async with anyio.create_task_group() as group:
                for member in members:
                    group.start_soon(tell, member, name=f"{hook} of {member.ref}")
