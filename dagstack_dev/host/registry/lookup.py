"""How plugins are found: by kind and name, by name alone, or as the active one of their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagstack_dev.core.errors.registry import AmbiguousPlugin, KindUnknown
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.plugins.selection import RoutingPolicy, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable


class Lookup:
    """Hands out the plugins of a table, and tells of them; the base of a registry.

    Args:
        table: the plugins.
        look_at_loop: notices what cannot be handed out any more, for its event loop has been
            closed.
    """

    def __init__(self, table: PluginTable, look_at_loop: Callable[[], None]) -> None:
        self.table = table
        self.look_at_loop = look_at_loop
        self.routing_policy: RoutingPolicy | None = None

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

        Without a name, the active one (ADR-2): as the routing policy says, then as the environment
        variable `DAGSTACK_ACTIVE_<KIND>` does, then the one of the highest priority.

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
        """Return the proxy of the only plugin named `name`, whatever its kind.

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
        """Yield the proxy of every plugin, or of those of one kind, as they were registered."""
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
