"""What each plugin is to be built from: its news, or what it runs from where these would lose it.

Whether a plugin can be set up is judged from facts alone: what could not be prepared, what its
names mean, what its dependencies come to, and which builds are known to fail. Where something that
runs would be lost, something yields and stays as it runs:

    1. The plugin's own news. In a cycle of news, those that have been on disk longest.
    2. Else, of the news that it depends on or imports, those that have been on disk longest, for
       what is new is what its author wants tried.
    3. In the end whatever need not have yielded is taken after all, and so is what yielded for
       something that is lost anyway.

What is gone from disk, or renamed, holds nothing back: its dependents are blocked.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import filterfalse
from typing import TYPE_CHECKING

from dagstack_dev.core.errors import AmbiguousPlugin, DependencyCycle
from dagstack_dev.core.plan import Candidate, DependencyBlocked, Load

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.graph import DependencyGraph
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


@dataclass(frozen=True)
class News:
    """All that the disk offers and that does not run.

    Attributes:
        world: what runs.
        candidates: by ref.
        removed: plugins that are gone from disk.
        shared: changes of shared code, by name.
        failures: builds that are known to fail.
    """

    world: World
    candidates: Mapping[PluginRef, Candidate]
    removed: AbstractSet[PluginRef]
    shared: Mapping[str, SharedNews]
    failures: Failures

    def at_stake(self, candidate: Candidate) -> set[PluginRef]:
        """What runs and goes on if `candidate` is left out: not what is offered elsewhere."""
        found = set() if candidate.is_lost else {candidate.ref}
        if candidate.replaces is not None and candidate.replaces not in self.candidates:
            found.add(candidate.replaces)
        return {ref for ref in found if self.world.is_live(ref)}

    def has_to_stop(self, ref: PluginRef) -> bool:
        """Whether nothing of `ref` is to run if its candidate is left out."""
        return not self.world.is_live(ref) or self.candidates[ref].is_lost

    @cached_property
    def replacing(self) -> Mapping[PluginRef, Sequence[Candidate]]:
        """The candidates that would take the place of a plugin of another name."""
        found: defaultdict[PluginRef, list[Candidate]] = defaultdict(list)
        for candidate in self.candidates.values():
            if candidate.replaces is not None:
                found[candidate.replaces].append(candidate)
        return found


def choose(news: News) -> Target:
    """Decide what is built from its news, and what stays as it runs; see the module."""
    yielded: dict[Unit, BaseException] = {
        each.ref: each.error
        for each in news.candidates.values()
        if each.error is not None and news.at_stake(each)
    }
    target = Target(news, yielded)
    while more := target.yielding():
        yielded |= more
        target = Target(news, yielded)
    for ref, error in target.left_out.items():
        yielded[ref] = error
    for unit in sorted(yielded, key=lambda each: (-_seen(news, each), str(each))):
        if _is_broken(news, unit) and unit not in target.lost:
            continue
        without = {each: error for each, error in yielded.items() if each != unit}
        other = Target(news, without)
        if unit not in other.left_out and (other.lost <= target.lost or not other.yielding()):
            yielded, target = without, other
    return target


def _is_broken(news: News, unit: Unit) -> bool:
    """Whether nothing can be built from the news of `unit`."""
    candidate = None if isinstance(unit, str) else news.candidates.get(unit)
    return candidate is not None and candidate.error is not None


def _seen(news: News, unit: Unit) -> int:
    found = news.shared.get(unit) if isinstance(unit, str) else news.candidates.get(unit)
    return found.seen if found is not None else 0


@dataclass
class Target:
    """How things are to be if certain news `yielded`: an evaluation, the same for the same input.

    Attributes:
        news: what there is.
        yielded: what of it is left out, with the reason.
        offers: the candidates that are taken, by ref.
        rejected: what stays as it runs though the disk offers something else, with the reason.
        shared: the changes of shared code that are taken.
        graph: the dependencies.
        leaving: plugins that are removed or renamed.
        affected: all downstream of any change.
        verdicts: of each affected plugin that does not leave.
    """

    news: News
    yielded: Mapping[Unit, BaseException]
    offers: dict[PluginRef, Candidate] = field(init=False)
    rejected: dict[PluginRef, BaseException] = field(init=False)
    shared: list[SharedNews] = field(init=False)
    graph: DependencyGraph = field(init=False)
    leaving: set[PluginRef] = field(init=False)
    affected: set[PluginRef] = field(init=False)
    verdicts: dict[PluginRef, Verdict] = field(init=False)

    def __post_init__(self) -> None:
        self.offers, self.rejected = dict(self.news.candidates), {}
        self.left_out: dict[PluginRef, BaseException] = {}
        self._keys: dict[PluginRef, Key] = {}
        self._reject_what_yielded()
        self.shared = [
            each for name, each in sorted(self.news.shared.items()) if name not in self.yielded
        ]
        self._contents = self._contents_of_files()
        self._build_graph()
        self._changes = self._changes_by_plugin()
        self.affected = self._affected(lambda _: True)
        self.verdicts = self._judge()
        loaded = self._affected(self._is_loaded)
        self.verdicts = {ref: each for ref, each in self.verdicts.items() if ref in loaded}
        self.affected = loaded

    # Who stays

    def _reject_what_yielded(self) -> None:
        for unit, error in self.yielded.items():
            if unit in self.offers:
                self._reject(self.offers[unit], error)
            elif not isinstance(unit, str) and unit not in self.news.candidates:
                self.rejected[unit] = error  # A name it depends on means something else now.

    def _reject(self, candidate: Candidate, error: BaseException) -> None:
        """Leave `candidate` out, and every other that would take what it leaves running."""
        if self.offers.get(candidate.ref) is not candidate:
            return
        del self.offers[candidate.ref]
        self.left_out[candidate.ref] = error
        kept = self.news.at_stake(candidate)
        for ref in kept:
            self.rejected.setdefault(ref, error)
        claims = [(held, other) for held in sorted(kept) for other in self._claiming(held)]
        for held, other in claims:
            because = f"{other.ref} has to wait: {held} goes on running, since {error}"
            self._reject(other, AmbiguousPlugin(because, ref=other.ref, candidates=[held]))

    def _claiming(self, ref: PluginRef) -> Iterator[Candidate]:
        """Every candidate left that is to be `ref`, or to take its place."""
        if ref in self.offers:
            yield self.offers[ref]
        for other in self.news.replacing.get(ref, ()):
            if self.offers.get(other.ref) is other:
                yield other

    # How things are to be

    def _build_graph(self) -> None:
        """The graph with every offer in force."""
        world = self.news.world
        replaced = {offer.replaces for offer in self.offers.values() if offer.replaces is not None}
        self.leaving = (self.news.removed | replaced) - self.rejected.keys() - self.offers.keys()
        wants: dict[PluginRef, Sequence[str | PluginRef]] = {
            ref: world.graph.wants(ref) for ref in self.rejected if ref in world.graph
        }
        wants |= {
            offer.ref: () if offer.error is not None else tuple(offer.wants)
            for offer in self.offers.values()
        }
        graph, rewired = world.graph.updated(wants, self.leaving)
        pinned = {  # What is rejected keeps what its names meant, whatever they mean now.
            ref: world.graph.dependencies(ref)
            for ref in self.rejected
            if graph.problem(ref) or graph.dependencies(ref) != world.graph.dependencies(ref)
        }
        self.graph, _ = graph.updated(pinned)
        self.renamed: set[PluginRef] = set()
        for ref in sorted(rewired - self.offers.keys() - self.rejected.keys()):
            self._offer_rewired(ref)

    def _offer_rewired(self, ref: PluginRef) -> None:
        """`ref` itself did not change, but a name it depends on now means another plugin."""
        world = self.news.world
        lost = any(other in self.leaving for other in world.graph.dependencies(ref))
        if lost and self.graph.problem(ref) is not None:
            return  # What it depended on is gone: it will be blocked, not rejected.
        self.renamed.add(ref)
        self.offers[ref] = Candidate(
            ref,
            wants=self.graph.wants(ref),
            priority=world.priorities.get(ref, 0),
            reason="a name it depends on now means another plugin",
            load=Load.RENEW if world.is_live(ref) else Load.IMPORT,
            version=world.version(ref),
        )

    def _is_loaded(self, ref: PluginRef) -> bool:
        """Whether there is, or was, code of `ref` that others import."""
        return (
            ref in self.leaving
            or self.news.world.is_live(ref)
            or (ref in self.verdicts and self.verdicts[ref].viable)
        )

    def _affected(self, is_loaded: Callable[[PluginRef], bool]) -> set[PluginRef]:
        """Downstream of every change, in the old graph, the new one and by imported code."""
        before, importers = self.news.world.graph, self.news.world.importers
        reached: set[PluginRef] = set()
        frontier = {*self.offers, *self.leaving}
        stopping = filter(self.news.has_to_stop, self.left_out)
        frontier |= {ref for ref in stopping if ref in self.graph}
        frontier |= {ref for ref in self._changes if ref in self.graph}
        while frontier:
            reached |= frontier
            found = before.downstream(frontier) | self.graph.downstream(frontier)
            for ref in filter(is_loaded, list(found)):
                found |= importers(ref)
            frontier = found - reached
        return reached

    def _contents_of_files(self) -> dict[str, Hashable]:
        """What each file of shared code that is news holds if this comes about."""
        content = self.news.world.content
        held = {path: content(path) for each in self.news.shared.values() for path in each.files}
        return held | {path: each for change in self.shared for path, each in change.files.items()}

    def _changes_by_plugin(self) -> dict[PluginRef, list[SharedNews]]:
        """The changes of shared code that are for each plugin."""
        found: defaultdict[PluginRef, list[SharedNews]] = defaultdict(list)
        for change in self.shared:
            for ref in change.plugins:
                found[ref].append(change)
        return dict(found)

    # Who can be set up

    def _judge(self) -> dict[PluginRef, Verdict]:
        """Why each affected plugin can or cannot be set up, dependencies first."""
        pool = self.affected - self.leaving
        inside = {
            ref: [other for other in self.graph.dependencies(ref) if other in pool] for ref in pool
        }
        unlocks: defaultdict[PluginRef, list[PluginRef]] = defaultdict(list)
        waiting = {}
        for ref, others in inside.items():
            waiting[ref] = len(others)
            for other in others:
                unlocks[other].append(ref)
        verdicts: dict[PluginRef, Verdict] = {}
        startable = [ref for ref, count in waiting.items() if not count]
        while len(verdicts) < len(pool):
            if startable:
                released = [startable.pop()]
                verdicts[released[0]] = self._judge_one(released[0], verdicts)
            else:
                released = self._condemn_cycle(pool - verdicts.keys(), verdicts)
            for done in released:
                for ref in unlocks[done]:
                    waiting[ref] -= 1
                    if not waiting[ref] and ref not in verdicts:
                        startable.append(ref)
        return verdicts

    def _condemn_cycle(
        self, left: set[PluginRef], verdicts: dict[PluginRef, Verdict]
    ) -> list[PluginRef]:
        """Nothing can start any more: some of `left` close a cycle. Fail its members."""
        cycle = self.graph.find_cycle(left)
        if cycle is None:  # pragma: no cover - a finite graph without a source has a cycle
            cycle = tuple(sorted(left))
        for ref in cycle:
            verdicts[ref] = Verdict(error=DependencyCycle(cycle), blocking=tuple(cycle))
        return list(cycle)

    def _judge_one(self, ref: PluginRef, verdicts: Mapping[PluginRef, Verdict]) -> Verdict:
        world = self.news.world
        offer = self.offers.get(ref)
        error: BaseException | None = offer.error if offer is not None else None
        if offer is None and not world.is_live(ref):
            error = world.problem(ref)
        if error is not None:
            return Verdict(error=error)
        if ref in self.left_out and self.news.has_to_stop(ref):
            return Verdict(error=self.left_out[ref])

        def is_up(other: PluginRef) -> bool:
            return verdicts[other].viable if other in verdicts else world.is_live(other)

        blockers, problem = self.graph.blockers(ref, is_up), self.graph.problem(ref)
        if problem is not None:
            return Verdict(error=problem, blockers=blockers)
        if blockers:
            blocking = filterfalse(is_up, self.graph.dependencies(ref))
            return Verdict(blockers=blockers, blocking=tuple(blocking))
        broken = self._broken_import(ref)
        if broken is not None:
            return Verdict(error=broken)
        known = self._known_failure(ref)
        return Verdict(error=known, is_known=known is not None)

    def _broken_import(self, ref: PluginRef) -> BaseException | None:
        """Why `ref`, which runs, cannot be loaded with the shared code that it imports.

        What does not run meets that as after a restart: it may do without.
        """
        for change in self._changes.get(ref, ()) if self.news.world.is_live(ref) else ():
            error = None if self._is_free(ref, change) else change.error_for(ref)
            if error is not None:
                return error
        return None

    def _is_free(self, ref: PluginRef, change: SharedNews) -> bool:
        return ref in change.free and ref in self.offers and ref not in self.renamed

    def _known_failure(self, ref: PluginRef) -> BaseException | None:
        known = self.news.failures.get(ref)
        if not known:
            return None
        key = self.key(ref)
        return next(
            (each.error for each in known if each.key == key and self._recurs(ref, each)), None
        )

    def _recurs(self, ref: PluginRef, failure: Failure) -> bool:
        """Whether the code that is not its own is what it was when `ref` failed."""
        return all(
            self._content(code)
            == (
                failure.files[code]
                if code in failure.files
                else running_code(self.news.world, code)
            )
            for code in {*failure.files, *self.files(ref)}
        )

    def _content(self, code: Unit) -> Hashable:
        if isinstance(code, str) and code in self._contents:
            return self._contents[code]
        if not isinstance(code, str) and code in self.offers:
            return None if self._has_failed(code) else self.offers[code].version
        return running_code(self.news.world, code)

    def _has_failed(self, ref: PluginRef) -> bool:
        """Whether there will be no code of `ref`, which is offered."""
        known = self.news.failures.get(ref, ())
        return self.offers[ref].error is not None or any(
            each.key == self.key(ref) for each in known
        )

    def _version(self, ref: PluginRef) -> Hashable:
        return self.offers[ref].version if ref in self.offers else self.news.world.version(ref)

    def files(self, ref: PluginRef) -> Mapping[Unit, Hashable]:
        """What the code holds that is news for `ref` or for what it depends on, and not theirs.

        By the path of each file of shared code, and by the ref of each other plugin.
        """
        needed = {ref}
        frontier = [ref]
        while frontier:
            more = {*self.graph.dependencies(frontier.pop())} - needed
            needed |= more
            frontier += more
        changes = self.news.shared.values()
        concerning = [each for each in changes if not needed.isdisjoint(each.plugins)]
        found: dict[Unit, Hashable] = {
            path: self._contents[path] for each in concerning for path in each.files
        }
        for other, importers in self._imported_news.items():
            if not needed.isdisjoint(importers):
                found[other] = self._content(other)
        return found

    # Who yields

    @cached_property
    def lost(self) -> set[PluginRef]:
        """What runs and would run no more, for it or what takes its place cannot be set up."""
        found: set[PluginRef] = set()
        for ref, verdict in self.verdicts.items():
            if not verdict.viable:
                found |= self.news.at_stake(self.offers[ref]) if ref in self.offers else {ref}
        return set(filter(self.news.world.is_live, found))

    def yielding(self) -> dict[Unit, BaseException]:
        """What has to stay as it runs, too, lest something be lost; empty when all is well."""
        hopeless = {
            offer.ref: offer
            for offer in self.offers.values()
            if not self.verdicts[offer.ref].viable and self.news.at_stake(offer)
        }
        if hopeless:
            return self._yielding_itself(hopeless)
        found: dict[Unit, BaseException] = {}
        for ref in sorted(self.verdicts):
            error = self.verdicts[ref].error
            if error is None or ref in self.offers or not self.news.world.is_live(ref):
                continue
            upstream = self._news_upstream(ref)
            oldest = min((_seen(self.news, unit) for unit in upstream), default=0)
            found |= {unit: error for unit in upstream if _seen(self.news, unit) == oldest}
        return found

    def _yielding_itself(
        self, hopeless: Mapping[PluginRef, Candidate]
    ) -> dict[Unit, BaseException]:
        """Of live offers that cannot be set up, the roots of the trouble.

        One that only waits for another live offer may be fine once that one stays as it runs. So
        may a plugin that did not change at all, once the candidate stays that took a name.
        """
        roots = [
            offer
            for offer in hopeless.values()
            if not self._is_in_cycle(offer.ref) and not self._waits_for(offer.ref, hopeless.keys())
        ]
        culprits = [offer for offer in roots if offer.ref not in self.renamed] or roots
        if not culprits:  # They close cycles.
            oldest = min(offer.seen for offer in hopeless.values())
            culprits = [offer for offer in hopeless.values() if offer.seen == oldest]
        return {
            offer.ref: verdict.error or DependencyBlocked(offer.ref, verdict.blocking)
            for offer in culprits
            for verdict in (self.verdicts[offer.ref],)
        }

    def _is_in_cycle(self, ref: PluginRef) -> bool:
        return isinstance(self.verdicts[ref].error, DependencyCycle)

    def _waits_for(self, ref: PluginRef, others: AbstractSet[PluginRef]) -> bool:
        if self.verdicts[ref].error is not None:
            return False
        seen = {ref}
        frontier = [ref]
        while frontier:
            for blocker in self.verdicts[frontier.pop()].blocking:
                if blocker in others:
                    return True
                if blocker in self.verdicts and blocker not in seen:
                    seen.add(blocker)
                    frontier.append(blocker)
        return False

    def _news_upstream(self, ref: PluginRef) -> set[Unit]:
        """The news that `ref` depends on or imports, and that could stay as they run."""
        seen = {ref}
        frontier = [ref]
        found: set[Unit] = set()
        while frontier:
            each = frontier.pop()
            found |= {change.name for change in self._changes.get(each, ())}
            if each in self.offers and self.news.at_stake(self.offers[each]):
                found.add(each)
            imported = {ref for ref, those in self._imported_news.items() if each in those}
            found |= imported & self.offers.keys()
            more = {*self.graph.dependencies(each), *imported} - seen
            seen |= more
            frontier += more
        return found

    @cached_property
    def _imported_news(self) -> dict[PluginRef, set[PluginRef]]:
        """For each candidate the plugins that have imported its code, directly or not."""
        found: dict[PluginRef, set[PluginRef]] = {}
        for ref in self.news.candidates:
            frontier, seen = [ref], {ref}
            while frontier:
                more = self.news.world.importers(frontier.pop()) - seen
                seen |= more
                frontier += more
            if len(seen) > 1:
                found[ref] = seen - {ref}
        return found

    # By what each is built

    def key(self, ref: PluginRef) -> Key:
        """The digest of all that `ref` is built from."""
        return key_of(ref, self.graph, self._version, self._keys)


def key_of(
    ref: PluginRef,
    graph: DependencyGraph,
    version: Callable[[PluginRef], Hashable],
    known: dict[PluginRef, Key],
) -> Key:
    """The digest of the inputs of `ref` and of the keys of what it depends on.

    Args:
        ref: a plugin. What closes a cycle, and so is never built, counts once.
        graph: the dependencies.
        version: tells the inputs of a plugin that its dependencies do not make up.
        known: keys that have been computed; more are added.
    """
    stack = [ref]
    opened: set[PluginRef] = set()
    while ref not in known:
        each = stack[-1]
        opened.add(each)
        needed = graph.dependencies(each)
        todo = [other for other in needed if other not in known and other not in opened]
        if todo:
            stack += todo
            continue
        needs = [(str(other), known.get(other)) for other in needed]
        inputs = repr((str(each), version(each), needs))
        known[each] = blake2b(inputs.encode(), digest_size=16).digest()
        stack.pop()
    return known[ref]


def running_key(world: World, ref: PluginRef) -> Key:
    """The key by which a plugin runs, or was last tried."""
    return key_of(ref, world.graph, world.version, {})


def running_code(world: World, code: Unit) -> Hashable:
    """What runs of a file of shared code, or of a plugin; None for nothing."""
    if isinstance(code, str):
        return world.content(code)
    return world.version(code) if world.is_live(code) else None


def is_known_failure(world: World, failures: Failures, ref: PluginRef) -> bool:
    """Whether `ref`, which does not run, is known to fail beside all that runs."""
    known = failures.get(ref)
    if not known:
        return False
    key = running_key(world, ref)
    return any(
        each.key == key
        and all(running_code(world, code) == held for code, held in each.files.items())
        for each in known
    )


def news_of(
    world: World,
    candidates: Iterable[Candidate],
    removed: Iterable[PluginRef],
    shared: Iterable[SharedNews],
    failures: Failures,
) -> News:
    """All news, in an order that does not depend on how they were found."""
    return News(
        world,
        {each.ref: each for each in sorted(candidates, key=lambda each: each.ref)},
        frozenset(removed),
        {each.name: each for each in shared},
        failures,
    )
