"""The registry: which plugins there are, and their life as a whole.

The specification's `PluginRegistry` without the disk; `app.registry` adds `discover` and the
runtimes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import PluginRegistryError, add_note, in_words
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.life import EventLoopClosed, TeardownErrors
from dagstack_dev.core.hookspecs.kinds import Kinds, KindSpec
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.parsing import manifest_from
from dagstack_dev.core.plan import Load
from dagstack_dev.core.recorded import copy_of
from dagstack_dev.host.loop.gc_pause import rare_collections
from dagstack_dev.host.loop.tasks import run_to_the_end
from dagstack_dev.host.plugins.config_schema import manifest_schema
from dagstack_dev.host.plugins.entry import Entry, Offer
from dagstack_dev.host.plugins.preparation import check_gates
from dagstack_dev.host.plugins.sections import section_problem
from dagstack_dev.host.plugins.table import PluginTable
from dagstack_dev.host.registry.lookup import Lookup
from dagstack_dev.host.registry.registration import (
    as_spec,
    forget,
    full_order,
    graph_of_present,
    load_order,
    refuse_process,
    refuse_second_fallback,
    refuse_taken,
    refuse_undeclared,
)
from dagstack_dev.host.reload.runner import LifecycleRunner
from dagstack_dev.host.reload.schedule import Setups
from dagstack_dev.host.reload.waiting import watching
from dagstack_dev.host.services.resources import ResourceRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from dagstack_dev.core.ports import Observer, Runtime
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.services.context import PluginContext

CORE_VERSION: Final = "0.4.1"
"""The version that `core_version` in a manifest is held against, unless told otherwise.

That of the plugin contract, as the package `dagstack-plugin-system` counts it: manifests speak of
it, and know nothing of this package."""


class Registry(Lookup):
    """Registered plugins by kind and name.

    Not thread-safe; one event loop at a time.

    Args:
        core_version: the version that manifests are held against.
        resource_registry: what plugins may ask for; a new, empty one by default.
        runtimes: what can be served, by the name that manifests use.
    """

    def __init__(
        self,
        *,
        core_version: str = CORE_VERSION,
        resource_registry: ResourceRegistry | None = None,
        runtimes: Mapping[str, Runtime],
    ) -> None:
        self.core_version = core_version
        self.resources = ResourceRegistry() if resource_registry is None else resource_registry
        self.runtimes = dict(runtimes)
        table = PluginTable(self.runtimes, owner=self)
        self.runner = LifecycleRunner(table, self.resources)
        super().__init__(table, self.runner.look_at_loop)
        self._is_set_up = False
        self._is_taken_over = False
        self._turn = self.runner.turn

    # Kinds

    @property
    def kinds(self) -> Kinds:
        """The kinds that the app has declared."""
        return self.table.kinds

    def add_hookspecs(self, *specs: KindSpec | type, replace: bool = False) -> None:
        """Declare kinds: how their hooks are called, and that there are no others.

        From then on a plugin of another kind, or of another major version of its kind, is
        refused; a dispatcher calls a hook as it is declared, and a proxy refuses those hooks that
        are for a dispatcher to call (contract, sections 4, 6 and 8). Before the first call, all
        kinds are welcome. Plugins that are loaded already have to comply, so declare kinds that
        belong together in one call.

        Args:
            specs: classes made by the decorator `hookspecs`, or `KindSpec` values.
            replace: let them take the place of what is declared of the same kinds.

        Raises:
            ValueError: a kind is declared already, in another way; or no plugin can have one of
                its hooks.
            HookspecMissing, KindVersionIncompatible: a loaded plugin does not comply; the first,
                others attached. Nothing has changed.
        """
        added = [as_spec(spec) for spec in specs]
        if not replace:
            for spec in added:
                if self.kinds.specs.get(spec.kind, spec) != spec:
                    raise ValueError(
                        f"kind {spec.kind!r} is declared already, as version "
                        f"{self.kinds.specs[spec.kind].kind_api_version}; pass replace=True"
                    )
        self.declare(self.kinds.with_specs(added))

    def declare(self, kinds: Kinds) -> None:
        """Let `kinds` take the place of everything that is declared.

        Raises:
            HookspecMissing, KindVersionIncompatible: a loaded plugin does not comply; the first,
                others attached. Nothing has changed.
        """
        refuse_undeclared(self.table, kinds)
        self.table.kinds = kinds

    # Registration

    def register_manifest(
        self, manifest: PluginManifest | dict[str, Any], plugin: object = None
    ) -> PluginManifest:
        """Register a plugin object that the host made, under a manifest.

        Raises:
            ManifestInvalid: the manifest does not match the schema.
            VersionIncompatible, RuntimeNotSupported, KindUnknown: it does not fit this core.
            AmbiguousPlugin: kind and name are registered already, or the kind has a fallback.
        """
        valid = manifest_from(manifest)
        check_gates(valid, self.core_version, self.runtimes, None, self.kinds)
        refuse_process(valid)
        offer = Offer(valid, section_schema=manifest_schema(valid, None))
        refuse_taken(self.table, [offer])
        refuse_second_fallback(self.table, [offer])
        entry = self.table.add(offer, "registered")
        self.table.loaded(entry, plugin, "registered", is_open=True)
        self.table.graph, _ = self.table.graph.updated({valid.ref: valid.depends_on})
        return valid

    def register_offers(self, offers: Sequence[Offer]) -> None:
        """Register plugins that were read from disk: import and instantiate all, or none.

        A plugin is registered after the ones it depends on (contract, section 3), whose code it may
        import.

        Raises:
            AmbiguousPlugin: a kind and name is declared twice, or registered already; or a kind
                has a second fallback.
            PluginLoadError: an import or a constructor raised; the first, others attached.
        """
        refuse_taken(self.table, offers)
        refuse_second_fallback(self.table, offers)
        added: list[Entry] = []
        before = self.table.graph
        try:
            with self.table.watchdog.watching():
                new = {offer.ref: offer for offer in offers}
                self.table.graph = graph_of_present(self.table, offers)
                order = load_order(list(new), self.table.graph)
                added.extend(self.table.add(new[ref], "discovered") for ref in order)
                self._load_all(order, "discovered")
        except BaseException:
            for entry in added:
                forget(self.table, entry)
            self.table.graph = before
            raise

    def _load_all(self, refs: Iterable[PluginRef], reason: str) -> None:
        """Load all of `refs`, in topological order; raise the first error, others attached."""
        errors: list[PluginRegistryError] = []

        def load(ref: PluginRef) -> None:
            entry = self.table.entries[ref]
            try:
                if entry.offer.prepared is None:
                    raise _why_not_loaded(entry)
                self.runner.load(entry, Load.IMPORT, reason, is_open=True)
            except PluginRegistryError as error:
                errors.append(error)

        self.runner.queue.run(refs, load)
        if errors:
            raise errors[0].with_others(errors[1:])

    # Life

    async def setup_all(self, ctx: PluginContext) -> None:
        """Set up every plugin, each as soon as what it depends on is ready (ADR-2).

        Called again without `teardown_all` in between it leaves alone what has been set up
        (specification, "Инварианты"), and sets up what was registered since; where nothing was,
        it does nothing. Within a `DevServer` that brought the plugins up it does nothing either:
        the server decides. What a `DevServer` has left without code, for it could not be loaded
        or waited for something, is loaded first.

        Raises:
            DependencyCycle: the dependencies close a cycle; nothing is set up.
            DependencyMissing: a plugin depends on one that is not there; nothing is set up.
            AmbiguousPlugin: a bare name in `depends_on` exists in several kinds.
            ConfigSectionInvalid: a plugin's section of the configuration does not fit its manifest;
                nothing is set up. Others are its `others`.
            EventLoopClosed: something of a plugin that was set up has ended with its event loop;
                await `teardown_all` first.
            PluginLoadError: a plugin left without code cannot be loaded; nothing is set up. Where
                not even its manifest could be used, the error that it had is raised instead.
            Exception: what a plugin's setup raised, the object itself (`PluginCancelled` in
                place of a cancellation). What this call had set up is torn down again and the
                registry is as it was before.
        """
        if self._is_taken_over:
            return
        async with self._turn.alone():
            self.look_at_loop()
            for ref in self.runner.ended_with_loop:
                error = self.table.entries[ref].error
                if isinstance(error, EventLoopClosed):
                    raise EventLoopClosed(ref, error.what)
            with rare_collections(adds_only=True):
                if self._is_set_up:
                    await self._set_up_late(ctx)
                else:
                    await self._set_up_everything(ctx)

    async def _set_up_everything(self, ctx: PluginContext) -> None:
        table = self.table
        order = full_order(self.table)
        self._load_again(order)
        for ref in order:
            entry = table.entries[ref]
            if table.states[ref] is not State.LOADED:
                table.loaded(entry, entry.instance, "set up again")
        self.runner.context = ctx
        self.runner.crashes.clear()
        await self._set_up(order, ctx)
        self._is_set_up = True

    async def _set_up_late(self, ctx: PluginContext) -> None:
        """Set up what was registered after the others had been set up."""
        states = self.table.states
        if State.LOADED in states.values():
            order = full_order(self.table)
            await self._set_up([ref for ref in order if states[ref] is State.LOADED], ctx)

    def _load_again(self, order: Iterable[PluginRef]) -> None:
        """Load what a dev server has left without code, and what a teardown has undone."""
        entries = {ref: self.table.entries[ref] for ref in order}
        undone = self.table.undone({ref: each.generation for ref, each in entries.items()})
        old = [each for ref in undone if (each := entries[ref].generation) is not None]
        for generation in old:
            generation.unload()
        left = [ref for ref, each in entries.items() if each.generation is None or ref in undone]
        with self.table.watchdog.watching():
            self._load_all([ref for ref in left if not entries[ref].offer.by_hand], "set up again")
        for generation in old:
            generation.retire()

    def _check_sections(self, order: Iterable[PluginRef], ctx: PluginContext) -> None:
        """Refuse sections that do not fit the manifests, before anything is set up."""
        found = (section_problem(self.table.entries[ref].offer, ctx) for ref in order)
        problems = [problem for problem in found if problem is not None]
        if problems:
            raise problems[0].with_others(problems[1:])

    async def _set_up(self, order: Sequence[PluginRef], ctx: PluginContext) -> None:
        """Set up the plugins of `order`, all or none."""
        failures = await self._bring_up(order, ctx)
        if failures:  # Its traceback will have this frame, which must not lead back to it.
            raise failures.pop()[1]

    async def _bring_up(
        self, order: Sequence[PluginRef], ctx: PluginContext
    ) -> list[tuple[PluginRef, BaseException]]:
        """Do so, and return what it failed with, if it did, for others to raise."""
        table = self.table
        for ref in order:
            table.provide(table.entries[ref], ctx)
        self._check_sections(order, ctx)
        everything = set(order)
        undo = partial(self._undo, everything)
        setups = Setups(self.runner, order, lambda _: "setup_all", give_up=lambda *_: everything)
        try:
            with watching(table, order):
                await setups.run()
        except BaseException as error:
            for ref, failure in await run_to_the_end(undo):
                add_note(error, _note("teardown", ref, failure))
            raise
        failed = [*setups.failed.items()]
        setups.failed.clear()  # A frame of the plugin leads here, too, by those that called it.
        if not failed:
            return []
        notes = [_note("setup", ref, failure) for ref, failure in failed[1:]]
        del failed[1:]
        notes += [_note("teardown", ref, each) for ref, each in await run_to_the_end(undo)]
        for note in notes:
            add_note(failed[0][1], note)
        return failed

    async def teardown_all(self) -> None:
        """Tear everything down, strictly in reverse of the order in which setups ended.

        Where the event loop of the setups has been closed, what is left is torn down in this one.

        Raises:
            RuntimeError: plugins go on in another event loop; nothing is torn down.
            TeardownErrors: with everything that was raised on the way, which never stops it.
        """
        await run_to_the_end(self._tear_down_all)  # Also in a host that is being cancelled.

    async def _tear_down_all(self) -> None:
        async with self._turn.alone():
            await self._tear_down_everything()

    async def _tear_down_everything(self) -> None:
        self.look_at_loop()
        places = self.table.setup_order | self.runner.ended_with_loop
        refs = sorted(places, key=places.__getitem__, reverse=True)
        self._refuse_elsewhere(refs)
        failures = await self._tear_down(refs)
        self.table.watchdog.stop()
        crashes = self.runner.crashes
        failures += crashes.items()
        crashes.clear()
        self._is_set_up = self._is_taken_over = False
        for entry in self.table.present():
            self.table.ended(entry, "it has been torn down; await registry.setup_all(...) first")
        if failures:
            raise TeardownErrors(failures)

    def _refuse_elsewhere(self, refs: Iterable[PluginRef]) -> None:
        for ref in refs:
            running = self.table.entries[ref].running
            if running is not None and running.is_elsewhere:
                raise RuntimeError(
                    f"{ref} was set up in another event loop, which has not been closed, and has "
                    "to be torn down there: asyncio.run_coroutine_threadsafe("
                    "registry.teardown_all(), loop) while that loop runs in its thread, "
                    "loop.run_until_complete(registry.teardown_all()) else"
                )

    @property
    def is_set_up(self) -> bool:
        """Whether `setup_all` has been called without `teardown_all` after it."""
        return self._is_set_up

    def take_over(self, ctx: PluginContext) -> None:
        """Count as set up from now on: a dev server brings plugins up one by one."""
        self.runner.context = ctx
        self._is_set_up = self._is_taken_over = True

    async def _tear_down(self, refs: Sequence[PluginRef]) -> list[tuple[PluginRef, BaseException]]:
        """Tear plugins down in this order, and return what went wrong."""
        steps = [(self.table.entries[ref], "teardown_all") for ref in refs]
        with watching(self.table, refs):
            return await self.runner.take_down(steps, down=self.table.present())

    async def _undo(self, refs: Collection[PluginRef]) -> list[tuple[PluginRef, BaseException]]:
        """Tear down what of `refs` has been set up; all of them are loaded again, and no more."""
        table = self.table
        ready = [ref for ref in reversed(table.ready_refs()) if ref in refs]
        failures = await self._tear_down(ready)
        for entry in table.present():
            if entry.ref not in refs:
                continue
            if table.states[entry.ref] in {State.STOPPED, State.FAILED}:
                table.loaded(entry, entry.instance, "setup_all failed", is_open=True)
            else:
                table.release(entry)
        return failures

    def observe(self, observer: Observer) -> Callable[[], object]:
        """Tell `observer` every fact from now on; call what is returned to end that."""
        return self.table.observe(observer)


def _why_not_loaded(entry: Entry) -> PluginRegistryError:
    """Return the error of a plugin that cannot even be tried."""
    if isinstance(entry.error, PluginRegistryError):
        return copy_of(entry.error)
    return PluginUnavailable(entry.ref, entry.gate.unavailable or "it has never been loaded")


def _note(method: str, ref: PluginRef, error: BaseException) -> str:
    return f"besides, the {method} of {ref} raised {in_words(error)}"
