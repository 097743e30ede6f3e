"""Host objects that plugins ask for by name (contract, section 9; ADR-3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.host.services.clock import SystemClock
from dagstack_dev.host.services.http import INSTALL_HTTP, HttpxClient, has_httpx
from dagstack_dev.host.services.rng import RandomRng
from dagstack_dev.host.services.stores import InMemoryBlobStore
from dagstack_dev.host.services.tmpdir import SystemTmpDir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.life.instance import PluginInstance

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """One plugin that is about to be set up and asks for a resource.

    Attributes:
        ref: the plugin.
        metadata: `PluginContext.metadata`.
        owner: the instance that asks; None where there is none, as in a unit test.
    """

    ref: PluginRef
    metadata: Mapping[str, object]
    owner: PluginInstance | None = None

    def enter(self, manager: AbstractContextManager[T, Any]) -> T:
        """Enter a manager, to be left when all else that the plugin owns has been undone.

        Args:
            manager: a synchronous one. Without an owner, it is never left.
        """
        if self.owner is None:
            return manager.__enter__()
        return self.owner.scope.enter(manager)

    def callback(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function when all else that the plugin owns has been undone.

        Args:
            function: async or not. Without an owner, it is never called.
            args: its arguments.
            kwargs: likewise, by name.
        """
        if self.owner is not None:
            self.owner.scope.callback(partial(function, *args, **kwargs))


ResourceFactory: TypeAlias = Callable[[ResourceRequest], object]
"""Makes a resource for one plugin."""

ResourceWrapper: TypeAlias = Callable[[Any, ResourceRequest], object]
"""Answers what one plugin gets in place of a resource, or the resource itself."""


def _tmpdir(request: ResourceRequest) -> SystemTmpDir:
    folder = SystemTmpDir(request.ref)
    request.callback(folder.aclose)
    return folder


def _http_client(request: ResourceRequest) -> HttpxClient:
    client = HttpxClient()
    request.callback(client.aclose)
    return client


SHARED: Final[Mapping[str, Callable[[], object]]] = {
    "clock": SystemClock,
    "rng": RandomRng,
    "blob_store": InMemoryBlobStore,
}
"""What makes the standard resources of which all plugins get the same."""

_OWN: Final[Mapping[str, ResourceFactory]] = {"http_client": _http_client, "tmpdir": _tmpdir}
"""What makes those of which each plugin gets its own."""

STANDARD_RESOURCES: Final = (*SHARED, *_OWN)
"""The names of those that every host can offer (contract, section 9; ADR-3)."""


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
        """Offer the same object to all plugins.

        Args:
            name: by which manifests ask for it.
            resource: the object.
            replace: whether it may take the place of another one.

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
        """Offer what is made for each plugin, at each of its setups.

        Args:
            name: by which manifests ask for it.
            factory: called before `setup` with a `ResourceRequest`, by which it can have closed
                what it makes: after the plugin's teardown, and after a setup that failed.
            replace: whether it may take the place of another one.

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
        with self._lock:
            for name, make in SHARED.items():
                if name not in self:
                    self.register(name, make())
            for name, factory in _OWN.items():
                if name not in self and (name != "http_client" or has_httpx()):
                    self.register_factory(name, factory)

    def decorate(self, name: str, wrapper: ResourceWrapper) -> None:
        """Have plugins get what a wrapper returns in place of a resource (ADR-5).

        Of several, each wraps what those before it have returned, so that the plugin calls the
        last one first. The resource need not be there yet, and may be replaced.

        Args:
            name: of the resource.
            wrapper: called with the resource and the `ResourceRequest` of each plugin at each of
                its setups; to leave a plugin alone it returns the resource itself.
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
    owner: PluginInstance | None = None,
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
    """Return why a plugin lacks the resource `name`, and what its host has to do."""
    todo = f"call registry.resources.register({name!r}, ...) before the plugins are set up"
    if name == "http_client" and not has_httpx():
        todo = f"it needs httpx: {INSTALL_HTTP}"
    elif name in STANDARD_RESOURCES:
        todo = "call registry.resources.register_standard() before the plugins are set up"
    hint = did_you_mean(name, registry.names())
    return f"it requires the resource {name!r}, which the host does not offer; {todo}{hint}"


def _wrapped(wrapper: ResourceWrapper, resource: object, request: ResourceRequest) -> object:
    answer = wrapper(resource, request)
    if answer is None:
        name = getattr(wrapper, "__qualname__", repr(wrapper))
        raise TypeError(
            f"{name} wraps it and answered None; it must return what plugins are to get"
        )
    return answer
