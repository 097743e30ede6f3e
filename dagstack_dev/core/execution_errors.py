"""What goes wrong between the app and a plugin that lives in a process of its own (ADR-3)."""

from __future__ import annotations

from typing import ClassVar

from dagstack_dev.core.errors import PluginRegistryError
from dagstack_dev.core.refs import PluginRef


class ProcessDied(PluginRegistryError):
    """The process of a plugin has ended though nobody had asked it to.

    Attributes:
        ending: how, in words: the signal or the exit code.
    """

    is_passing: ClassVar[bool] = True

    def __init__(self, ref: PluginRef, ending: str) -> None:
        super().__init__(ref, ending)
        self.ref = ref
        self.ending = ending

    def __str__(self) -> str:
        return f"{self.ref}: its process {self.ending}"


class NotTransferable(PluginRegistryError, TypeError):
    """Something cannot go from the app to a plugin's process, or back.

    Attributes:
        what: the argument, result, resource or the like.
        reason: why, and what to do.
    """

    def __init__(self, ref: PluginRef, what: str, reason: str) -> None:
        super().__init__(ref, what, reason)
        self.ref = ref
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{_apart(self.ref)}: {self.what} cannot be sent between the processes: {self.reason}"
        )


class OutOfReach(PluginRegistryError, AttributeError):
    """Something on the other side of the border between the app and a plugin's process.

    Attributes:
        what: what was asked for.
        reason: why it is not there, and what to do.
    """

    def __init__(self, ref: PluginRef, what: str, reason: str) -> None:
        super().__init__(ref, what, reason)
        self.ref = ref
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{_apart(self.ref)}: {self.what} is out of reach: {self.reason}"


def _apart(ref: PluginRef | None) -> str:
    return f"{ref} runs in a process of its own (execution_model = 'process_cpu_bound')"


class RemoteError(PluginRegistryError):
    """An exception of a plugin's process whose own class does not exist in this one.

    What is raised has the name of that class, and the nearest built-in class it derives from as
    a second base, so that `except ValueError` catches what it would have caught there.
    """
