"""What lies in every place on disk: which plugin it claims to be, and its source, prepared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.blame import related
from dagstack_dev.core.desired import PENDING, Claim
from dagstack_dev.core.errors.base import PluginRegistryError, said
from dagstack_dev.core.errors.registry import (
    INSTALL_MCP,
    HookspecMissing,
    KindVersionIncompatible,
)
from dagstack_dev.core.recorded import recorded
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.wording import listed
from dagstack_dev.host.plugins.entry import Revision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.registry.registry import Registry

_NO_MODULE: Final = re.compile(r"No module named '([\w.]+)'")


class _Prepared(NamedTuple):
    claim: Claim
    source: PluginSource
    revision: Revision | None


class Revisions:
    """Every place below the roots where a plugin lies, and what could be made of it.

    Both are a function of its source and of the kinds that are declared, kept until one of these
    differs. What is registered but lies elsewhere, or nowhere, is what it was loaded from.

    Args:
        registry: what a source has to comply with, and what ran of it before.
        is_watched: whether a place lies where the disk is looked at.

    Attributes:
        broken: the places from which nothing can be built, each with the modules that are missing.
    """

    def __init__(self, registry: Registry, is_watched: Callable[[str], bool]) -> None:
        self._registry = registry
        self._table = registry.table
        self._is_watched = is_watched
        self._prepared: dict[str, _Prepared] = {}
        self._claimants: dict[PluginRef | str, set[str]] = {}  # By name; of fallbacks, by kind.
        self._kinds = registry.kinds
        self.broken: dict[str, AbstractSet[str]] = {}

    def claim(self, place: str) -> Claim | None:
        """Return what is claimed at `place`; None where nothing lies."""
        found = self._prepared.get(place)
        if found is not None:
            return found.claim
        owner = self.owner(place)
        if owner is None or self._is_watched(place):
            return None
        return _claim(place, self._table.entries[owner].revision)

    def revision(self, place: str) -> Revision | None:
        """Return what can be loaded from `place`; only a name where its claim has an error."""
        found = self._prepared.get(place)
        if found is None:
            owner = self.owner(place)
            return None if owner is None else self._table.entries[owner].revision
        ref = found.claim.ref or self.owner(place)
        if found.revision is None and ref is not None:
            return Revision.unprepared(ref, found.source)
        return found.revision

    def source(self, place: str) -> PluginSource | None:
        """Return the files at `place`."""
        found = self._prepared.get(place)
        return None if found is None else found.source

    def claimants(self, ref: PluginRef) -> Collection[str]:
        """Return the places that claim to be `ref`."""
        claimants = self._claimants.get(ref, set())
        home = self.place(ref)
        if home is not None and home not in self._prepared and not self._is_watched(home):
            return {*claimants, home}
        return claimants

    def fallbacks(self, kind: str) -> Collection[str]:
        """Return the places that claim to be the fallback of `kind`."""
        return self._claimants.get(kind, set())

    def place(self, ref: PluginRef) -> str | None:
        """Return where `ref` was last built from; None when it is not there."""
        entry = self._table.present_entry(ref)
        return None if entry is None else entry.revision.folder or str(ref)

    def places(self, refs: Iterable[PluginRef]) -> set[str]:
        """Return where those of `refs` that are there were last built from."""
        return {place for ref in refs if (place := self.place(ref)) is not None}

    def owner(self, place: str) -> PluginRef | None:
        """Return the plugin that was last built from `place`; of several, the one that runs."""
        return next(iter(self.owners(place)), None)

    def owners(self, place: str) -> Collection[PluginRef]:
        """Return all plugins that were last built from `place`, the one that runs first."""
        kind, _, name = place.partition("/")
        entry = self._table.present_entry(PluginRef(kind, name))
        if entry is not None and entry.revision.by_hand:
            return [entry.ref]
        return self._table.code.owners(place)

    def refs_at(self, places: Iterable[str]) -> set[PluginRef]:
        """Return the plugins that lie at `places`, or have been built from there."""
        refs = set[PluginRef | None]()
        for place in places:
            claim = self.claim(place)
            refs |= {*self.owners(place), None if claim is None else claim.ref}
        return {ref for ref in refs if ref is not None}

    def missing(self) -> set[str]:
        """Return the places that are watched, and where what was registered is not there."""
        folders = (entry.revision.folder for entry in self._table.present())
        known = {each for each in folders if each is not None} - self._prepared.keys()
        return set(filter(self._is_watched, known))

    def update(self, changed: Mapping[str, PluginSource | None], batch: int) -> dict[str, str]:
        """Take in what the disk now holds.

        Args:
            changed: what lies in the places where something has changed; None where nothing does.
            batch: the number of what has come in, which says what has been on disk longer.

        Returns:
            The places to be looked at, each with the reason in words.
        """
        reasons: dict[str, str] = {}
        rivals: set[str] = set()
        for place, now in changed.items():
            before = self.source(place)
            if now == before:  # A file that the plugin has written is what it was before.
                continue
            rivals |= self._rivals(place)
            if now is None:
                reasons[place] = "removed"
                self._forget(place)
                continue
            files = () if before is None else before.changed_files(now)
            reasons[place] = f"{listed(files, 1)} changed" if files else "added"
            self._prepare(now, batch)
        return dict.fromkeys(rivals, PENDING) | reasons

    def _rivals(self, place: str) -> set[str]:
        """Return the places that claim what `place` does, which may get it when that changes."""
        ref = self._prepared[place].claim.ref if place in self._prepared else None
        return set() if ref is None else {*self.claimants(ref), *self.fallbacks(ref.kind)} - {place}

    def judge_again(self) -> dict[str, str]:
        """Prepare anew what other kinds than those of the last look would let in, or would not.

        Returns:
            As `update`.
        """
        kinds = self._registry.kinds
        if kinds == self._kinds:
            return {}
        self._kinds = kinds
        again = [
            place
            for place, (claim, _, revision) in self._prepared.items()
            if isinstance(claim.error, HookspecMissing | KindVersionIncompatible)
            or (revision is not None and not kinds.allow(revision.manifest))
        ]
        return self.prepare_again(dict.fromkeys(again, "the hookspecs changed"))

    def prepare_again(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Prepare anew what has not changed: a program or module that it names may be there by now.

        Args:
            reasons: why each is, by place.

        Returns:
            As `update`.
        """
        known = {place: why for place, why in sorted(reasons.items()) if place in self._prepared}
        for place in known:
            self._prepare(self._prepared[place].source, self._prepared[place].claim.seen)
        return known

    def _forget(self, place: str) -> None:
        found = self._prepared.pop(place, None)
        self.broken.pop(place, None)
        for name in () if found is None else _claimed_by(found.claim):
            self._claimants[name].discard(place)
            if not self._claimants[name]:
                del self._claimants[name]

    def _prepare(self, source: PluginSource, batch: int) -> None:
        place = source.folder
        self._forget(place)
        owner = self.owner(place)
        revision = None
        try:
            previous = None if owner is None else self._table.entries[owner].revision
            revision = self._registry.prepare(source, previous)
            claim = _claim(place, revision, batch)
        except PluginRegistryError as error:
            claim = Claim(place, error.ref, error=recorded(error), seen=batch)
            self.broken[place] = missing_in(error)
        self._prepared[place] = _Prepared(claim, source, revision)
        for name in _claimed_by(claim):
            self._claimants.setdefault(name, set()).add(place)


def _claimed_by(claim: Claim) -> Iterator[PluginRef | str]:
    """Yield the name that is claimed, and the kind of which it is to be the fallback."""
    if claim.ref is not None:
        yield claim.ref
        if claim.is_fallback:
            yield claim.ref.kind


def _claim(place: str, revision: Revision, batch: int = 0) -> Claim:
    manifest = revision.manifest
    return Claim(
        place,
        manifest.ref,
        wants=tuple(manifest.depends_on),
        priority=manifest.priority,
        is_fallback=manifest.fallback,
        is_by_hand=revision.by_hand,
        seen=batch,
    )


def missing_in(error: BaseException | None) -> set[str]:
    """Return the modules that were not found, as `error` and what led to it say."""
    texts = [said(each) for each in related(error)]
    names = {name for text in texts for name in _NO_MODULE.findall(text)}
    return names | ({"httpx2"} if any(INSTALL_MCP in text for text in texts) else set())
