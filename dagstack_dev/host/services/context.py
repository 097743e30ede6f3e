"""What a plugin is given in `setup` (contract, section 10)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, runtime_checkable

from dagstack_dev.host.life.signatures import check_call, check_plain
from dagstack_dev.host.services.event_bus import PluginEventBus
from dagstack_dev.host.services.loggers import bound_logger
from dagstack_dev.host.services.progress import PluginProgress
from dagstack_dev.host.services.resources import ResourceRegistry, inject_resources
from dagstack_dev.host.services.stores import PluginCheckpoints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from dagstack_dev.core.lifecycle import Operation
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.life.instance import PluginInstance

T = TypeVar("T")

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class TenantAccessDenied(Exception):
    """The current tenant may not do this; raised by a host's `TenantContext`.

    No `PluginRegistryError`: it is about a request and not about the plugin.
    """


@runtime_checkable
class TenantContext(Protocol):
    """What the current tenant may do; asked by plugins before they touch what belongs to one."""

    def check_access(self, resource_kind: str, resource_id: str, action: str = "read") -> None:
        """Raise `TenantAccessDenied` when this may not be done; return when it may.

        Args:
            resource_kind: the sort of what is to be touched, such as `file`.
            resource_id: which one.
            action: what is to be done with it.
        """


class NoOpTenantContext:
    """Allows everything; for hosts that know no tenants."""

    def check_access(self, resource_kind: str, resource_id: str, action: str = "read") -> None:
        """Allow it."""


@dataclass(kw_only=True)
class PluginContext:
    """What the host offers to every plugin.

    Attributes:
        config: the configuration; what a plugin sees of it, `plugin_config` decides.
        logger: a structlog or standard logger. A plugin sees it bound with `plugin="kind/name"`.
        registry: the registry, for `get_plugin`.
        event_bus: an `EventBus`; a plugin sees a `PluginEventBus` of its own.
        tenant: a `TenantContext`, passed on untouched.
        resources: for a plugin, the container of the resources it declares.
        progress: a `ProgressSink`; a plugin sees it without its failures.
        checkpoint: a `CheckpointStore`; a plugin sees the keys that begin with `kind/name/`.
        metadata: read-only. Canonical keys are `tenant_id`, `actor`, `quota_budget`,
            `trace_context` and `request_id`; any may be absent, none is interpreted here, and
            values must be such as can be sent to another process (ADR-5).
        extras: anything else, untouched.
        owner: for a plugin, the instance that owns what the methods take; set by the host.

    Its `repr()` shows neither configuration, metadata nor extras, for secrets may be in them.

    The methods are for the context that a plugin is given in `setup`. What they take belongs to
    that instance of the plugin: it is undone in reverse order after its `teardown`, or when its
    setup fails. On the host's own context, and after the plugin has been torn down, each of them
    raises `RuntimeError`; for a function that cannot be called as asked, `TypeError`.
    """

    config: Mapping[str, Any] = field(repr=False)
    logger: Any
    registry: Any
    event_bus: Any = None
    tenant: Any = None
    resources: Any = None
    progress: Any = None
    checkpoint: Any = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, repr=False)
    extras: dict[str, Any] = field(default_factory=dict, repr=False)
    owner: PluginInstance | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Freeze the metadata."""
        if not isinstance(self.metadata, MappingProxyType):
            self.metadata = MappingProxyType(dict(self.metadata))

    def tenant_or_default(self) -> TenantContext:
        """Return the tenant's context; where the host has none, one that allows everything."""
        return NoOpTenantContext() if self.tenant is None else self.tenant

    def start_soon(
        self, function: Callable[..., Awaitable[object]], *args: object, name: str | None = None
    ) -> None:
        """Run an asynchronous function in a background task; cancelled and awaited at the end.

        What it raises while the plugin is ready makes the plugin `failed`, during the setup it
        makes the setup fail. From another thread too.

        Args:
            function: called with `args` in the task.
            args: its arguments.
            name: for reports; that of the function by default.
        """
        check_call("start_soon", function, args, _EMPTY)
        self._owner.scope.start_soon(function, *args, name=name)

    def run_thread(
        self, function: Callable[..., object], *args: object, name: str | None = None
    ) -> None:
        """Run a plain function in a daemon thread; stopped and joined at the end.

        What it raises counts as with `start_soon`. From another thread too.

        Args:
            function: called in the thread with a `threading.Event` and `args`. It is to return
                soon after the event has been set.
            args: its further arguments.
            name: of the thread; that of the function by default.
        """
        check_call("run_thread", function, (threading.Event(), *args), _EMPTY)
        check_plain("run_thread", function)
        self._owner.scope.run_thread(function, *args, name=name)

    def enter(self, manager: AbstractContextManager[T, Any]) -> T:
        """Enter a context manager, to be left at the end, and return what it yields.

        It is entered and left in the plugin's own context variables. It gets what the plugin
        fails with, if it does, but cannot suppress that.

        Args:
            manager: a synchronous one.
        """
        return self._owner.scope.enter(manager)

    async def enter_async(self, manager: AbstractAsyncContextManager[T, Any]) -> T:
        """Enter an asynchronous manager, to be left at the end, and return what it yields.

        Both happen in one task of its own, so it may open task groups and cancel scopes; context
        variables that it sets stay there. An exception that it raises while the plugin is ready,
        as a task group does when a task in it has failed, makes the plugin `failed`.

        Args:
            manager: an asynchronous one.
        """
        return await self._owner.scope.enter_async(manager)

    def callback(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function at the end, and await what it returns if that can be awaited.

        Args:
            function: called with the rest.
            args: its arguments.
            kwargs: likewise, by name.
        """
        check_call("callback", function, args, kwargs)
        self._owner.scope.callback(partial(function, *args, **kwargs))

    def in_flight(self) -> tuple[Operation, ...]:
        """Return what the plugin has under way: calls of its methods, background tasks and threads.

        For `teardown`, where calls are what has not ended within the drain time, but also for any
        other moment; a method that asks finds its own call, too. From another thread
        too. It is looked for when it is asked for, among all that runs: not for every call.
        """
        return self._owner.in_flight()

    @property
    def carry(self) -> MutableMapping[str, Any]:
        """What the plugin hands on from one of its setups to the next, as reloads go by.

        One mapping for as long as the plugin is there, whatever becomes of its reloads: after a
        roll-back the old generation finds what the new one has left in it. It is emptied when the
        plugin is removed or renamed and when everything is torn down; nothing in it is closed.
        """
        return self._owner.carry

    @property
    def _owner(self) -> PluginInstance:
        if self.owner is None:
            raise RuntimeError(
                "this context belongs to the host and owns nothing; start tasks and open resources "
                "with the context that a plugin is given in its setup"
            )
        return self.owner


def derive_context_for_plugin(
    base: PluginContext,
    manifest: PluginManifest,
    registry: ResourceRegistry,
    *,
    owner: PluginInstance | None = None,
) -> PluginContext:
    """Return the context of one plugin: its section, its bound logger, its resources and its owner.

    Args:
        base: the host's context.
        manifest: of the plugin; says which resources it asks for.
        registry: has the resources.
        owner: the instance. With one, the plugin also has its own part of each service: see the
            attributes of `PluginContext`. Without one, as in a unit test, services are passed on
            untouched.

    Raises:
        PluginUnavailable: a required resource is not on offer, or one could not be made.
    """
    logger = bound_logger(base.logger, manifest.ref)
    return replace(
        base,
        config=plugin_config(base.config, manifest.ref),
        logger=logger,
        resources=inject_resources(manifest, registry, base.metadata, owner=owner),
        owner=owner,
        **({} if owner is None else _own_services(base, manifest.ref, owner, logger)),
    )


def _own_services(
    base: PluginContext, ref: PluginRef, owner: PluginInstance, logger: Any
) -> dict[str, Any]:
    """Return the services that the host offers, as `ref` is to see them."""
    services: dict[str, Any] = {}
    if base.event_bus is not None:
        services["event_bus"] = PluginEventBus(base.event_bus, owner=owner, logger=logger)
    if base.progress is not None:
        services["progress"] = PluginProgress(base.progress, logger)
    if base.checkpoint is not None:
        services["checkpoint"] = PluginCheckpoints(base.checkpoint, ref)
    return services


def plugin_config(config: Mapping[str, Any], ref: PluginRef) -> Mapping[str, Any]:
    """Return what `ref` sees of the host's configuration.

    Its own section, `config[kind][name]`, where there is one. Else nothing, when `config`
    consists of such sections (they are other plugins'); else the whole.

    Args:
        config: the host's.
        ref: the plugin.
    """
    section = config.get(ref.kind)
    own = section.get(ref.name) if isinstance(section, Mapping) else None
    if isinstance(own, Mapping):
        return own
    return _EMPTY if config and _has_sections(config) else config


def sees_the_same(ref: PluginRef, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two configurations are the same for `ref`; 1 and True are not."""
    ours, theirs = plugin_config(one, ref), plugin_config(other, ref)
    return ours is theirs or (ours == theirs and repr(dict(ours)) == repr(dict(theirs)))


def _has_sections(config: Mapping[str, Any]) -> bool:
    return all(
        isinstance(kind, Mapping) and all(isinstance(own, Mapping) for own in kind.values())
        for kind in config.values()
    )
