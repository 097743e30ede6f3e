"""What the two MCP runtimes have to offer to the part that they share, as Protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


class Connection(Protocol):
    """One live connection to a server.

    Attributes:
        streams: what to read messages from and what to write them to, as the SDK's transports
            yield.
    """

    streams: tuple[Any, Any]

    def note_tools(self, tools: Iterable[Tool]) -> None:
        """These are the server's tools; told whenever they have been listed."""

    async def watch(self) -> None:
        """Wait for the server to be lost, and raise the error that says so."""

    async def why_lost(self) -> PluginRegistryError:
        """The error for a call that met a closed connection; may wait a moment to tell more."""

    def last_words(self) -> tuple[str, ...]:
        """The last that was heard of the server besides its messages, line by line."""
        return ()

    def survivors(self) -> tuple[str, ...]:
        """What is still alive of it, in words; to be asked after it has been left."""
        return ()


class Endpoint(Protocol):
    """How one plugin's server is reached; immutable."""

    @property
    def call_timeout(self) -> float:
        """Seconds that one call may take."""

    @property
    def startup_timeout(self) -> float:
        """Seconds that it may take until the server's tools are known."""

    @property
    def may_come_back(self) -> bool:
        """Whether a server that was reached before may be there again though nothing was edited."""

    @property
    def call_timeout_option(self) -> str:
        """What to raise in the manifest when a call takes longer."""

    def connect(
        self, ref: PluginRef, log: ServerLog
    ) -> AbstractAsyncContextManager[Connection, Any]:
        """Start or reach the server; leaving the manager ends the connection.

        Entered and left in one task, so it may open task groups.
        """
