"""What a plugin is given in `setup` (contract, section 10)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from structlog.contextvars import bind_contextvars, bound_contextvars

from dagstack_dev.host.resources import ResourceRegistry, inject_resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.core.refs import PluginRef

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})

current_plugin: ContextVar[PluginRef | None] = ContextVar("dagstack_current_plugin", default=None)
"""The plugin whose import, setup or teardown runs, or whose task this is; None outside of any."""


@contextmanager
def as_plugin(ref: PluginRef) -> Iterator[None]:
    """Everything in this block is done on behalf of `ref`, what it logs included."""
    token = current_plugin.set(ref)
    try:
        with bound_contextvars(plugin=str(ref)):
            yield
    finally:
        current_plugin.reset(token)


def become_plugin(ref: PluginRef) -> None:
    """As `as_plugin`, for the rest of the running task or context."""
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


def derive_context_for_plugin(
    base: PluginContext, manifest: PluginManifest, registry: ResourceRegistry
) -> PluginContext:
    """The context of one plugin: its section, its bound logger and its resources.

    Raises:
        PluginUnavailable: a required resource is not on offer.
    """
    return replace(
        base,
        config=plugin_config(base.config, manifest.ref),
        logger=_bound(base.logger, manifest.ref),
        resources=inject_resources(manifest, registry, base.metadata),
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
