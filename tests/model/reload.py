"""Reloads until nothing is left to do, with the project's own decisions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace

from dagstack_dev.core.desired import PENDING, Claim, Wanted, want
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.plan import Failure, Key, Load, ReloadPlan, SharedNews, World
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.target import is_known_failure
from model.builds import Build, Inputs, Oracle, reach
from model.disk import Content, Snapshot, Thing
from model.laws import in_force
from model.machine import Applied, Machine

NONE: frozenset[PluginRef] = frozenset()
NO_FILES: Mapping[str | PluginRef, Hashable] = {}


class Model:
    """A disk, what runs, and what is known to fail: as `app.reload.state` has them.

    Attributes:
        unstable: the folders where something differs from what runs or was tried.
        known: the builds that are known to fail, as the laws see them.
        fallen: what has crashed or fallen ill, and is not to be tried again.
        ran: what ran at the last rest.
        fell: what has failed by itself since then.
    """

    def __init__(self, oracle: Oracle, fails_once: Callable[[], bool] = lambda: False) -> None:
        self.oracle = oracle
        self.machine = Machine(oracle, fails_once)
        self.disk = Snapshot()
        self.failures: dict[PluginRef, list[Failure]] = {}
        self.asked = Counter[PluginRef]()
        self.unstable: set[str] = set()
        self.known: set[tuple[PluginRef, int]] = set()
        self.fallen: set[PluginRef] = set()
        self.ran: dict[PluginRef, Build] = {}
        self.fell: set[PluginRef] = set()

    # What is on disk, see `core.desired.Disk`

    def claim(self, place: str) -> Claim | None:
        text = self.disk.folders.get(place)
        if text is None:
            return None
        error = None
        ref = text.ref
        if ref is None:
            error = PluginLoadError(PluginRef("", place), "read", "it has no manifest")
        elif text.broken:
            error = PluginLoadError(ref, "compile", "it is broken")
        seen = self.disk.since["folder", place]
        return Claim(place, ref, text.wants, error=error, seen=seen)

    def claimants(self, ref: PluginRef) -> Collection[str]:
        return self.disk.claims().get(ref, ())

    def fallbacks(self, kind: str) -> Collection[str]:
        return ()

    # What runs, see `core.desired.Running`

    def is_live(self, ref: PluginRef) -> bool:
        return ref in self.machine.running

    def is_lost(self, ref: PluginRef) -> bool:
        ill = {each.key for each in self.failures.get(ref, ()) if each.is_of_running}
        return self.is_live(ref) and bool(ill) and self.world().key(ref) in ill

    def place(self, ref: PluginRef) -> str | None:
        entry = self.machine.entries.get(ref)
        return None if entry is None else entry.inputs.folder

    def owners(self, place: str) -> list[PluginRef]:
        owners = (ref for ref in self.machine.entries if self.place(ref) == place)
        return sorted(owners, key=self.is_live, reverse=True)

    def fallbacks_of(self, kind: str) -> Iterable[PluginRef]:
        return ()

    def difference(self, ref: PluginRef, claim: Claim) -> Load | None:
        runs, newest = self.machine.entries[ref].inputs, self.inputs(ref, claim.place)
        if (runs.text, runs.nonce) != (newest.text, newest.nonce):
            return Load.IMPORT
        is_pinned = self.machine.graph.wants(ref) != runs.text.wants
        return Load.RENEW if is_pinned or runs.section != newest.section else None

    def version(self, ref: PluginRef, claim: Claim) -> Hashable:
        return self.inputs(ref, claim.place).version

    def problem(self, claim: Claim) -> PluginRegistryError | None:
        text, ref = self.disk.folders[claim.place], claim.ref
        if ref is None or self.oracle.fits(text, self.disk.section(ref)):
            return None
        return PluginLoadError(ref, "configure", "its section does not fit")

    def _problem_of(self, ref: PluginRef) -> BaseException | None:
        claim = self.claim(self.place(ref) or "")
        if claim is None:
            return None
        if claim.ref not in {ref, None}:
            return PluginLoadError(ref, "prepare", "its folder is that of another plugin")
        return claim.error or self.problem(claim)

    def inputs(self, ref: PluginRef, place: str) -> Inputs:
        """What `ref` is built from, if it is built from `place`."""
        text, section = self.disk.folders[place], self.disk.section(ref)
        return Inputs(place, text, section, None, self.asked[ref])

    def world(self) -> World:
        """What runs."""
        machine = self.machine
        entries, running = dict(machine.entries), dict(machine.running)
        code = {**self.disk.modules, **in_force(running)}
        importers = machine.importers()

        def version(ref: PluginRef) -> Hashable:
            if ref not in entries:
                return None  # It is about to come.
            inputs = entries[ref].inputs
            if ref not in running:
                inputs = replace(inputs, section=self.disk.section(ref), nonce=self.asked[ref])
            return inputs.version

        return World(
            machine.graph,
            {ref: entry.state for ref, entry in entries.items()},
            dict(machine.setup_order),
            importers=lambda ref: importers.get(ref, NONE),
            version=version,
            problem=self._problem_of,
            content=lambda name: repr(code.get(name)),
        )

    # What happens

    def edit(self, things: Mapping[Thing, Content], batch: int) -> None:
        """Take in what the disk now holds."""
        before, self.disk = self.disk, self.disk.edited(things, batch)
        news = self.disk.news(before)
        self.unstable |= {name for sort, name in news if sort == "folder"}
        sections = {name for sort, name in news if sort == "section"}
        self._look_at(ref for ref in self.machine.entries if str(ref) in sections)
        if news:
            self._try_again({*self.failures})

    def request(self, ref: PluginRef) -> None:
        """Have a plugin built anew."""
        self.asked[ref] += 1
        self._look_at([ref])
        self._try_again({*self.failures})

    def crash(self, ref: PluginRef) -> None:
        """Have a plugin end by itself."""
        self.sicken(ref)
        self.machine.crash(ref)

    def sicken(self, ref: PluginRef) -> None:
        """Have a plugin fail its health check."""
        key = self.world().key(ref)
        self._record(ref, self.machine.running[ref], key, is_of_running=True)
        self._look_at([ref])
        self._fall(ref)

    def retry(self) -> None:
        """Let the pauses be over after which transient failures are tried again."""
        due = {ref for ref, key in self.known if self.oracle.is_transient(key)}
        self._try_again({ref for ref in due if not self.is_live(ref)})

    def _fall(self, ref: PluginRef) -> None:
        self.fallen.add(ref)
        self.fell.add(ref)

    def _look_at(self, refs: Iterable[PluginRef]) -> None:
        self.unstable |= {place for ref in refs if (place := self.place(ref)) is not None}

    def _try_again(self, refs: Collection[PluginRef]) -> None:
        """Let what has failed be tried again."""
        self._look_at(refs)
        self.failures = {ref: each for ref, each in self.failures.items() if ref not in refs}
        self.known = {(ref, key) for ref, key in self.known if ref not in refs}
        self.fallen -= {*refs}

    # The loop

    def plan(
        self, places: Iterable[str], dice: random.Random | None = None
    ) -> tuple[ReloadPlan, Wanted]:
        """Decide what to do about these places; with `dice`, from facts in any order."""
        wanted = want(self, self, dict.fromkeys(places, PENDING))
        world = self.world()
        candidates, shared = [*wanted.candidates.values()], [*self._shared_news(wanted)]
        failures = self.failures
        if dice is not None:
            names = dice.sample(sorted(world.graph.refs), len(world.graph))
            graph = DependencyGraph({ref: world.graph.wants(ref) for ref in names})
            world = replace(world, graph=graph)
            dice.shuffle(candidates)
            dice.shuffle(shared)
            failures = {ref: known[::-1] for ref, known in reversed(failures.items())}
        plan = plan_reload(world, candidates, wanted.removed, shared=shared, failures=failures)
        return plan, wanted

    def todo(self, plan: ReloadPlan) -> bool:
        """Whether `plan` comes to more than what is known already."""
        return not all(map(self.machine.is_known, plan.transactions))

    @property
    def everywhere(self) -> set[str]:
        """All places where anything lies or lay."""
        return {*self.disk.folders, *(each.inputs.folder for each in self.machine.entries.values())}

    def _shared_news(self, wanted: Wanted) -> Iterator[SharedNews]:
        running, disk = self.machine.running, self.disk
        for name, content in sorted(in_force(running).items()):
            module = disk.modules.get(name)
            if module == content:
                continue
            importing = {
                ref
                for ref, each in {**self.machine.tried, **running}.items()
                if ref in self.machine.entries and name in each.modules
            }
            naming = {
                ref
                for ref, candidate in wanted.candidates.items()
                if name in reach(disk.folders[candidate.place].imports, disk.modules)[0]
            }
            yield SharedNews(
                name,
                frozenset(importing | naming),
                frozenset(naming - importing),
                files={name: repr(module)},
                seen=disk.since["module", name],
                free=frozenset((importing & wanted.candidates.keys()) - naming),
                error_for=_compile_error if module is not None and module.broken else _no_error,
            )

    def reload(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Go on until nothing differs but what is known to fail.

        Args:
            meanwhile: called after each transaction; what it edits counts at once.
        """
        for turn in range(200):
            places, self.unstable = self.unstable, set()
            plan, wanted = self.plan(places)
            if turn and not self.todo(plan):
                self.unstable = places
                return
            newest = self._newest(wanted, plan)
            places |= {home for ref in wanted.candidates if (home := self.place(ref)) is not None}
            asked = {*wanted.candidates, *plan.rejected, *self.failures}
            self.machine.begin(plan)
            todo = self.machine.tied(plan, newest, self.disk.modules)
            todo.sort(key=lambda each: bool(each.shared))
            while todo and not self.unstable:  # Else the rest is planned anew.
                transaction = todo.pop()
                applied = self.machine.carry_out(plan, transaction, newest, self.disk.modules)
                self._take_down(plan, applied)
                asked |= applied.failed.keys() | applied.lost.keys() | applied.rewired
                asked |= transaction.refs if applied.is_rolled_back else set()
                meanwhile()
            left = {ref for transaction in todo for ref in transaction.refs}
            asked |= self.machine.leave(left)
            places |= {place for ref in asked if (place := self.place(ref)) is not None}
            self.unstable |= {place for place in places if not self.is_stable(place)}
        raise AssertionError("it does not come to rest")

    def _newest(self, wanted: Wanted, plan: ReloadPlan) -> dict[PluginRef, Inputs]:
        """What plugins are loaded from that do not run, or not from that."""
        at_rest = {
            ref: replace(entry.inputs, section=self.disk.section(ref), nonce=self.asked[ref])
            for ref, entry in self.machine.entries.items()
            if not self.is_live(ref)
        }
        taken = {ref: each.place for ref, each in wanted.candidates.items() if ref in plan.taken}
        return at_rest | {ref: self.inputs(ref, place) for ref, place in taken.items()}

    def _take_down(self, plan: ReloadPlan, applied: Applied) -> None:
        for ref, build in applied.failed.items():
            failed = [(each.key, each.files) for each in self.failures.get(ref, ())]
            key = plan.key(ref)
            imported: set[str | PluginRef] = {*build.modules, *build.inputs.text.borrows}
            files = plan.files(ref, imported)
            assert (key, files) not in failed, f"{ref} is built again from what failed"
            self._record(ref, build, key, files)
        self.fell |= applied.lost.keys()

    def _record(
        self,
        ref: PluginRef,
        build: Build,
        key: Key,
        files: Mapping[str | PluginRef, Hashable] = NO_FILES,
        *,
        is_of_running: bool = False,
    ) -> None:
        error = PluginLoadError(ref, "setup", "it fails")
        failure = Failure(key, error, files, is_of_running)
        self.failures.setdefault(ref, []).append(failure)
        self.known.add((ref, build.key))

    def is_stable(self, place: str) -> bool:
        """Whether nothing at `place` differs from what runs, or from what was tried last."""
        claim, owners = self.claim(place), self.owners(place)
        if claim is None or [claim.ref] != owners:
            return claim is None and not owners
        (owner,) = owners
        if self.is_live(owner):
            is_same = claim.error is None and self.difference(owner, claim) is None
            return is_same and not self.is_lost(owner)
        if any(map(self.is_live, self.machine.graph.dependents(owner))):
            return False  # They cannot go on without it.
        if self.machine.entries[owner].inputs.text != self.disk.folders[place]:
            return False
        return len(self.claimants(owner)) == 1 and self._is_hopeless(owner)

    def _is_hopeless(self, ref: PluginRef) -> bool:
        """Whether what is at rest cannot be built, for all that is known."""
        graph = self.machine.graph
        if self._problem_of(ref):
            return True
        if graph.wants(ref) != self.machine.entries[ref].inputs.text.wants:
            return False  # They are what its names meant while it ran.
        if graph.problem(ref):
            return True
        if not all(map(self.is_live, graph.dependencies(ref))):
            return True
        return is_known_failure(self.world(), self.failures, ref)


def _compile_error(ref: PluginRef) -> PluginRegistryError:
    return PluginLoadError(ref, "compile", "what it imports is broken")


def _no_error(_: PluginRef) -> None:
    return None
