"""What goes wrong between the app and a plugin that lives in a process of its own (ADR-3)."""

from __future__ import annotations

from typing import ClassVar, Final

from dagstack_dev.core.errors import PluginRegistryError
from dagstack_dev.core.refs import PluginRef

_APART: Final = "{ref} runs in a process of its own (execution_model = 'process_cpu_bound')"


class ProcessDied(PluginRegistryError):
    """The process of a plugin has ended though nobody had asked it to.

    Attributes:
        ending: how, in words: the signal or the exit code.
    """

    ref: PluginRef
    ending: str

    is_passing: ClassVar[bool] = True
    template = "{ref}: its process {ending}"


class NotTransferable(PluginRegistryError, TypeError):
    """Something cannot go from the app to a plugin's process, or back.

    Attributes:
        what: the argument, result, resource or the like.
        reason: why, and what to do.
    """

    ref: PluginRef
    what: str
    reason: str

    template = f"{_APART}: {{what}} cannot be sent between the processes: {{reason}}"


class OutOfReach(PluginRegistryError, AttributeError):
    """Something on the other side of the border between the app and a plugin's process.

    Attributes:
        what: what was asked for.
        reason: why it is not there, and what to do.
    """

    ref: PluginRef
    what: str
    reason: str

    template = f"{_APART}: {{what}} is out of reach: {{reason}}"


class RemoteError(PluginRegistryError):
    """An exception of a plugin's process whose own class does not exist in this one.

    What is raised has the name of that class, and the nearest built-in class it derives from as
    a second base, so that `except ValueError` catches what it would have caught there.
    """
