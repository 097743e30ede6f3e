"""The plugins that can be dispatched to, in order, kept up to date as plugins come and go.

A dispatch costs as much as it calls, whatever else is registered: who has a hook is found out
when a plugin becomes ready, not when the hook is dispatched.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import attrgetter
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.plugins.traits import declared_traits, traits_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.entry import Entry

_GONE: Final = frozenset({State.BLOCKED, State.REMOVED})

place: Final = attrgetter("place")


class Member:
    """One plugin, as it was when it last became ready.

    Attributes:
        entry: the plugin.
        gate: its gate.
        manifest: the manifest in force then.
        place: what members are sorted by: `tryfirst`, neither, `trylast`; then `priority`, the
            highest first; then name.
        is_ready: whether it is ready now. If not, it may be in the middle of a reload.
        is_warned: whether its priority has been complained of.
    """

    __slots__ = ("entry", "gate", "is_ready", "is_warned", "manifest", "place")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.gate = entry.gate
        self.manifest = manifest = entry.manifest
        band = manifest.trylast - manifest.tryfirst
        self.place = (band, -manifest.priority, manifest.name)
        self.is_ready = True
        self.is_warned = False

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return self.gate.ref

    def has(self, method: str) -> bool:
        """Return whether the plugin has such a method."""
        try:
            return callable(getattr(self.entry.instance, method, None))
        except Exception:  # noqa: BLE001 - a property of the plugin may raise anything
            return False


class _Matchers:
    """The members that have one hook, by what they say they take.

    A plugin with a method `matches` is asked (contract, section 8), unless its manifest already
    rules out the traits of the input. Without such a method, the manifest has to name one of them.
    A plugin that says neither takes nothing, but may be the kind's fallback.

    Attributes:
        traits: those that some plugin declares.
    """

    def __init__(self) -> None:
        self.traits: set[str] = set()
        self._naming: dict[tuple[str, str], dict[Member, None]] = {}
        self._asked: dict[frozenset[str], dict[Member, None]] = {}
        self._fallbacks: dict[Member, None] = {}
        self._places: dict[Member, list[dict[Member, None]]] = {}

    def add(self, member: Member) -> None:
        declared = declared_traits(member.manifest)
        self.traits |= declared.keys()
        places = [
            self._naming.setdefault((name, value), {})
            for name, values in declared.items()
            for value in values
        ]
        if member.has("matches"):
            places.append(self._asked.setdefault(frozenset(declared), {}))
        if member.manifest.fallback:
            places.append(self._fallbacks)
        for each in places:
            each[member] = None
        self._places[member] = places

    def remove(self, member: Member) -> None:
        """Remove a member, if it is there."""
        for each in self._places.pop(member, ()):
            del each[member]

    def candidates(self, traits: Mapping[str, tuple[str, ...]]) -> tuple[set[Member], list[Member]]:
        """Return the members that may take an input of these traits, and the fallbacks.

        Whether the former do, those that have `matches` are still to be asked.
        """
        found: set[Member] = set()
        for name, values in traits.items():
            for value in values:
                found.update(self._naming.get((name, value), ()))
        for declared, members in self._asked.items():
            if declared.isdisjoint(traits):
                found.update(members)
        return found, [*self._fallbacks]


class _Kind:
    """The members of one kind: by name, by hook in order, and by hook for matching."""

    __slots__ = ("by_hook", "by_name", "matchers")

    def __init__(self) -> None:
        self.by_name: dict[str, Member] = {}
        self.by_hook: dict[str, list[Member]] = {}
        self.matchers: dict[str, _Matchers] = {}

    def put(self, member: Member) -> None:
        name = member.ref.name
        known = self.by_name.get(name)
        if known is not None:
            self.drop(known)
        self.by_name[name] = member
        for hook, members in self.by_hook.items():
            if member.has(hook):
                insort(members, member, key=place)
        for hook, matchers in self.matchers.items():
            if member.has(hook):
                matchers.add(member)

    def having(self, hook: str) -> list[Member]:
        members = self.by_hook.get(hook)
        if members is None:
            found = (member for member in self.by_name.values() if member.has(hook))
            members = self.by_hook[hook] = sorted(found, key=place)
        return members

    def matching(self, hook: str) -> _Matchers:
        matchers = self.matchers.get(hook)
        if matchers is None:
            matchers = self.matchers[hook] = _Matchers()
            for member in self.having(hook):
                matchers.add(member)
        return matchers

    def drop(self, member: Member) -> None:
        del self.by_name[member.ref.name]
        for members in self.by_hook.values():
            _take_out(members, member)
        for matchers in self.matchers.values():
            matchers.remove(member)


class Members:
    """Every plugin that is ready, or was and is being swapped by a reload.

    `note` is to be called with every change of a state. A member that is not ready counts while its
    gate holds calls back, which ends when it has failed for good.

    Dispatches may come from other threads than the changes do.
    """

    __slots__ = ("_kinds", "_lock")

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._lock = RLock()  # To ask a plugin for its methods may run code of its own.

    def note(self, entry: Entry, state: State) -> None:
        """Take in that `entry` has come into `state`."""
        ref = entry.ref
        with self._lock:
            kind = self._kinds.get(ref.kind)
            if state is State.READY:
                if kind is None:
                    kind = self._kinds[ref.kind] = _Kind()
                kind.put(Member(entry))
                return
            member = None if kind is None else kind.by_name.get(ref.name)
            if kind is None or member is None:
                return
            member.is_ready = False
            if state in _GONE or entry.gate.refusal is not None:
                kind.drop(member)

    def having(self, kind: str, hook: str) -> list[Member]:
        """Return the members of `kind` that have `hook`, in order."""
        with self._lock:
            known = self._kinds.get(kind)
            return [] if known is None else known.having(hook).copy()

    def matching(
        self, kind: str, hook: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Member], list[Member]]:
        """Return the members of `kind` with `hook` that may take an input, in order; and fallbacks.

        Args:
            kind: the kind.
            hook: the hook.
            args: the input; `traits_of` finds its traits.
            kwargs: the input by name.
        """
        with self._lock:
            known = self._kinds.get(kind)
            if known is None:
                return [], []
            matchers = known.matching(hook)
            wanted = tuple(matchers.traits)
        traits = traits_of(args, kwargs, wanted)  # Which may run code of the input's.
        with self._lock:
            found, fallbacks = matchers.candidates(traits)
        return sorted(found, key=place), sorted(fallbacks, key=place)


def _take_out(members: list[Member], member: Member) -> None:
    """Remove `member` from a list in order, if it is there."""
    index = bisect_left(members, member.place, key=place)
    if index < len(members) and members[index] is member:
        del members[index]
