"""One generation of a plugin that is an MCP server; the same for both runtimes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from dagstack_dev.core.ports import Imported
from dagstack_dev.runtimes.mcp.plugin import KnownTools, McpPlugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.endpoint import Connection, Endpoint


class McpRuntime:
    """What is the same for both runtimes: no code of a server is imported here.

    Args:
        on_new_tools: called with a plugin whose server has other tools by now.
    """

    def __init__(self, on_new_tools: Callable[[PluginRef], object] = lambda _: None) -> None:
        self._on_new_tools = on_new_tools

    def code(
        self, previous: Prepared | None, manifest: PluginManifest, endpoint: Endpoint
    ) -> McpCode:
        """Return what follows `previous`, if that was of a server."""
        if isinstance(previous, McpCode):
            return McpCode(manifest, endpoint, previous.known)
        report = partial(self._on_new_tools, manifest.ref)
        return McpCode(manifest, endpoint, KnownTools(report))

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:  # noqa: ARG002 - of none
        """Return nothing: no plugin imports the code of a server."""
        return frozenset()

    def imports_of(self, ref: PluginRef) -> Imported:  # noqa: ARG002 - none
        """Return nothing: what a server imports is its own."""
        return Imported()


@dataclass(frozen=True, slots=True)
class McpCode:
    """A checked manifest, and how the server is reached; see `core.ports.Prepared`.

    `known` is what one generation hands on to the next: until the tools of the new server are
    known, its plugin has the methods of the old one, at which calls wait.
    """

    manifest: PluginManifest
    endpoint: Endpoint
    known: KnownTools = field(compare=False)

    def load(self) -> McpGeneration:
        """Return the generation; there is no code to run in this process."""
        return McpGeneration(self)


class McpGeneration:
    """The connections of one generation; see `core.ports.Generation`."""

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
        """Do nothing, here and at other steps: each instance has a server of its own."""

    activate = note_failure = retire = unload

    def tearing_down(self) -> AbstractContextManager[None]:
        """Return a block that does nothing."""
        return nullcontext()

    def is_gone(self) -> bool:
        """Return whether nothing is left of what its connections have started."""
        return not self.survivors()

    def survivors(self) -> tuple[str, ...]:
        """Return what is left of that, such as a process that cannot be killed."""
        return tuple(line for each in self._connections for line in each.survivors())
