"""Plugins that are remote services: MCP servers over HTTP (contract, sections 2 and 13)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from dagstack_dev.core.errors.files import ManifestProblem, ServerMissing
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.runtimes.mcp.generation import McpCode, McpRuntime
from dagstack_dev.runtimes.mcp.http_settings import HttpSettings, Unusable, trusting_the_system

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.runtimes.mcp.http_connection import HttpConnection
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


class McpHttpRuntime(McpRuntime):
    """Connects to servers that run elsewhere, and which others start and stop."""

    name: Final = "mcp_http"

    def prepare(
        self,
        manifest: PluginManifest,
        source: PluginSource,
        previous: Prepared | None = None,
    ) -> McpCode:
        """Look up all that is needed to connect, without connecting.

        Raises:
            ServerMissing: the secret or the CA certificates that it names are not there.
        """
        try:
            settings = HttpSettings.of(manifest, source.home)
        except Unusable as error:
            problem = ManifestProblem(error.key, str(error), line_in(source, error.key))
            raise ServerMissing(source.manifest_path, [problem], ref=manifest.ref) from None
        return self.code(previous, manifest, HttpEndpoint(settings))


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """How a server is reached; see `endpoint.Endpoint`."""

    settings: HttpSettings

    call_timeout_option = "mcp_http.timeout_sec"
    may_come_back = True

    @property
    def call_timeout(self) -> float:
        """Seconds that one call may take."""
        return self.settings.call_timeout

    @asynccontextmanager
    async def connect(
        self,
        ref: PluginRef,
        log: ServerLog,  # noqa: ARG002 - what else a server writes, its own host keeps
    ) -> AsyncIterator[HttpConnection]:
        """Make all that a session needs; nothing is sent before it begins."""
        connection, tls = await anyio.to_thread.run_sync(self._parts, abandon_on_cancel=True)
        async with connection(ref, self.settings, tls) as connected:
            yield connected

    def _parts(self) -> tuple[Callable[..., Any], ssl.SSLContext]:
        # Up to half a second the first time, which the loop has better things to do with.
        from dagstack_dev.runtimes.mcp.http_connection import connection  # noqa: PLC0415

        return connection, self.settings.tls or trusting_the_system()
