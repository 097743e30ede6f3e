"""What a plugin is given in `setup` (contract, section 10)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.host.resources import ResourceRegistry, inject_resources

if TYPE_CHECKING:
    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.core.refs import PluginRef

_NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})

current_plugin: ContextVar[PluginRef | None] = ContextVar("dagstack_current_plugin", default=None)
"""The plugin whose import, setup or teardown runs, or whose task this is; None outside of any."""


@dataclass(kw_only=True)
class PluginContext:
    """What the host offers to every plugin.

    Attributes:
        config: the configuration. A plugin sees its own section, `config[kind][name]`, when that
            is a mapping, else the whole.
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
    metadata: Mapping[str, Any] = _NO_METADATA
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
    """`config[kind][name]` where that is a mapping, else `config` as a whole."""
    section = config.get(ref.kind) if isinstance(config, Mapping) else None
    own = section.get(ref.name) if isinstance(section, Mapping) else None
    return own if isinstance(own, Mapping) else config


class _BoundAdapter(logging.LoggerAdapter[logging.Logger]):
    """A standard logger whose records carry `plugin`, besides any `extra` of the call."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]  # noqa: ANN401 - the logging protocol
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _bound(logger: Any, ref: PluginRef) -> Any:  # noqa: ANN401 - whatever logger the host uses
    if isinstance(logger, logging.Logger):
        return _BoundAdapter(logger, {"plugin": str(ref)})
    bind = getattr(logger, "bind", None)
    return bind(plugin=str(ref)) if callable(bind) else logger
