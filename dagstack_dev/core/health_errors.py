"""What is wrong with a plugin that runs but is not well (contract, section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors import PluginRegistryError
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.refs import PluginRef


class PluginUnhealthy(PluginRegistryError):
    """A plugin's health check failed.

    `reason` says how. What the check raised, if anything, is the `__cause__`.
    """

    ref: PluginRef
    reason: str

    is_passing = True
    template = "{ref} is not healthy: {reason}"


class HealthCheckInvalid(PluginRegistryError):
    """A manifest names a `health_check` that nobody can call.

    Nothing is known of the plugin's health by that, so it goes on running.

    Attributes:
        name: what the manifest says.
        reason: what is wrong with that.
    """

    def __init__(self, ref: PluginRef, name: str, problem: str) -> None:
        super().__init__(ref, name, problem)
        self.ref = ref
        self.name = name
        self.reason = f"its manifest says health_check = {name!r}, but {problem}"

    @classmethod
    def missing(cls, ref: PluginRef, name: str, known: Iterable[str]) -> HealthCheckInvalid:
        """The plugin has no such method, but those that are `known`."""
        hint = did_you_mean(name, known) or "; correct the name or leave health_check out"
        return cls(ref, name, f"it has no such method or tool{hint}")

    @classmethod
    def needs_arguments(cls, ref: PluginRef, name: str) -> HealthCheckInvalid:
        """The method cannot be called without arguments."""
        return cls(ref, name, f"{name}() needs arguments; name one that needs none")

    def __str__(self) -> str:
        return f"{self.ref}: {self.reason}"
