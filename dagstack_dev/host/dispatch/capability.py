"""One hook of the one plugin that takes an input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from dagstack_dev.core.errors.calls import NoCapabilityMatch
from dagstack_dev.core.hookspecs.kinds import DispatchClass
from dagstack_dev.host.dispatch.dispatcher import LEFT, Call, Dispatcher

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
    `supports_extensions` or `supports_mime_types` is what the input tells of itself (see
    `traits_of`). A plugin that has a method `matches(ctx, *args, **kwargs)` is asked besides, or,
    where the manifest or the input says nothing, instead; if it raises, that is a no, told as
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

    async def _run(
        self, call: Call, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        asked, fallbacks = self._candidates(kind, hook, args, kwargs)
        name = self._name(kind, hook)
        for member in asked:
            if await self._takes(call, member, args, kwargs):
                result = await call(member, name, args, kwargs)
                if result is not LEFT:
                    return result
        for member in fallbacks:
            result = await call(member, name, args, kwargs)
            if result is not LEFT:
                return result
        raise NoCapabilityMatch(kind, hook, [member.ref for member in asked])

    def _candidates(
        self, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Member], list[Member]]:
        """Return who may take the input and is to be asked, and who takes what is left."""
        self._check(kind, hook)
        found, rest = self._table.members.matching(kind, hook, args[1:], kwargs)
        asked, fallbacks = self._live(found), self._live(rest)
        if self._filter is None:
            return asked, fallbacks
        members = asked + [member for member in fallbacks if member not in asked]
        kept = [each._member for each in self._filter(args[0], [*map(self._candidate, members)])]  # noqa: SLF001 - its own
        return (
            [member for member in kept if member in asked],
            [member for member in kept if member in fallbacks],
        )

    def _candidate(self, member: Member) -> DispatchCandidate:
        return DispatchCandidate(member.manifest, self._table.proxy(member.entry), member)

    async def _takes(
        self, call: Call, member: Member, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> bool:
        if _need_not_be_asked(member):
            return True
        try:
            answer = await call(member, "matches", args, kwargs)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._tell(member, "matches", error)
            return False
        # One that has lost its `matches` need not be asked.
        return _need_not_be_asked(member) if answer is LEFT else bool(answer)


def _need_not_be_asked(member: Member) -> bool:
    """Return whether the plugin has no `matches`: its manifest has named the input.

    The generation that is being swapped in may have one.
    """
    return not member.gate.closed and not member.has("matches")
