"""How things would be if some news were taken and the rest left out.

Whether a plugin can be set up is judged from facts alone: what could not be prepared, what its
names mean, what its dependencies come to, and which builds are known to fail.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

from dagstack_dev.core.errors.registry import AmbiguousPlugin, DependencyCycle
from dagstack_dev.core.graph import reach
from dagstack_dev.core.plan import Candidate, Given, Load, by_plugin, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.plan import Failure, Failures, Key, SharedNews, World
    from dagstack_dev.core.refs import PluginRef

    Unit = PluginRef | str  # A plugin by its ref, shared code by a change's name or a path.


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a plugin can be set up: neither `error` (its own fault) nor `blockers`.

    `blockers` are what it waits for, in words; `blocking` are the plugins that have to come right
    first, those it closes a cycle with included. A failure that `is_known` has been seen before.
    """

    error: BaseException | None = None
    is_known: bool = False
    blockers: tuple[str, ...] = ()
    blocking: tuple[PluginRef, ...] = ()

    @property
    def viable(self) -> bool:
        """Whether it can be set up, for all that is known."""
        return self.error is None and not self.blockers


class Target:
    """An evaluation, the same for the same input.

    Args:
        given: what runs, and what the disk has.
        yielded: what of it is to be left out, with the reason.

    Attributes:
        yielded: all that is left out, with the reason.
        left_out: the candidates among it.
        taken: the candidates that are taken, by ref.
        rejected: what stays as it runs though the disk has something else, with the reason.
        shared: the changes of shared code that are taken.
        graph: the dependencies.
        leaving: plugins that are removed or renamed.
        renamed: plugins that did not change, and a name that they depend on means another plugin.
        affected: all downstream of any change.
        verdicts: of each affected plugin that does not leave.
    """

    def __init__(self, given: Given, yielded: Mapping[Unit, BaseException]) -> None:
        self.given = given
        self._world = given.world
        self.taken = dict(given.candidates)
        self.left_out: dict[PluginRef, BaseException] = {}
        self.rejected: dict[PluginRef, BaseException] = {}
        self._leave_out(yielded)
        left_out: Mapping[Any, BaseException] = self.left_out
        self.yielded: Mapping[Unit, BaseException] = {**yielded, **left_out}
        self.shared = [
            each.beside(self.taken) for name, each in given.shared.items() if name not in yielded
        ]
        self._files = {path: each for change in self.shared for path, each in change.files.items()}
        self._keys: dict[PluginRef, Key] = {}
        self._wire()
        self.affected = self._affected(frozenset())
        idle = {ref for ref in self._lending() if ref not in self._possible}
        if idle:
            self.affected = self._affected(idle)
        self.verdicts = self._judge(self._recurs)

    # How things are to be

    def _leave_out(self, yielded: Mapping[Unit, BaseException]) -> None:
        """Leave out what yielded, and what would take the name or the place of what stays."""
        todo = list(yielded.items())
        while todo:
            unit, error = todo.pop()
            if isinstance(unit, str) or unit in self.left_out:
                continue
            candidate = self.taken.pop(unit, None)
            if candidate is None and self._world.is_live(unit):
                self.rejected[unit] = error  # A name it depends on means something else now.
                continue
            self.left_out[unit] = error
            for ref in self.given.at_stake(candidate) if candidate is not None else ():
                self.rejected.setdefault(ref, error)
                for other in {ref, self.given.heirs.get(ref, ref)} & self.taken.keys():
                    because = f"{other} has to wait: {ref} goes on running, since {error}"
                    todo.append((other, AmbiguousPlugin(because, ref=other, candidates=[ref])))

    def _wire(self) -> None:
        """The graph with what is taken in force; what is rejected keeps what its names meant."""
        before = self._world.graph
        replaced = {each.replaces for each in self.taken.values() if each.replaces is not None}
        self.leaving = (self.given.removed | replaced) - self.rejected.keys() - self.taken.keys()
        wants = {ref: before.wants(ref) for ref in self.rejected if ref in before}
        for ref, each in self.taken.items():
            wants[ref] = () if each.error is not None else tuple(each.wants)
        graph, rewired = before.updated(wants, self.leaving)
        pinned = {
            ref: before.dependencies(ref)
            for ref in self.rejected
            if graph.problem(ref) or graph.dependencies(ref) != before.dependencies(ref)
        }
        self.graph, _ = graph.updated(pinned)
        self.renamed = {
            ref
            for ref in rewired - self.rejected.keys() - self.left_out.keys()
            # Where something that it depended on is gone, it will be blocked.
            if not self.graph.problem(ref) or self.leaving.isdisjoint(before.dependencies(ref))
        }
        self.taken |= {ref: self._as_renamed(ref) for ref in sorted(self.renamed)}

    def _as_renamed(self, ref: PluginRef) -> Candidate:
        return Candidate(
            ref,
            wants=self.graph.wants(ref),
            priority=self._world.priorities.get(ref, 0),
            reason="a name it depends on now means another plugin",
            load=Load.RENEW if self._world.is_live(ref) else Load.IMPORT,
            version=self._world.version(ref),
        )

    @cached_property
    def changes(self) -> Mapping[PluginRef, Sequence[SharedNews]]:
        """The changes of shared code that are taken, by the plugins that they are for."""
        return by_plugin(self.shared)

    def _lending(self) -> set[PluginRef]:
        """The affected plugins at rest whose code others have imported, or have missed."""
        at_rest = filterfalse(self._world.is_live, self.affected - self.leaving)
        return {ref for ref in at_rest if self._world.importers(ref)}

    def _affected(self, idle: AbstractSet[PluginRef]) -> set[PluginRef]:
        """Downstream of every change, before and after, and by imported code but that of `idle`."""
        candidates = self.left_out.keys() & self.given.candidates.keys()
        changing = {*filterfalse(self.given.goes_on, candidates)}
        changing |= {ref for change in self.shared for ref in change.plugins}
        before, after = self._world.graph, self.graph

        def reaches(ref: PluginRef) -> AbstractSet[PluginRef]:
            importers = frozenset() if ref in idle else self._world.importers(ref)
            return before.dependents(ref) | after.dependents(ref) | importers

        return reach({*self.taken, *self.leaving, *(changing & after.refs)}, reaches)

    # Who can be set up

    def _judge(self, recurs: Callable[[PluginRef, Failure], bool]) -> dict[PluginRef, Verdict]:
        """Why each affected plugin can or cannot be set up, dependencies first.

        Args:
            recurs: whether a plugin fails again that has failed with the same key.
        """
        verdicts: dict[PluginRef, Verdict] = {}
        pool = self.affected - self.leaving
        waiting = {
            ref: sum(other in pool for other in self.graph.dependencies(ref)) for ref in pool
        }
        startable = [ref for ref, count in waiting.items() if not count]
        while len(verdicts) < len(pool):
            done: tuple[PluginRef, ...] = ()
            if startable:
                done = (startable.pop(),)
                verdicts[done[0]] = self._judge_one(done[0], verdicts, recurs)
            else:  # Some of the rest close a cycle.
                left = pool - verdicts.keys()
                done = self.graph.find_cycle(left) or tuple(sorted(left))
                verdicts |= dict.fromkeys(done, Verdict(DependencyCycle(done), blocking=done))
            for other in (other for ref in done for other in self.graph.dependents(ref) & pool):
                waiting[other] -= 1
                if not waiting[other] and other not in verdicts:
                    startable.append(other)
        return verdicts

    @cached_property
    def viable(self) -> AbstractSet[PluginRef]:
        """The affected plugins that can be set up, for all that is known."""
        return {ref for ref, verdict in self.verdicts.items() if verdict.viable}

    def _viable_if(self, recurs: Callable[[PluginRef, Failure], bool]) -> AbstractSet[PluginRef]:
        """Those that could be; see `_judge`."""
        return {ref for ref, verdict in self._judge(recurs).items() if verdict.viable}

    @cached_property
    def _possible(self) -> AbstractSet[PluginRef]:
        """What can be set up if all comes up again that runs and has no news.

        Else what makes such a plugin fail would be no news, where it waits for just that plugin.
        """
        is_live = self._world.is_live
        return self._viable_if(
            lambda ref, failure: (
                (ref in self.taken or not is_live(ref)) and self._recurs(ref, failure)
            )
        )

    def _judge_one(
        self,
        ref: PluginRef,
        verdicts: Mapping[PluginRef, Verdict],
        recurs: Callable[[PluginRef, Failure], bool],
    ) -> Verdict:
        error = self._hindrance(ref)
        if error is not None:
            return Verdict(error)

        def is_up(other: PluginRef) -> bool:
            return verdicts[other].viable if other in verdicts else self._world.is_live(other)

        blockers, problem = self.graph.blockers(ref, is_up), self.graph.problem(ref)
        if problem is not None:
            return Verdict(problem, blockers=blockers)
        if blockers:
            blocking = filterfalse(is_up, self.graph.dependencies(ref))
            return Verdict(blockers=blockers, blocking=tuple(blocking))
        broken = self._broken_import(ref)
        if broken is not None:
            return Verdict(broken)
        known = self._known_failure(ref, recurs)
        return Verdict(known, is_known=known is not None)

    def _hindrance(self, ref: PluginRef) -> BaseException | None:
        """Why there is nothing to build `ref` from."""
        if ref in self.taken:
            return self.taken[ref].error
        if self.given.goes_on(ref):
            return None
        return self.left_out.get(ref) or self._world.problem(ref)

    def _broken_import(self, ref: PluginRef) -> BaseException | None:
        """Why `ref`, which runs, cannot be loaded with the shared code that it imports.

        What does not run meets that as after a restart: it may do without.
        """
        is_new = ref in self.taken and ref not in self.renamed
        for change in self.changes.get(ref, ()) if self._world.is_live(ref) else ():
            error = None if is_new and ref in change.free else change.error_for(ref)
            if error is not None:
                return error
        return None

    @cached_property
    def lost(self) -> Mapping[PluginRef, Candidate | None]:
        """What runs and would run no more, by its own fault or by that of a candidate."""
        found: dict[PluginRef, Candidate | None] = {}
        for ref, verdict in self.verdicts.items():
            if not verdict.viable:
                candidate = self.taken.get(ref)
                at_stake = {ref} if candidate is None else self.given.at_stake(candidate)
                found |= dict.fromkeys(filter(self._world.is_live, at_stake), candidate)
        return found

    def is_news(self, ref: PluginRef) -> bool:
        """Whether there would be something else of `ref` than runs."""
        if self._world.is_live(ref):
            return ref in self.taken
        return ref in self.affected and ref in self._possible

    # By what each is built

    def _version(self, ref: PluginRef) -> Hashable:
        return self.taken[ref].version if ref in self.taken else self._world.version(ref)

    def key(self, ref: PluginRef) -> Key:
        """The digest of all that `ref` is built from."""
        return key_of(ref, self.graph, self._version, self._keys)

    def has_failed(self, ref: PluginRef) -> bool:
        """Whether `ref` has failed before, built from the same."""
        return self._known_failure(ref, self._recurs) is not None

    def _known_failure(
        self, ref: PluginRef, recurs: Callable[[PluginRef, Failure], bool]
    ) -> BaseException | None:
        failures = reversed(self._failures(ref))  # The newest is what is reported.
        return next((each.error for each in failures if recurs(ref, each)), None)

    def _failures(self, ref: PluginRef) -> Sequence[Failure]:
        """The failures of `ref` as it is here, whatever code it found then."""
        return [each for each in self.given.failures.get(ref, ()) if each.key == self.key(ref)]

    def _recurs(self, ref: PluginRef, failure: Failure) -> bool:
        """Whether the code that is not its own is what it was when `ref` failed.

        What came to nothing by itself does so until there is news, whatever has been loaded since.
        """
        return failure.is_of_running or all(
            self._is_as_it_was(code, ref, failure)
            for code in {*failure.files, *self._code_for(ref)}
        )

    def _is_as_it_was(self, code: Unit, ref: PluginRef, failure: Failure) -> bool:
        """Whether `ref` would find of a file of shared code, or of a plugin, what it found then."""
        now = self._content(code)
        if code in failure.files:
            then = failure.files[code]
            if then is None and not isinstance(code, str):
                return not self._is_there(code, self._loading_beside(ref))
            return now == then
        if now is None or isinstance(code, str):
            return now == self._world.code(code)
        return now == self._world.version(code)  # It is no news that it comes up again.

    def files(self, ref: PluginRef, imported: Iterable[Unit] = ()) -> Mapping[Unit, Hashable]:
        """What `ref` finds of the code that is news for it or for what it is built with.

        By the path of each file of shared code, and by the ref of each other plugin; None for what
        is not there. Of what its build has `imported`, the news count too.
        """
        codes = self._code_for(ref, imported)
        return {
            code: self._content(code)
            if isinstance(code, str) or self._is_there(code, self.viable)
            else None
            for code in codes
        }

    def finds_alike(self, ref: PluginRef, other: Target) -> bool:
        """Whether `ref` finds the same in `other`, also of the code that it has failed with."""
        return all(
            self._content(code) == other._content(code) for code in self._code_for(ref)
        ) and all(
            self._is_as_it_was(code, ref, each) == other._is_as_it_was(code, ref, each)
            for each in self._failures(ref)
            for code in each.files
        )

    def _code_for(self, ref: PluginRef, imported: Iterable[Unit] = ()) -> AbstractSet[Unit]:
        found = {code for code in imported if code in self._news or not isinstance(code, str)}
        for each in self.upstream(ref):
            found |= self._imported.get(each, set())
            found |= {path for change in self.given.changes.get(each, ()) for path in change.files}
        return found - {ref}

    @cached_property
    def _news(self) -> AbstractSet[Unit]:
        """The paths of all shared code that there are news of, taken or not."""
        return {path for change in self.given.shared.values() for path in change.files}

    def _content(self, code: Unit) -> Hashable:
        """What there is to load of a file of shared code, or of a plugin; None for nothing."""
        if isinstance(code, str):
            return self._files[code] if code in self._files else self._world.code(code)
        is_to_be_had = code not in self.affected or code in self._loadable
        return self._version(code) if is_to_be_had else None

    def _is_there(self, ref: PluginRef, viable: AbstractSet[PluginRef]) -> bool:
        """Whether the code of `ref` is loaded, if of what is affected just `viable` comes up."""
        return ref in viable if ref in self.affected else self._world.is_live(ref)

    @cached_property
    def _loadable(self) -> AbstractSet[PluginRef]:
        """The affected plugins that can be set up if none fails."""
        return self._viable_if(lambda *_: False)

    def _loading_beside(self, ref: PluginRef) -> AbstractSet[PluginRef]:
        """The affected plugins that can be set up if `ref` can, and all else fails that has."""
        return self._viable_if(lambda other, _: other != ref)

    def upstream(self, ref: PluginRef) -> set[PluginRef]:
        """`ref`, what it depends on, and of what it imports the affected, directly or not."""
        graph, imported = self.graph, self._imported
        return reach([ref], lambda each: {*graph.dependencies(each), *imported.get(each, ())})

    @cached_property
    def _imported(self) -> Mapping[PluginRef, set[PluginRef]]:
        """For each plugin the affected ones whose code it has imported, directly or not."""
        found: defaultdict[PluginRef, set[PluginRef]] = defaultdict(set)
        for ref in self.affected:
            for importer in reach([ref], self._world.importers) - {ref}:
                found[importer].add(ref)
        return found


def is_known_failure(world: World, failures: Failures, ref: PluginRef) -> bool:
    """Whether `ref`, which does not run, is known to fail beside all that runs."""
    return Target(Given(world, failures=failures), {}).has_failed(ref)
