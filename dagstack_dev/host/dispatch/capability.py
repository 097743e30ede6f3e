"""One hook of the one plugin that takes an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from dagstack_dev.core.errors.calls import NoCapabilityMatch
from dagstack_dev.core.hookspecs.kinds import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Dispatcher, HookCall

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.plugins.members import Member
    from dagstack_dev.host.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class DispatchCandidate:
    """A plugin that comes into question, for a `filter_fn` to keep or leave out (ADR-5).

    Attributes:
        manifest: the manifest in force.
        instance: the plugin's proxy, as `get_plugin` returns it.
    """

    manifest: PluginManifest
    instance: Any
    _member: Member = field(repr=False, compare=False)


FilterFn: TypeAlias = Callable[[Any, list[DispatchCandidate]], Sequence[DispatchCandidate]]


class CapabilityDispatcher(Dispatcher[Any]):
    """Calls the hook of the first plugin that takes an input, and of no other.

    Which plugins come into question, their manifests say: one of their `supports_languages`,
    `supports_extensions` or `supports_mime_types` is what the input says of itself (see
    `traits_of`). A plugin that has a method `matches(ctx, *args, **kwargs)` is asked besides, or,
    where the manifest or the input says nothing, instead; if it raises, that is a no, reported as
    `plugin.hook_failed`. In order: `tryfirst`, neither, `trylast`; then `priority`, the highest
    first; then name. When none takes the input, the plugin with `fallback = true` has to; where
    there is none, `NoCapabilityMatch` is raised. Returns what the hook answers.

    Args:
        registry: whose plugins are called.
        dispatch_class_override: as for every dispatcher.
        filter_fn: called with `ctx` and the candidates, before any is asked; what it answers
            is gone through in that order.
    """

    dispatch_class: ClassVar = DispatchClass.CAPABILITY

    def __init__(
        self,
        registry: Registry,
        *,
        dispatch_class_override: str | None = None,
        filter_fn: FilterFn | None = None,
    ) -> None:
        super().__init__(registry, dispatch_class_override=dispatch_class_override)
        self._filter = filter_fn

    async def _run(self, hook: HookCall) -> Any:
        asked, fallbacks = self._candidates(hook)
        for member in asked:
            if await self._takes(hook, member):
                result = await hook.on(member)
                if result is not LEFT:
                    return result
        for member in fallbacks:
            result = await hook.on(member)
            if result is not LEFT:
                return result
        raise NoCapabilityMatch(hook.kind, hook.hook, [member.ref for member in asked])

    def _candidates(self, hook: HookCall) -> tuple[list[Member], list[Member]]:
        """Return the plugins that may take the input, and those that take what is left."""
        ctx, *rest = hook.args
        found = self._table.members.matching(hook.kind, hook.hook, rest, hook.kwargs)
        asked, fallbacks = map(self._live, found)
        if self._filter is None:
            return asked, fallbacks
        members = asked + [member for member in fallbacks if member not in asked]
        kept = [each._member for each in self._filter(ctx, [*map(self._candidate, members)])]  # noqa: SLF001 - its own
        return (
            [member for member in kept if member in asked],
            [member for member in kept if member in fallbacks],
        )

    def _candidate(self, member: Member) -> DispatchCandidate:
        return DispatchCandidate(member.manifest, self._table.proxy(member.entry), member)

    async def _takes(self, hook: HookCall, member: Member) -> bool:
        if _need_not_be_asked(member):
            return True
        try:
            answer = await hook.on(member, method="matches")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._report(member, "matches", error)
            return False
        # One that has lost its `matches` need not be asked.
        return _need_not_be_asked(member) if answer is LEFT else bool(answer)


def _need_not_be_asked(member: Member) -> bool:
    """Return whether the plugin has no `matches`: its manifest has named the input.

    The generation that is being swapped in may have one.
    """
    return not member.gate.closed and not member.has("matches")
