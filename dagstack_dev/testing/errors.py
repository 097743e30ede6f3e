"""What the contract suite finds in a plugin (contract, section 12)."""

from __future__ import annotations

from dagstack_dev.core.errors.base import PluginRegistryError


class LeakDetected(PluginRegistryError):
    """Something of a plugin is left after its teardown: a task, or the instance itself."""


class SerializationError(Exception):
    """An argument or a result of a hook does not survive JSON unchanged."""


class DeterminismError(Exception):
    """A hook answers equal calls differently, or not as expected."""


class AmbientStateError(Exception):
    """A module keeps mutable state of its own."""
