"""What is to be built from what, as the disk says: which folder is which plugin, and what differs.

A plugin is what its manifest says. A name that several folders claim belongs to the one that runs
it; where none does, to none. A plugin whose name no folder claimants has been removed if its own is
gone or says another name by now; and if its manifest cannot be read, unless it runs. It has not
been renamed while it may be what cannot be read: names are exchanged one folder after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.registry import AmbiguousPlugin
from dagstack_dev.core.plan import Candidate, Load

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping

    from dagstack_dev.core.refs import PluginRef

PENDING: Final = "pending"
"""Why a plugin is tried that could not be taken over before."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What lies in one place on disk: the plugin that it says it is, or the problem.

    Attributes:
        place: the folder, or what stands for it; see `PluginSource`.
        ref: the plugin that it is; None where the manifest cannot be read.
        wants: its `depends_on`.
        priority: as its manifest says.
        is_fallback: likewise.
        is_by_hand: whether the app itself has registered it, so that it comes first.
        error: why nothing can be built from it, or None.
        seen: since which batch this has been on disk.
    """

    place: str
    ref: PluginRef | None
    wants: tuple[str | PluginRef, ...] = ()
    priority: int = 0
    is_fallback: bool = False
    is_by_hand: bool = False
    error: PluginRegistryError | None = None
    seen: int = 0


class Disk(Protocol):
    """What lies in each place, and what was built from there."""

    def claim(self, place: str) -> Claim | None:
        """What is claimed at `place`; None where nothing lies."""

    def claimants(self, ref: PluginRef) -> Collection[str]:
        """The places that claim to be `ref`."""

    def fallbacks(self, kind: str) -> Collection[str]:
        """The places that claim to be the fallback of `kind`."""

    def place(self, ref: PluginRef) -> str | None:
        """Where `ref` was last built from; None when it is not there."""

    def owners(self, place: str) -> Collection[PluginRef]:
        """The plugins that were last built from `place`, the one that runs first."""


class Running(Protocol):
    """What the registry has, running or at rest, and what it is or was built from."""

    def is_live(self, ref: PluginRef) -> bool:
        """Whether `ref` runs."""

    def is_lost(self, ref: PluginRef) -> bool:
        """Whether `ref` runs and cannot go on: its own build is a known failure."""

    def fallbacks_of(self, kind: str) -> Iterable[PluginRef]:
        """The fallbacks of `kind` that run, or that the app itself has registered."""

    def difference(self, ref: PluginRef, claim: Claim) -> Load | None:
        """What makes `ref`, which runs, what lies there; None when it is just that."""

    def version(self, ref: PluginRef, claim: Claim) -> Hashable:
        """All that `ref` would be built from there, but for its dependencies."""

    def problem(self, claim: Claim) -> PluginRegistryError | None:
        """Why nothing can be built there, beyond what `claim` says itself."""


@dataclass(slots=True)
class Wanted:
    """What differs between the disk and what runs, for the planner.

    Attributes:
        candidates: by ref.
        removed: plugins that are gone from disk.
        unclaimed: places that cannot even be given a plugin, with the reason.
        unchanged: plugins that run just what is on disk.
    """

    candidates: dict[PluginRef, Candidate] = field(default_factory=dict)
    removed: set[PluginRef] = field(default_factory=set)
    unclaimed: dict[str, PluginRegistryError] = field(default_factory=dict)
    unchanged: set[PluginRef] = field(default_factory=set)


def want(disk: Disk, running: Running, places: Mapping[str, str]) -> Wanted:
    """Compare what lies at `places` with what runs.

    Args:
        disk: what is on disk, everywhere.
        running: what runs, everywhere.
        places: all where something may differ, each with the reason in words, or `PENDING`; the
            answer is about these, and the plugins that have moved there or away.
    """
    return _Comparison(disk, running, places).wanted()


class _Comparison:
    """One call of `want`."""

    def __init__(self, disk: Disk, running: Running, places: Mapping[str, str]) -> None:
        self._disk = disk
        self._running = running
        self._places = places
        self._wanted = Wanted()
        self._refused: dict[str, PluginRegistryError] = {}

    def wanted(self) -> Wanted:
        places = sorted(self._places)
        refs: set[PluginRef] = set()
        for place in places:
            claim = self._disk.claim(place)
            refs.update(self._disk.owners(place))
            if claim is not None and claim.ref is not None:
                refs.add(claim.ref)
        left = [ref for ref in sorted(refs) if not self._claimed(ref)]
        for ref in left:
            self._decide_unclaimed(ref)
        self._note_unclaimed(places)
        return self._wanted

    def _claimed(self, ref: PluginRef) -> bool:
        """Decide about a plugin that some place claims to be; False when there is none."""
        claimants = sorted(self._disk.claimants(ref))
        if not claimants:
            return False
        home, is_live = self._disk.place(ref), self._running.is_live(ref)
        if len(claimants) > 1:
            error = AmbiguousPlugin.duplicate(ref, claimants)
            holder = home if is_live and home in claimants else None
            self._refused |= {place: error for place in claimants if place != holder}
            if holder is None:
                free = [place for place in claimants if not self._is_taken(place, ref)]
                self._refuse(ref, (free or claimants)[0], error)
                return True
            claimants = [holder]
        self._take(ref, claimants[0])
        return True

    def _take(self, ref: PluginRef, place: str) -> None:
        """Let `ref` be built from `place`, if it can be and is not already."""
        running = self._running
        claim = self._disk.claim(place)
        assert claim is not None  # noqa: S101 - it claims a plugin
        is_at_home = running.is_live(ref) and self._disk.place(ref) == place
        load = running.difference(ref, claim) if is_at_home else Load.IMPORT
        if load is None and claim.error is None and not running.is_lost(ref):
            self._wanted.unchanged.add(ref)
            return
        error = claim.error or self._second_fallback(claim) or running.problem(claim)
        if error is not None:
            self._refused[place] = error
            self._refuse(ref, place, error, load or Load.IMPORT)
        else:
            self._put(ref, place, None, load or Load.IMPORT)

    def _refuse(
        self, ref: PluginRef, place: str, error: PluginRegistryError, load: Load = Load.IMPORT
    ) -> None:
        """Let `ref` fail with `error`, which is what lies at `place`.

        Where another plugin runs from there, that is what the place can lose.
        """
        if self._running.is_live(ref) or not self._is_taken(place, ref):
            self._put(ref, place, error, load)
        elif self._disk.place(ref) is not None:
            self._wanted.removed.add(ref)

    def _is_taken(self, place: str, ref: PluginRef) -> bool:
        """Whether another plugin runs from `place`."""
        return any(map(self._running.is_live, {*self._disk.owners(place)} - {ref}))

    def _put(
        self,
        ref: PluginRef,
        place: str,
        error: PluginRegistryError | None,
        load: Load = Load.IMPORT,
    ) -> None:
        claim = self._disk.claim(place)
        assert claim is not None  # noqa: S101 - nothing else is put
        home = self._disk.place(ref)
        others = (each for each in self._disk.owners(place) if each != ref)
        reason = self._places.get(place, PENDING)
        if home is not None and home != place and self._disk.claim(home) is None:
            reason = f"moved from {home}"
        self._wanted.candidates[ref] = Candidate(
            ref,
            place,
            wants=claim.wants,
            priority=claim.priority,
            reason=reason,
            load=load,
            error=error,
            is_lost=self._running.is_lost(ref),
            replaces=next(others, None) if error is None else None,
            version=self._running.version(ref, claim),
            seen=claim.seen,
        )

    def _decide_unclaimed(self, ref: PluginRef) -> None:
        """Decide about a plugin that no place claimants to be."""
        home = self._disk.place(ref)
        if home is None:
            return
        claim = self._disk.claim(home)
        if claim is None or not self._running.is_live(ref):
            self._wanted.removed.add(ref)
        elif claim.ref is None:
            self._put(ref, home, claim.error)
        else:
            heir = self._wanted.candidates.get(claim.ref)
            if heir is None or heir.replaces != ref:
                self._put(ref, home, self._refused.get(home))
            elif (unread := self._end_of_exchange(home)) is not None:  # Else it has been renamed.
                self._put(ref, home, unread.error)

    def _end_of_exchange(self, place: str) -> Claim | None:
        """What cannot be read, and may be what was at `place`: names are exchanged up to there."""
        seen: set[str] = set()
        left: str | None = place
        while left is not None and left not in seen:
            seen.add(left)
            claim = self._disk.claim(left)
            if claim is None or claim.ref is None:
                return claim
            is_live = self._running.is_live(claim.ref)
            left = self._disk.place(claim.ref) if is_live else None
        return None

    def _note_unclaimed(self, places: Iterable[str]) -> None:
        used = {each.place for each in self._wanted.candidates.values()}
        for place in places:
            claim = self._disk.claim(place)
            if claim is None or place in used:
                continue
            error = self._refused.get(place) or (claim.error if claim.ref is None else None)
            if error is not None:
                self._wanted.unclaimed[place] = error

    def _second_fallback(self, claim: Claim) -> AmbiguousPlugin | None:
        """The error of a place whose plugin is to be a fallback where there is another one."""
        ref, place = claim.ref, claim.place
        if not claim.is_fallback or claim.is_by_hand or ref is None:
            return None
        live = {*self._running.fallbacks_of(ref.kind)}
        if not live.isdisjoint(self._disk.owners(place)):
            return None  # It was first.
        others = map(self._disk.claim, self._disk.fallbacks(ref.kind))
        rivals = {each.ref for each in others if each is not None and each.place != place}
        rivals |= {each for each in live if self._stays(each)}
        known = sorted({each for each in rivals if each is not None} - {ref})
        return AmbiguousPlugin.fallback([*known, ref], place) if known else None

    def _stays(self, ref: PluginRef) -> bool:
        """Whether what runs of `ref` goes on, for nothing can be built from its place."""
        claim = self._disk.claim(self._disk.place(ref) or "")
        return claim is not None and (claim.error is not None or claim.is_by_hand)
