"""Plugins in processes of their own (ADR-3), and those that are servers (contract, section 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from dagstack_dev.core.errors.base import PluginRegistryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstack_dev.core.refs import PluginRef


_APART: Final = "{ref} runs in a process of its own (execution_model = 'process_cpu_bound')"


class ProcessDied(PluginRegistryError):
    """The process of a plugin has ended unasked.

    Attributes:
        ending: how, in words: the signal or the exit code.
    """

    ref: PluginRef
    ending: str

    is_transient: ClassVar[bool] = True
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

    What is raised has the name of that class, and the nearest class that both know as a second
    base, so that `except ValueError` catches what it would have caught there.
    """


class ToolError(PluginRegistryError):
    """A call of a plugin's tool failed; also that of a resource or a prompt.

    Attributes:
        tool: its name, as the server knows it.
        message: what the server said.
        type_name: the class of the server's exception, where the server named it.
        code, data: those of the JSON-RPC error, when the server answered with one.
    """

    ref: PluginRef
    tool: str
    message: str
    type_name: str | None = None
    code: int | None = None
    data: Any = None

    def __str__(self) -> str:
        failure = f"{self.type_name}: {self.message}" if self.type_name else self.message
        code = f" (JSON-RPC error {self.code})" if self.code is not None else ""
        return f"{self.ref}: {self.tool} failed: {failure}{code}"


class ToolTimeout(ToolError, TimeoutError):
    """A call was not answered within `seconds`; the server has been asked to cancel it."""

    def __init__(self, ref: PluginRef, tool: str, seconds: float, option: str) -> None:
        message = f"no answer within {seconds:g} s; make it faster or raise {option}"
        super().__init__(ref, tool, message)
        self.seconds = seconds


class ToolArgumentsInvalid(ToolError, TypeError):
    """A call does not match the tool's input schema; nothing was sent.

    `argument` is the path of the value at fault, dotted; empty when it is all of them.
    """

    def __init__(self, ref: PluginRef, tool: str, argument: str, message: str) -> None:
        super().__init__(ref, tool, message)
        self.argument = argument

    def __str__(self) -> str:
        subject = f"argument {self.argument!r} " if self.argument else ""
        return f"{self.ref}: {self.tool} was not called: {subject}{self.message}"


class ToolResultInvalid(ToolError):
    """What a tool answered does not match its own output schema."""


class _ServerError(PluginRegistryError):
    """Something went wrong between us and a server, and not in one of its tools.

    Attributes:
        reason: one line that says what happened.
        last_words: the last lines that the server wrote to its standard error.
    """

    ref: PluginRef
    reason: str
    last_words: Sequence[str] = ()

    def __str__(self) -> str:
        quoted = "".join(f"\n  {line}" for line in self.last_words)
        heard = f"; the end of its standard error:{quoted}" if quoted else ""
        return f"{self.ref}: {self.reason}{heard}"


class ServerLost(_ServerError):
    """The connection to a plugin's server is gone.

    `retry_after` is in how many seconds it wants to be tried again, where it says so.
    """

    is_transient = True
    retry_after: float = 0.0


class ServerExited(ServerLost):
    """The process of a plugin's server has ended by itself.

    `returncode` is what it exited with, or less a signal's number; None when it closed its
    output, but runs on.
    """

    returncode: int | None = None


class HandshakeFailed(_ServerError):
    """A server is there, but does not answer as an MCP server does."""


class HandshakeTimeout(HandshakeFailed, TimeoutError):
    """A server did not answer the handshake in time."""

    is_transient = True
