"""Host objects that plugins ask for by name (contract, section 9; ADR-3)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dagstack_dev.core.errors import PluginUnavailable
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dagstack_dev.core.manifest import PluginManifest


class ResourceRegistry:
    """The objects that the host offers to plugins, by name."""

    def __init__(self) -> None:
        self._resources: dict[str, object] = {}

    def register(self, name: str, obj: object, *, replace: bool = False) -> None:
        """Offer `obj` as `name`.

        Raises:
            ValueError: the name is taken and `replace` is false.
        """
        if name in self._resources and not replace:
            msg = f"resource {name!r} is registered already; pass replace=True to replace it"
            raise ValueError(msg)
        self._resources[name] = obj

    def get(self, name: str) -> Any:
        """The object offered as `name`. Raises `KeyError` when there is none."""
        try:
            return self._resources[name]
        except KeyError:
            hint = did_you_mean(name, self._resources)
            msg = f"no resource named {name!r}{hint}"
            raise KeyError(msg) from None

    def __contains__(self, name: object) -> bool:
        return name in self._resources

    def names(self) -> list[str]:
        """Every name on offer, in the order of registration."""
        return list(self._resources)


class ResourceContainer:
    """What one plugin gets in `ctx.resources`: just what its manifest declares, and read-only.

    Each resource is an attribute. A declared optional resource that the host does not offer is
    an attribute too, with the value None, but not contained.
    """

    __slots__ = ("_absent", "_resources", "metadata")

    metadata: Mapping[str, object]

    def __init__(
        self,
        resources: Mapping[str, object],
        *,
        absent: frozenset[str] = frozenset(),
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        setting = super().__setattr__
        setting("_resources", MappingProxyType(dict(resources)))
        setting("_absent", absent)
        setting("metadata", MappingProxyType(dict(metadata or {})))

    def __getattr__(self, name: str) -> Any:
        if name in self._resources:
            return self._resources[name]
        if name in self._absent:
            return None
        hint = did_you_mean(name, self._resources)
        msg = f"no resource {name!r} is declared in the manifest{hint}"
        raise AttributeError(msg)

    def __setattr__(self, name: str, value: object) -> None:
        msg = "the resources of a plugin are read-only; register them with the host"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    async def get(self, name: str) -> Any:
        """The resource `name`. Raises `KeyError` when it is not contained."""
        return self._resources[name]

    def __contains__(self, name: object) -> bool:
        return name in self._resources

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)


def inject_resources(
    manifest: PluginManifest,
    registry: ResourceRegistry,
    metadata: Mapping[str, object] | None = None,
) -> ResourceContainer:
    """The container for the plugin that `manifest` describes.

    Raises:
        PluginUnavailable: a required resource is not on offer (ADR-3).
    """
    declared = manifest.resources
    for name in declared.required:
        if name not in registry:
            hint = did_you_mean(name, registry.names())
            reason = (
                f"it requires the resource {name!r}, which the host does not offer{hint}; call "
                f"registry.resources.register({name!r}, ...) before the plugins are set up"
            )
            raise PluginUnavailable(manifest.ref, reason)
    names = (*declared.required, *declared.optional)
    return ResourceContainer(
        {name: registry.get(name) for name in names if name in registry},
        absent=frozenset(name for name in declared.optional if name not in registry),
        metadata=metadata,
    )
