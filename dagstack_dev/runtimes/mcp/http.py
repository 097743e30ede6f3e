"""Plugins that are remote services: MCP servers over HTTP (contract, sections 2 and 13)."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import anyio.to_thread

from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.manifest.mcp import CALL_SECONDS, SENDABLE, McpHttp
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.core.secrets import remember
from dagstack_dev.runtimes.mcp.generation import McpCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.runtimes.mcp.http_connection import HttpConnection
    from dagstack_dev.runtimes.mcp.server_log import ServerLog

LOOK_SECONDS: Final = 10.0
"""How often a server is asked whether it is still there, when nothing else tells."""

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that may name a file or folder of CA certificates; the first counts."""


class McpHttpRuntime:
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
            ManifestInvalid: the secret or the CA certificates that it names are not there.
        """
        try:
            return McpCode.after(previous, manifest, _endpoint(manifest, source.home))
        except _Unusable as problem:
            told = ManifestProblem(problem.key, str(problem), line_in(source, problem.key))
            raise ManifestInvalid(source.manifest_path, [told], ref=manifest.ref) from None

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:  # noqa: ARG002 - of none
        """Nobody imports the code of a service elsewhere."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """How a server is reached; see `endpoint.Endpoint`.

    Attributes:
        url: without credentials.
        headers: sent with every request: credentials, if any, which are in no `repr()`.
        call_timeout: seconds.
        look_every: seconds between two looks whether the server is still there.
        tls: how certificates are checked; None: as the environment says.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    call_timeout: float
    look_every: float
    tls: ssl.SSLContext | None = field(repr=False, compare=False)

    call_timeout_option = "mcp_http.timeout_sec"
    may_come_back = True

    @asynccontextmanager
    async def connect(
        self,
        ref: PluginRef,
        log: ServerLog,  # noqa: ARG002 - what else a server writes, its own host keeps
    ) -> AsyncIterator[HttpConnection]:
        """Make all that a session needs; nothing is sent before it begins."""
        connection, tls = await anyio.to_thread.run_sync(self._parts, abandon_on_cancel=True)
        async with connection(
            ref,
            self.url,
            self.headers,
            tls,
            look_every=self.look_every,
            call_timeout=self.call_timeout,
        ) as connected:
            yield connected

    def _parts(self) -> tuple[Callable[..., Any], ssl.SSLContext]:
        # Up to half a second the first time, which the loop has better things to do with.
        from dagstack_dev.runtimes.mcp.http_connection import connection  # noqa: PLC0415

        return connection, self.tls or _trusting_the_system()


class _Unusable(Exception):
    """Something that a manifest names is not there; `key` is dotted, below the plugin table."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _endpoint(manifest: PluginManifest, folder: str) -> HttpEndpoint:
    table = manifest.mcp_http or McpHttp()
    url = table.url or manifest.endpoint or manifest.url or ""
    return HttpEndpoint(
        url=_without_credentials(url),
        headers=_credentials(table, manifest.auth.get("token"), url),
        call_timeout=table.timeout_sec or CALL_SECONDS,
        look_every=LOOK_SECONDS,
        tls=_tls(table, url, folder),
    )


def _credentials(table: McpHttp, token: str | None, url: str) -> dict[str, str]:
    """Return the header that tells the server who we are; empty when nothing does.

    Raises:
        _Unusable: the environment has no such secret, or none that can be sent.
    """
    secret, variable = token, table.auth_secret_env
    if variable is not None:
        secret = os.environ.get(variable, "").strip()
        problem = ""
        if not secret:
            problem = f"the environment variable {variable} is not set; set it, and start again"
        elif SENDABLE.fullmatch(secret) is None:
            problem = f"what the environment variable {variable} holds cannot stand in a header"
        if problem:
            raise _Unusable("mcp_http.auth_secret_env", problem)
        remember([secret])
    if not secret:
        return _basic(url)
    header = table.auth_header or "Authorization"
    return {header: f"Bearer {secret}" if header.lower() == "authorization" else secret}


def _basic(url: str) -> dict[str, str]:
    """Return what a user and password in `url` say; HTTP libraries would log them with the URL."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    remember([unquote(parts.password or "")])
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _tls(table: McpHttp, url: str, folder: str) -> ssl.SSLContext | None:
    """Return how certificates are checked; None: as the system does.

    Raises:
        _Unusable: the certificates to check them with cannot be read.
    """
    if not url.startswith("https:"):
        return trusting_none()
    if not table.tls_verify:
        context = trusting_none()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if table.tls_ca_bundle is not None:
        path = Path(folder, Path(table.tls_ca_bundle).expanduser())
        return _trusting(path, "mcp_http.tls_ca_bundle", "this is")
    for variable in CA_VARIABLES:
        if named := os.environ.get(variable):
            path = Path(named).expanduser()
            return _trusting(path, "mcp_http", f"the environment variable {variable} names")
    return None


def trusting_none() -> ssl.SSLContext:
    """For plain HTTP, where nothing is to be checked and nothing else to be believed."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=1)
def _trusting_the_system() -> ssl.SSLContext:
    """Trusts whom the system trusts. Takes up to 300 ms the first time."""
    import httpx2  # noqa: PLC0415 - slow, and only there with the extra

    return httpx2.create_ssl_context(trust_env=False)


def _trusting(path: Path, key: str, says: str) -> ssl.SSLContext:
    """Trusts the CA certificates in a file or folder, and no others."""
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # As is what says that there are no certificates in it.
        message = f"{says} {path}, which holds no CA certificates ({error.strerror or error})"
        raise _Unusable(key, message) from None
