"""Whom a service is made for, and how it ends with that plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from dagstack_dev.core.lifecycle import Operation
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.life.scope import Scope

T = TypeVar("T")


class Owner(Protocol):
    """The instance of a plugin that owns what its context takes: `life.instance.PluginInstance`.

    Attributes:
        carry: see `PluginContext.carry`.
    """

    carry: MutableMapping[str, Any]

    @property
    def scope(self) -> Scope:
        """Takes what is to be undone after the plugin's teardown."""

    @property
    def is_ending(self) -> bool:
        """Whether its teardown has begun."""

    def in_flight(self) -> tuple[Operation, ...]:
        """See `PluginContext.in_flight`."""


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
    owner: Owner | None = None

    def enter(self, manager: AbstractContextManager[T, Any]) -> T:
        """Enter a manager, to be left when all else that the plugin owns has been undone.

        Without an owner, it is never left.
        """
        if self.owner is None:
            return manager.__enter__()
        return self.owner.scope.enter(manager)

    def callback(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function then, async or not. Without an owner, it is never called."""
        if self.owner is not None:
            self.owner.scope.callback(partial(function, *args, **kwargs))


ResourceFactory: TypeAlias = Callable[[ResourceRequest], object]
"""Makes a resource for one plugin."""

ResourceWrapper: TypeAlias = Callable[[Any, ResourceRequest], object]
"""Answers what one plugin gets in place of a resource, or the resource itself."""
