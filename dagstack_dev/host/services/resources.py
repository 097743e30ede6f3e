"""Host objects that plugins ask for by name (contract, section 9; ADR-3)."""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.host.services.ownership import ResourceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.services.ownership import Owner, ResourceFactory, ResourceWrapper


class ResourceRegistry:
    """What the host offers to plugins, by name.

    The host makes a resource before the plugins are set up and closes it when they are torn
    down; plugins share it, so it must be safe to use from several threads. What each plugin is to
    have for itself, `register_factory` makes, and it is closed with that plugin. May be used from
    any thread; a plugin gets what is on offer when it is set up.
    """

    def __init__(self) -> None:
        self._resources: dict[str, object] = {}
        self._factories: dict[str, ResourceFactory] = {}
        self._wrappers: dict[str, tuple[ResourceWrapper, ...]] = {}
        self._lock = threading.RLock()

    def register(self, name: str, resource: object, *, replace: bool = False) -> None:
        """Offer `resource` as `name`, the same object to all plugins.

        Raises:
            ValueError: the name is taken and `replace` is false.
        """
        with self._lock:
            self._check_free(name, replace=replace)
            self._factories.pop(name, None)
            self._resources[name] = resource

    def register_factory(
        self, name: str, factory: ResourceFactory, *, replace: bool = False
    ) -> None:
        """Offer as `name` what `factory` makes for each plugin, at each of its setups.

        It is called before `setup` with a `ResourceRequest`, by which it can have closed what it
        makes: after the plugin's teardown, and after a setup that failed.

        Raises:
            ValueError: the name is taken and `replace` is false.
        """
        with self._lock:
            self._check_free(name, replace=replace)
            self._resources[name] = None  # Keeps its place in the order of names.
            self._factories[name] = factory

    def register_standard(self) -> None:
        """Offer those of `STANDARD_RESOURCES` whose names are free.

        `http_client` only where httpx is installed, as by the extra `[http]`.
        """
        from dagstack_dev.host.services import standard  # noqa: PLC0415 - most hosts bring theirs

        with self._lock:
            for name, make in standard.SHARED.items():
                if name not in self:
                    self.register(name, make())
            for name, factory in standard.factories().items():
                if name not in self:
                    self.register_factory(name, factory)

    def decorate(self, name: str, wrapper: ResourceWrapper) -> None:
        """Have plugins get what `wrapper` answers in place of the resource `name` (ADR-5).

        It is called with the resource and the `ResourceRequest` of each plugin at each of its
        setups; to leave a plugin alone it answers the resource itself. Of several, each wraps
        what those before it have answered, so that the last one is asked first by the plugin. The
        resource need not be there yet, and may be replaced.
        """
        with self._lock:
            self._wrappers[name] = (*self._wrappers.get(name, ()), wrapper)

    def get(self, name: str) -> Any:
        """Return the object offered as `name`, as the host registered it.

        Raises:
            KeyError: there is none, or each plugin gets its own.
        """
        if name in self._factories:
            raise KeyError(f"the resource {name!r} is made anew for each plugin")
        try:
            return self._resources[name]
        except KeyError:
            hint = did_you_mean(name, self._resources)
            msg = f"no resource named {name!r}{hint}"
            raise KeyError(msg) from None

    def make(self, name: str, request: ResourceRequest) -> Any:
        """Return the resource `name` as one plugin gets it: from its factory, with what wraps it.

        Raises:
            PluginUnavailable: a factory or wrapper raised, or a wrapper answered None.
        """
        with self._lock:
            factory = self._factories.get(name)
            resource = self._resources.get(name)
            wrappers = self._wrappers.get(name, ())
        try:
            if factory is not None:
                resource = factory(request)
            for wrapper in wrappers:
                resource = _wrapped(wrapper, resource, request)
        except Exception as error:
            reason = f"its resource {name!r} could not be made: {in_words(error)}"
            raise PluginUnavailable(request.ref, reason) from error
        return resource

    def __contains__(self, name: object) -> bool:
        return name in self._resources

    def names(self) -> list[str]:
        """Return every name on offer, in the order of registration."""
        return list(self._resources)

    def _check_free(self, name: str, *, replace: bool) -> None:
        if name in self._resources and not replace:
            msg = f"resource {name!r} is registered already; pass replace=True to replace it"
            raise ValueError(msg)


@runtime_checkable
class Resources(Protocol):
    """What a plugin may rely on in `ctx.resources`; `ResourceContainer` offers more."""

    async def get(self, name: str) -> Any:
        """Return the resource `name`. Raises `KeyError` when it is not there."""


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
        metadata: Mapping[str, object] | None = None,
        absent: frozenset[str] = frozenset(),
    ) -> None:
        setting = super().__setattr__
        setting("_resources", MappingProxyType(dict(resources)))
        setting("_absent", absent)
        is_frozen = isinstance(metadata, MappingProxyType)
        setting("metadata", metadata if is_frozen else MappingProxyType(dict(metadata or {})))

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

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return ResourceContainer, (dict(self._resources), dict(self.metadata), self._absent)

    async def get(self, name: str) -> Any:
        """Return the resource `name`. Raises `KeyError` when it is not contained."""
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
    *,
    owner: Owner | None = None,
) -> ResourceContainer:
    """Return the container for the plugin that `manifest` describes.

    Args:
        manifest: says what the plugin asks for.
        registry: has it.
        metadata: for the container, and for what wraps a resource.
        owner: closes what is made for this plugin alone; without one, that stays open.

    Raises:
        PluginUnavailable: a required resource is not on offer (ADR-3), or one could not be made.
    """
    declared = manifest.resources
    for name in declared.required:
        if name not in registry:
            raise PluginUnavailable(manifest.ref, _missing(name, registry))
    names = (*declared.required, *declared.optional)
    if not names:  # Nearly all plugins, and a start sets up thousands.
        return ResourceContainer({}, metadata)
    request = ResourceRequest(manifest.ref, MappingProxyType(dict(metadata or {})), owner)
    return ResourceContainer(
        {name: registry.make(name, request) for name in names if name in registry},
        metadata,
        absent=frozenset(name for name in declared.optional if name not in registry),
    )


def _missing(name: str, registry: ResourceRegistry) -> str:
    from dagstack_dev.host.services.standard import how_to_offer  # noqa: PLC0415 - for an error

    hint = did_you_mean(name, registry.names())
    todo = how_to_offer(name)
    return f"it requires the resource {name!r}, which the host does not offer; {todo}{hint}"


def _wrapped(wrapper: ResourceWrapper, resource: object, request: ResourceRequest) -> object:
    answer = wrapper(resource, request)
    if answer is None:
        name = getattr(wrapper, "__qualname__", repr(wrapper))
        raise TypeError(
            f"{name} wraps it and answered None; it must return what plugins are to get"
        )
    return answer
