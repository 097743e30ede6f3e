"""The one mutable state of reloads, and what is derived from it.

    revisions   what is on disk, prepared           place -> claim, source, revision
    context     what plugins are given              the newest configuration
    table       what runs, and from what            ref -> entry: revision, context, generation
    requests    how often a new instance was        ref -> number, of what is wanted and of
                asked for without an edit           what was built
    beside      what lay there when something came  ref -> source
                back in a roll-back: its data
    failures    what did not work, from what, when  ref -> failures
                it is tried again, what it misses
    found       missing modules that were there     (place, name)
                at the last look
    building    what is under way                   refs
    unstable    where anything differs from what    place -> what has happened there and was not
                runs or was tried last              dealt with, or `PENDING`
    known       what differs of shared code, in     path -> content, and since which batch
                `SharedFiles`

The last two could be derived from everything, and are kept so that a reload looks nowhere else.
Everything else is derived: who owns which name, what is pending, what is to be tried. `record` is
the only writer of the requests that were met. It notes failures, as `fail_running` does;
`forget_failures` and `drop_failures` clear them, and `note_retry` adds when to try again.
The `Reconciler` says what is being built, and where anything is unstable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.app.reload.revisions import Revisions, missing_in
from dagstack_dev.core.desired import PENDING
from dagstack_dev.core.errors.life import PluginLoadError, RetryPreempted, SetupPreempted
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Failure, Load, World
from dagstack_dev.core.ports import Imported
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.snapshot import Inputs
from dagstack_dev.core.target import is_known_failure
from dagstack_dev.core.transient import is_transient
from dagstack_dev.host.plugins.sections import section_problem
from dagstack_dev.host.services.context import plugin_config, sees_the_same

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from dagstack_dev.app.registry import PluginRegistry
    from dagstack_dev.core.desired import Claim
    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.plan import Candidate, Failures, ReloadPlan, Retry
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.plugins.entry import Entry, Revision
    from dagstack_dev.host.reload.transaction import Applied

_MOST: Final = 64
"""How many builds of one plugin are known to fail; the oldest is forgotten for one more."""


class ReloadState:
    """See the module.

    Args:
        registry: what runs.
        is_watched: whether a place lies where the disk is looked at.

    Attributes:
        revisions: what is on disk, prepared.
        failures: what did not work, by plugin; another map each time that they are cleared, for a
            save is a wish to try again.
        asked: how often a new instance of each was asked for without an edit.
        building: the plugins of which something is under way.
        unstable: the places where something differs; see the module.
    """

    def __init__(self, registry: PluginRegistry, is_watched: Callable[[str], bool]) -> None:
        self._table = registry.table
        self._runner = registry.runner
        self.revisions = Revisions(registry, is_watched)
        self._code = registry.in_process.shared
        self.failures: dict[PluginRef, list[Failure]] = {}
        self.building: set[PluginRef] = set()
        self.unstable: dict[str, str] = {}
        self._found: set[tuple[str, str]] = set()
        self.asked = Counter[PluginRef]()
        self._built = Counter[PluginRef]()
        self._beside: dict[PluginRef, PluginSource | None] = {}

    # What runs, see `core.desired.Running`

    def world(self) -> World:
        """Return what runs, for the planner."""
        table = self._table
        graph = table.graph  # Views, not copies: plan before anything changes.
        return World(
            graph=graph,
            states=table.states,
            setup_order=table.setup_order,
            priorities=table.priorities,
            # Not what just leaves.
            importers=cache(lambda ref: table.code.importers(ref) & graph.refs),
            version=self._version_of,
            problem=self._problem_of,
            content=self._code.fingerprint,
        )

    def is_live(self, ref: PluginRef) -> bool:
        """Return whether `ref` runs."""
        return self._table.states.get(ref) is State.READY

    def is_lost(self, ref: PluginRef) -> bool:
        """Return whether `ref` runs and cannot go on, for it is not well."""
        if not self.is_live(ref):
            return False
        known = [each.key for each in self.failures.get(ref, ()) if each.is_of_running]
        return bool(known) and self.world().key(ref) in known

    def fallbacks_of(self, kind: str) -> Iterable[PluginRef]:
        """Return the fallbacks of `kind` that run, or that the app itself has registered."""
        return (
            entry.ref
            for entry in self._table.present()
            if entry.ref.kind == kind
            and entry.manifest.fallback
            and (self.is_live(entry.ref) or entry.revision.by_hand)
        )

    def difference(self, ref: PluginRef, claim: Claim) -> Load | None:
        """Return what makes `ref`, which runs, what lies there; None when it is just that."""
        entry = self._table.entries[ref]
        source = self.revisions.source(claim.place)
        is_same = source is None or entry.revision.source == source
        if not is_same or self.asked[ref] != self._built[ref]:
            return Load.IMPORT
        if self._table.graph.wants(ref) != tuple(entry.manifest.depends_on):
            return Load.RENEW  # They were pinned to what its names meant.
        if source is not None and not _has_data_of(self._beside.get(ref, source), source):
            return Load.RENEW  # The code that came back in a roll-back has read what lay there.
        return None if self.is_configured(entry) else Load.RENEW

    def is_configured(self, entry: Entry) -> bool:
        """Return whether `entry` was set up with what the configuration says of it now."""
        newest, given = self._runner.context, entry.context
        if newest is None or given is None or newest.config is given.config:
            return True
        return sees_the_same(entry.ref, given.config, newest.config)

    def version(self, ref: PluginRef, claim: Claim) -> Hashable:
        """Return all that `ref` would be built from there, but for its dependencies."""
        source = self.revisions.source(claim.place)
        return source and source.digest, self._section(self._runner, ref), self.asked[ref]

    def problem(self, claim: Claim) -> PluginRegistryError | None:
        """Return why the section of the configuration does not fit the manifest there."""
        revision, context = self.revisions.revision(claim.place), self._runner.context
        if revision is None or context is None:
            return None
        return section_problem(revision, context.config)

    def _version_of(self, ref: PluginRef) -> Hashable:
        """Return all that `ref` runs from, or was last tried from, but for its dependencies."""
        entry = self._table.entries.get(ref)
        if entry is None:
            return None  # It is about to come.
        is_live = self.is_live(ref)
        given, asked = (entry, self._built) if is_live else (self._runner, self.asked)
        source = entry.revision.source
        return source and source.digest, self._section(given, ref), asked[ref]

    def _problem_of(self, ref: PluginRef) -> BaseException | None:
        """Return why nothing can be built from what lies where `ref` was last built from."""
        claim = self.revisions.claim(self.revisions.place(ref) or "")
        if claim is None:
            return None
        if claim.ref not in {ref, None}:
            return PluginLoadError(ref, "import", f"its folder is now that of {claim.ref}")
        return claim.error or self.problem(claim)

    @staticmethod
    def _section(given: Any, ref: PluginRef) -> str:
        return repr(plugin_config(given.context.config, ref)) if given.context is not None else ""

    def is_loaded(self, ref: PluginRef, revision: Revision) -> bool:
        """Return whether the code of `ref` that is loaded is what `revision` holds."""
        entry = self._table.present_entry(ref)
        if entry is None or self._table.states[ref] not in {State.READY, State.LOADED}:
            return False
        return entry.revision.source == revision.source

    # What a server reports: what runs, beside what is on disk

    def running_inputs(self, ref: PluginRef, shared: Mapping[str, bytes | None]) -> Inputs:
        """Return what `ref` runs from, or was last tried from; `shared` is what it imports."""
        entry = self._table.entries[ref]
        return Inputs(entry.revision.source, self._section(entry, ref), shared, self._built[ref])

    def inputs_on_disk(self, ref: PluginRef, shared: Mapping[str, bytes | None]) -> Inputs | None:
        """Return what a restart would build `ref` from; None where it is not on disk."""
        place = self.revisions.place(ref)
        if place is None or self.revisions.claim(place) is None:
            return None
        source = self.revisions.source(place) or self._table.entries[ref].revision.source
        return Inputs(source, self._section(self._runner, ref), shared, self.asked[ref])

    # What is to be done

    def is_stable(self, place: str) -> bool:
        """Return whether nothing at `place` differs from what runs, or from what was tried last."""
        claim, owners = self.revisions.claim(place), self.revisions.owners(place)
        if claim is None or [claim.ref] != owners:
            return claim is None and not owners
        (owner,) = owners
        if self.is_live(owner):
            is_same = claim.error is None and self.difference(owner, claim) is None
            return is_same and not self.is_lost(owner)
        entry, graph = self._table.entries[owner], self._table.graph
        if any(map(self.is_live, graph.dependents(owner))):
            return False  # They cannot go on without it.
        source = self.revisions.source(place)
        if source is not None and entry.revision.source != source:
            return False
        if len(self.revisions.claimants(owner)) > 1:
            return False  # It may get its name when that of a rival is gone.
        if self._problem_of(owner) is not None or owner not in graph:
            return True
        if graph.wants(owner) != tuple(entry.manifest.depends_on):
            return False  # They were pinned to what its names meant while it ran.
        has_failed = self._table.states[owner] is State.FAILED
        if blockers := graph.blockers(owner, self.is_live):
            return has_failed or entry.blocked_by == blockers
        if graph.problem(owner) is not None:
            return True
        return has_failed and is_known_failure(self.world(), self.failures, owner)

    def look_at(self, places: Iterable[str]) -> None:
        """Derive anew which of `places` are stable."""
        for place in places:
            if self.is_stable(place):
                self.unstable.pop(place, None)
            else:
                self.unstable.setdefault(place, PENDING)

    def is_building(self, refs: AbstractSet[PluginRef]) -> bool:
        """Return whether something of any of `refs` is under way."""
        return not self.building.isdisjoint(refs)

    def is_busy(self, place: str) -> bool:
        """Return whether something of what lies at `place` is under way."""
        return self.is_building(self.revisions.refs_at([place]))

    @property
    def has_waited(self) -> bool:
        """Whether something has happened that had to wait for what was under way, and has ended."""
        waiting = (place for place, reason in self.unstable.items() if reason != PENDING)
        return not all(map(self.is_busy, waiting))

    def request(self, refs: Collection[PluginRef]) -> set[str]:
        """Have `refs` built anew though nothing differs.

        Returns:
            Where they lie.
        """
        self.asked.update(ref for ref in refs if self.revisions.place(ref) is not None)
        return self.revisions.places(refs)

    def failed_near(self, touched: Iterable[PluginRef]) -> Iterator[PluginRef]:
        """Yield the plugins that have failed and may work by now, for what was `touched`."""
        near = self._table.reached_by(touched)
        for ref, known in self.failures.items():
            if ref in near or any(each.files for each in known):  # Shared code may be any plugin's.
                yield ref

    @property
    def retried(self) -> set[PluginRef]:
        """The plugins that wait to be tried again by themselves, or are just tried."""
        return {ref for ref, known in self.failures.items() if known[-1].is_retried}

    def missing_modules(self) -> dict[str, AbstractSet[str]]:
        """Return the modules that are missed by what has failed, by its place."""
        failed = (
            (place, known[-1].absent)
            for ref, known in self.failures.items()
            for place in self.revisions.claimants(ref)
        )
        missed = (*self.revisions.broken.items(), *failed)
        return {place: names for place, names in missed if names}

    def look_for_modules(self) -> dict[str, str]:
        """Look for the modules that are missed; one that was found before has not helped.

        Returns:
            Why places are to be tried again.
        """
        absent = self.missing_modules()
        if not absent:
            return {}
        PathFinder.invalidate_caches()
        names = set[str]().union(*absent.values())
        there = {name for name in names if self._code.can_find(name)}
        found = {(place, name) for place, names in absent.items() for name in names & there}
        news, self._found = found - self._found, found
        return {place: f"{name} was installed" for place, name in sorted(news)}

    def forget_failures(self, news: Iterable[PluginRef], *, all_of_them: bool) -> set[str]:
        """Let what has failed be tried again.

        What waits for its retry goes on doing so, unless it depends on any of the `news`, which
        may be what was wrong, or `all_of_them` are meant.

        Returns:
            The places of what is to be tried.
        """
        before = self.revisions.places(self.failures)
        entries = self._table.entries  # What has died is not in the graph that is in force.
        wants = {ref: entries[ref].manifest.depends_on for ref in self.retried}
        reached = self._table.reached_by(news)
        concerned = reached | self._table.graph.updated(wants)[0].downstream(reached)
        kept = set() if all_of_them else self.retried - concerned
        self.failures = {ref: self.failures[ref] for ref in kept}
        return before - self.revisions.places(self.failures)

    # What has become of it

    def _fail(self, ref: PluginRef, failure: Failure) -> None:
        """Note that a build did not work."""
        known = self.failures.setdefault(ref, [])
        known.append(replace(failure, absent=failure.absent | missing_in(failure.error)))
        del known[:-_MOST]

    def note_retry(self, ref: PluginRef, retry: Retry) -> Failure:
        """Note when the last failure of `ref` may be tried again; return that failure."""
        known = self.failures[ref]
        known[-1] = replace(known[-1], retry=retry)
        return known[-1]

    def drop_failures(self, ref: PluginRef) -> None:
        """Forget the failures of one plugin."""
        self.failures.pop(ref, None)

    def fail_running(self, ref: PluginRef, error: BaseException) -> None:
        """Note that what runs of `ref`, or has just ended by itself, is not to run again."""
        self._fail(ref, Failure(self.world().key(ref), error, is_of_running=True))

    def record(
        self,
        plan: ReloadPlan,
        candidates: Mapping[PluginRef, Candidate],
        applied: Applied,
        failures: Failures,
        asked: Mapping[PluginRef, int],
    ) -> None:
        """Note what has become of `plan`.

        Args:
            plan: what was carried out, or a part of it.
            candidates: what it was made from.
            applied: what has become of it.
            failures: those that it was made with. What fails after they were cleared is not known
                to: there have been news. What is transient is noted, for it is tried by itself.
            asked: how often each plugin had been asked for by then.
        """

        def is_known(ref: PluginRef, error: BaseException) -> bool:
            if type(error) is SetupPreempted:  # Then it had no chance to fail.
                return False
            if type(error) is RetryPreempted and self.is_live(ref):
                return False  # It came back, and nothing would try it again by itself.
            return failures is self.failures or is_transient(error)

        for ref, error in applied.failed.items():
            if is_known(ref, error):
                code, absent = applied.imported.get(ref, Imported())
                files = plan.files(ref, code)
                self._fail(ref, Failure(plan.key(ref), error, files, absent=absent))
        for ref in applied.built:
            self._refute(ref, plan)
            if ref in plan.taken or ref not in candidates:  # Else it came back as it was.
                self._built[ref] = asked.get(ref, 0)
            self._beside.pop(ref, None)
        for ref in filter(self.is_live, applied.rolled_back):
            self._beside[ref] = self.revisions.source(self.revisions.place(ref) or "")
        for ref, error in applied.lost.items():
            if is_transient(error):  # Anything else has worked before, and is built anew.
                self._fail(ref, Failure(self.world().key(ref), error))
        for ref in applied.touched:
            if self.revisions.place(ref) is None and not self.revisions.claimants(ref):
                self._forget_plugin(ref)

    def _refute(self, ref: PluginRef, plan: ReloadPlan) -> None:
        """Forget the failures of what has just worked; beside other shared code it may fail."""
        key = plan.key(ref)
        known = [
            each
            for each in self.failures.pop(ref, ())
            if each.key != key or not each.files.items() <= plan.files(ref, each.files).items()
        ]
        if known:
            self.failures[ref] = known

    def _forget_plugin(self, ref: PluginRef) -> None:
        """Forget a plugin that is gone; one that comes under its name is another."""
        self.drop_failures(ref)
        for known in (self.asked, self._built, self._beside):
            known.pop(ref, None)


def _has_data_of(beside: PluginSource | None, source: PluginSource) -> bool:
    """Return whether `beside` holds all files of `source` that are read when it runs."""
    changed = source.files if beside is None else source.changed_files(beside)
    return all(path.endswith(".py") or path == source.manifest_name for path in changed)
