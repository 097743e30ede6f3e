"""What a plugin is given in `setup` (contract, section 10)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from structlog.contextvars import bind_contextvars

from dagstack_dev.host.resources import ResourceRegistry, inject_resources
from dagstack_dev.host.signatures import check_call, check_plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.instance import PluginInstance
    from dagstack_dev.host.scope import Scope

T = TypeVar("T")

_NOT_A_PLUGIN: Final = (
    "this context belongs to the host and owns nothing; start tasks and open resources with the "
    "context that a plugin is given in its setup"
)
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})

current_plugin: ContextVar[PluginRef | None] = ContextVar("dagstack_current_plugin", default=None)
"""The plugin whose import, setup or teardown runs, or whose task this is; None outside of any."""


def become_plugin(ref: PluginRef) -> None:
    """Do the rest of the running task or context on behalf of `ref`, logging included."""
    current_plugin.set(ref)
    bind_contextvars(plugin=str(ref))


@dataclass(kw_only=True)
class PluginContext:
    """What the host offers to every plugin.

    Attributes:
        config: the configuration; what a plugin sees of it, `plugin_config` decides.
        logger: a structlog or standard logger. A plugin sees it bound with `plugin="kind/name"`.
        registry: the registry, for `get_plugin`.
        event_bus, tenant, progress, checkpoint: host services, passed on untouched.
        resources: for a plugin, the container of the resources it declares.
        metadata: canonical keys of the request at hand; never interpreted here.
        extras: anything else, untouched.
        owner: for a plugin, the instance that owns what the methods take; set by the host.

    The methods are for the context that a plugin is given in `setup`. What they take belongs to
    that instance of the plugin: it is undone in reverse order after its `teardown`, or when its
    setup fails. On the host's own context, and after the plugin has been torn down, each of them
    raises `RuntimeError`; for a function that cannot be called as asked, `TypeError`.
    """

    config: Mapping[str, Any]
    logger: Any
    registry: Any
    event_bus: Any = None
    tenant: Any = None
    resources: Any = None
    progress: Any = None
    checkpoint: Any = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    extras: dict[str, Any] = field(default_factory=dict)
    owner: PluginInstance | None = field(default=None, repr=False, compare=False)

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
        self._scope.start_soon(function, *args, name=name)

    def run_thread(
        self, function: Callable[..., object], *args: object, name: str | None = None
    ) -> None:
        """Run a plain function in a daemon thread; told to stop, and joined, at the end.

        What it raises counts as with `start_soon`. From another thread too.

        Args:
            function: called in the thread with a `threading.Event` and `args`. It is to return
                soon after the event has been set.
            args: its further arguments.
            name: of the thread; that of the function by default.
        """
        check_call("run_thread", function, (threading.Event(), *args), _EMPTY)
        check_plain("run_thread", function)
        self._scope.run_thread(function, *args, name=name)

    def enter(self, manager: AbstractContextManager[T, Any]) -> T:
        """Enter a context manager; left at the end. The answer is what it yields.

        It is entered and left in the plugin's own context variables. It is told what the plugin
        fails with, if it does, but cannot suppress that.
        """
        return self._scope.enter(manager)

    async def enter_async(self, manager: AbstractAsyncContextManager[T, Any]) -> T:
        """Enter an asynchronous context manager; left at the end. The answer is what it yields.

        Both happen in one task of its own, so it may open task groups and cancel scopes; context
        variables that it sets stay there. An exception that it raises while the plugin is ready,
        as a task group does when a task in it has failed, makes the plugin `failed`.
        """
        return await self._scope.enter_async(manager)

    def callback(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function at the end, and await what it returns if that can be awaited."""
        check_call("callback", function, args, kwargs)
        self._scope.callback(partial(function, *args, **kwargs))

    @property
    def carry(self) -> MutableMapping[str, Any]:
        """What the plugin hands on from one of its setups to the next, as reloads go by.

        One mapping for as long as the plugin is there, whatever becomes of its reloads: after a
        roll-back the old generation finds what the new one has left in it. It is emptied when the
        plugin is removed or renamed and when everything is torn down; nothing in it is closed.
        """
        if self.owner is None:
            raise RuntimeError(_NOT_A_PLUGIN)
        return self.owner.carry

    @property
    def _scope(self) -> Scope:
        if self.owner is None:
            raise RuntimeError(_NOT_A_PLUGIN)
        return self.owner.scope


def derive_context_for_plugin(
    base: PluginContext,
    manifest: PluginManifest,
    registry: ResourceRegistry,
    *,
    owner: PluginInstance | None = None,
) -> PluginContext:
    """The context of one plugin: its section, its bound logger, its resources and its owner.

    Raises:
        PluginUnavailable: a required resource is not on offer.
    """
    return replace(
        base,
        config=plugin_config(base.config, manifest.ref),
        logger=_bound(base.logger, manifest.ref),
        resources=inject_resources(manifest, registry, base.metadata),
        owner=owner,
    )


def plugin_config(config: Mapping[str, Any], ref: PluginRef) -> Mapping[str, Any]:
    """What `ref` sees of the host's configuration.

    Its own section, `config[kind][name]`, where there is one. Else nothing, when `config`
    consists of such sections (they are other plugins'); else the whole.
    """
    section = config.get(ref.kind)
    own = section.get(ref.name) if isinstance(section, Mapping) else None
    if isinstance(own, Mapping):
        return own
    return _EMPTY if config and _has_sections(config) else config


def _has_sections(config: Mapping[str, Any]) -> bool:
    return all(
        isinstance(kind, Mapping) and all(isinstance(own, Mapping) for own in kind.values())
        for kind in config.values()
    )


class _BoundAdapter(logging.LoggerAdapter[logging.Logger]):
    """A standard logger whose records carry `plugin`, besides any `extra` of the call."""

    def process(
        self,
        msg: Any,
        kwargs: MutableMapping[str, Any],
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _bound(logger: Any, ref: PluginRef) -> Any:
    if isinstance(logger, logging.Logger):
        return _BoundAdapter(logger, {"plugin": str(ref)})
    bind = getattr(logger, "bind", None)
    return bind(plugin=str(ref)) if callable(bind) else logger
