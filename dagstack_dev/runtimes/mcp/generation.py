"""One generation of a plugin that is an MCP server; the same for both runtimes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagstack_dev.runtimes.mcp.plugin import KnownTools, McpPlugin

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.runtimes.mcp.endpoint import Connection, Endpoint


@dataclass(frozen=True, slots=True)
class McpCode:
    """A checked manifest, and how the server is reached; see `core.ports.Prepared`.

    `known` is what one generation hands on to the next: until the tools of the new server are
    known, its plugin has the methods of the old one, at which calls wait.
    """

    manifest: PluginManifest
    endpoint: Endpoint
    known: KnownTools = field(default_factory=KnownTools, compare=False)

    @classmethod
    def after(
        cls, previous: Prepared | None, manifest: PluginManifest, endpoint: Endpoint
    ) -> McpCode:
        """Return what follows `previous`, if that was one of these."""
        if isinstance(previous, McpCode):
            return cls(manifest, endpoint, previous.known)
        return cls(manifest, endpoint)

    def load(self) -> McpGeneration:
        """There is no code to run in this process."""
        return McpGeneration(self)


class McpGeneration:
    """The connections of one generation; see `core.ports.Generation`.

    There is nothing to unload: each instance has a server of its own.
    """

    is_undone = False

    def __init__(self, code: McpCode) -> None:
        self._code = code
        self._connections: list[Connection] = []

    def instantiate(self) -> McpPlugin:
        """Return a plugin that will connect in its setup."""
        code = self._code
        return McpPlugin(code.manifest, code.endpoint, code.known, self._note)

    def _note(self, connection: Connection) -> None:
        self._connections = [each for each in self._connections if each.survivors()]
        self._connections.append(connection)

    def unload(self) -> None:
        """See the class."""

    def activate(self) -> None:
        """See the class."""

    def tearing_down(self) -> AbstractContextManager[None]:
        """See the class."""
        return nullcontext()

    def note_failure(self) -> None:
        """See the class."""

    def retire(self) -> None:
        """See the class."""

    def is_gone(self) -> bool:
        """Return whether nothing is left of what its connections have started."""
        return not self.survivors()

    def survivors(self) -> tuple[str, ...]:
        """Return what is left of that, such as a process that cannot be killed."""
        return tuple(line for each in self._connections for line in each.survivors())
