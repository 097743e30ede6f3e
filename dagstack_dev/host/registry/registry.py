"""The registry: which plugins there are, how they are found, and their life as a whole.

The specification's `PluginRegistry` without the disk; `app.registry` adds `discover` and the
runtimes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.registry import AmbiguousPlugin, KindUnknown
from dagstack_dev.core.hookspecs.kinds import Kinds, KindSpec
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.parsing import manifest_from
from dagstack_dev.host.plugins.config_schema import manifest_schema
from dagstack_dev.host.plugins.entry import Entry, Revision
from dagstack_dev.host.plugins.preparation import check_gates, prepare
from dagstack_dev.host.plugins.table import PluginTable
from dagstack_dev.host.registry.registration import (
    as_spec,
    forget,
    graph_of_present,
    load_all,
    load_order,
    refuse_process,
    refuse_second_fallback,
    refuse_taken,
    refuse_undeclared,
)
from dagstack_dev.host.registry.selection import RoutingPolicy, select
from dagstack_dev.host.registry.setup_all import SetupAll
from dagstack_dev.host.reload.runner import LifecycleRunner
from dagstack_dev.host.services.resources import ResourceRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.ports import Observer, Runtime
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.services.context import PluginContext

CORE_VERSION: Final = "0.4.1"
"""The version that `core_version` in a manifest is held against by default.

That of the plugin contract, as the package `dagstack-plugin-system` counts it: manifests speak of
it, and know nothing of this package."""


class Registry:
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
        self.table = PluginTable(self.runtimes, owner=self)
        self.runner = LifecycleRunner(self.table, self.resources)
        self.routing_policy: RoutingPolicy | None = None
        self._life = SetupAll(self.runner)

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

        Args:
            kinds: all that there are from now on.

        Raises:
            HookspecMissing, KindVersionIncompatible: a loaded plugin does not comply; the first,
                others attached. Nothing has changed.
        """
        refuse_undeclared(self.table, kinds)
        self.table.kinds = kinds

    # Registration

    def prepare(self, source: PluginSource, previous: Revision | None = None) -> Revision:
        """Return what can be loaded from `source`, as far as it can be known without running it.

        Args:
            source: the files of a plugin.
            previous: the revision that runs now, if any; what has not changed since is reused.

        Raises:
            PluginRegistryError: nothing can; as `host.plugins.preparation.prepare` says.
        """
        return prepare(
            source,
            core_version=self.core_version,
            runtimes=self.runtimes,
            kinds=self.kinds,
            previous=previous,
        )

    def register_manifest(
        self, manifest: PluginManifest | dict[str, Any], plugin: object = None
    ) -> PluginManifest:
        """Register a plugin object that the host made, under a manifest.

        Args:
            manifest: its fields.
            plugin: the object.

        Raises:
            ManifestInvalid: the manifest does not match the schema.
            VersionIncompatible, RuntimeNotSupported, KindUnknown: it does not fit this core.
            AmbiguousPlugin: kind and name are registered already, or the kind has a fallback.
        """
        valid = manifest_from(manifest)
        check_gates(valid, self.core_version, self.runtimes, None, self.kinds)
        refuse_process(valid)
        revision = Revision(valid, section_schema=manifest_schema(valid, None))
        refuse_taken(self.table, [revision])
        refuse_second_fallback(self.table, [revision])
        entry = self.table.add(revision, "registered")
        self.table.loaded(entry, plugin, "registered", is_open=True)
        self.table.graph, _ = self.table.graph.updated({valid.ref: valid.depends_on})
        return valid

    def register_revisions(self, revisions: Sequence[Revision]) -> None:
        """Register plugins that were read from disk: import and instantiate all, or none.

        A plugin is registered after the ones it depends on (contract, section 3), whose code it may
        import.

        Args:
            revisions: the plugins, prepared.

        Raises:
            AmbiguousPlugin: a kind and name is declared twice, or registered already; or a kind
                has a second fallback.
            PluginLoadError: an import or a constructor raised; the first, others attached.
        """
        refuse_taken(self.table, revisions)
        refuse_second_fallback(self.table, revisions)
        added: list[Entry] = []
        before = self.table.graph
        try:
            with self.table.watchdog.watching():
                new = {revision.ref: revision for revision in revisions}
                self.table.graph = graph_of_present(self.table, revisions)
                order = load_order(list(new), self.table.graph)
                added.extend(self.table.add(new[ref], "discovered") for ref in order)
                load_all(self.runner, order, "discovered")
        except BaseException:
            for entry in added:
                forget(self.table, entry)
            self.table.graph = before
            raise

    # Life

    async def setup_all(self, ctx: PluginContext) -> None:
        """Set up every plugin, each as soon as what it depends on is ready (ADR-2).

        Called again without `teardown_all` in between it leaves alone what has been set up
        (specification, "Инварианты"), and sets up what was registered since; where nothing was,
        it does nothing. Within a `DevServer` that brought the plugins up it does nothing either:
        the server decides. What a `DevServer` has left without code, for it could not be loaded
        or waited for something, is loaded first.

        Args:
            ctx: what each plugin's context is derived from.

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
        await self._life.set_up(ctx)

    async def teardown_all(self) -> None:
        """Tear everything down, strictly in reverse of the order in which setups ended.

        Where the event loop of the setups has been closed, what is left is torn down in this one.

        Raises:
            RuntimeError: plugins go on in another event loop; nothing is torn down.
            TeardownErrors: with everything that was raised on the way, which never stops it.
        """
        await self._life.tear_down()

    @property
    def is_set_up(self) -> bool:
        """Whether `setup_all` has been called without `teardown_all` after it."""
        return self._life.is_set_up

    def take_over(self, ctx: PluginContext) -> None:
        """Count as set up from now on: a dev server brings plugins up one by one."""
        self._life.take_over(ctx)

    def look_at_loop(self) -> None:
        """Notice what cannot be handed out any more, for its event loop has been closed."""
        self.runner.look_at_loop()

    # Looking plugins up

    def set_routing_policy(self, policy: RoutingPolicy | Mapping[str, str] | None) -> None:
        """Say which plugin of a kind is the active one, before environment and priority do.

        Args:
            policy: called with a kind and its plugins' manifests, it names one or answers None;
                or a table from kind to name; or None, for no policy.
        """
        if policy is None or callable(policy):
            self.routing_policy = policy
        else:
            table = dict(policy)
            self.routing_policy = lambda kind, _: table.get(kind)

    def get_plugin(self, kind: str, name: str | None = None) -> Any:
        """Return the proxy of a plugin; the same object for the same kind and name, always.

        Args:
            kind: the kind.
            name: without one, the active plugin is meant (ADR-2): as the routing policy says, then
                as the environment variable `DAGSTACK_ACTIVE_<KIND>` does, then the one of the
                highest priority.

        Raises:
            KindUnknown: no such kind, or no such name in it.
            AmbiguousPlugin: without a name, several share the highest priority.
        """
        self.look_at_loop()
        table = self.table
        if name is not None:
            entry = table.entries.get((kind, name))  # type: ignore[call-overload]
            if entry is None or table.states[entry.ref] is State.REMOVED:
                raise KindUnknown(kind, name, known=self._refs())
            return table.proxy(entry)
        candidates = [entry for entry in table.present() if entry.ref.kind == kind]
        if not candidates:
            raise KindUnknown(kind, known=self._refs())
        return table.proxy(select(kind, candidates, self.routing_policy))

    def resolve(self, name: str) -> Any:
        """Return the proxy of the only plugin of that name, of whatever kind.

        Args:
            name: the name.

        Raises:
            KindUnknown: there is none.
            AmbiguousPlugin: the name exists in several kinds.
        """
        self.look_at_loop()
        found = [entry for entry in self.table.present() if entry.ref.name == name]
        if not found:
            raise KindUnknown("any", name, known=[r._replace(kind="any") for r in self._refs()])
        if len(found) > 1:
            refs = sorted(entry.ref for entry in found)
            listed = ", ".join(map(str, refs))
            msg = f"{name!r} exists in several kinds: {listed}; use get_plugin(kind, name)"
            raise AmbiguousPlugin(msg, candidates=refs)
        return self.table.proxy(found[0])

    def list_manifests(self) -> list[PluginManifest]:
        """Return the manifest of every plugin, in the order of registration."""
        return [entry.manifest for entry in self.table.present()]

    def iter_instances(self, kind: str | None = None) -> Iterator[Any]:
        """Yield the proxies of plugins, in the order of registration.

        Args:
            kind: of these; all if it is None.
        """
        self.look_at_loop()
        for entry in self.table.present():
            if kind in {None, entry.ref.kind}:
                yield self.table.proxy(entry)

    def unavailable_plugins(self) -> dict[PluginRef, PluginStatus]:
        """Return the plugins that failed or wait for one that did, and what is known of each."""
        return {
            ref: status
            for ref, status in self.statuses().items()
            if status.state in {State.FAILED, State.BLOCKED}
        }

    def statuses(self) -> dict[PluginRef, PluginStatus]:
        """Return how every plugin is doing, by ref, in the order of registration."""
        self.look_at_loop()
        return {entry.ref: self.table.status(entry) for entry in self.table.present()}

    def _refs(self) -> list[PluginRef]:
        return [entry.ref for entry in self.table.present()]

    def observe(self, observer: Observer) -> Callable[[], object]:
        """Have `observer` called with every fact from now on.

        Args:
            observer: called with the fact. What it raises stops nothing, and is printed once.

        Returns:
            What ends that when it is called.
        """
        return self.table.observe(observer)
