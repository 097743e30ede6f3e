"""What the two MCP runtimes have to offer to the part that they share, as Protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


class Connection(Protocol):
    """One live connection to a server."""

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and return the message that answers it; see `wire.messages_in`.

        Args:
            message: as JSON-RPC has it, with a number as its `id`.

        Raises:
            NoAnswer: the server has not answered as one does.
            PluginRegistryError: the connection is lost.
        """

    async def notify(self, message: dict[str, Any]) -> None:
        """Send what need not be answered; that it does not arrive is no failure."""

    async def listen(self, take: Callable[[dict[str, Any]], object]) -> None:
        """Give `take` what the server says by itself, until it cannot be heard any more."""

    def note_tools(self, tools: Iterable[Tool]) -> None:
        """Note the server's tools; called whenever they have been listed."""

    async def watch(self) -> None:
        """Wait for the server to be lost, and raise the error that says so."""

    async def why_lost(self) -> PluginRegistryError:
        """Return the error for a closed connection; may wait a moment to know more."""

    def last_words(self) -> tuple[str, ...]:
        """Return the last lines that were heard of the server besides its messages."""
        return ()

    def survivors(self) -> tuple[str, ...]:
        """Return what is still alive of it, in words; to be asked after it has been left."""
        return ()


class Endpoint(Protocol):
    """How one plugin's server is reached; immutable."""

    @property
    def call_timeout(self) -> float:
        """Seconds that one call may take."""

    @property
    def call_timeout_option(self) -> str:
        """What to raise in the manifest when a call takes longer."""

    @property
    def may_come_back(self) -> bool:
        """Whether a server that was reached before may be there again though nothing was edited."""

    def connect(
        self, ref: PluginRef, log: ServerLog
    ) -> AbstractAsyncContextManager[Connection, Any]:
        """Start or reach the server; leaving the manager ends the connection.

        Entered and left in one task, so it may open task groups.
        """
