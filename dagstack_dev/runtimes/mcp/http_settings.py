"""What it takes to reach an MCP server over HTTP: its URL, credentials, certificates and limits."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from dagstack_dev.core.manifest.mcp import CALL_SECONDS, SENDABLE, McpHttp
from dagstack_dev.core.secrets import remember
from dagstack_dev.runtimes.mcp.wire import LONGEST_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest

LOOK_SECONDS: Final = 10.0
"""How often a server is asked whether it is still there, when nothing else says."""

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that may name a file or folder of CA certificates; the first counts."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How a server is reached.

    Attributes:
        url: without credentials.
        headers: sent with every request: credentials, if any, which are in no `repr()`.
        tls: how certificates are checked; None: as the system does.
        call_timeout: seconds.
        look_every: seconds between two looks whether the server is still there.
        pauses: seconds before a request is sent for the second and the third time.
        stream_pauses: seconds before a stream that has ended is opened again, at least and at most.
        notice_seconds: how long the server may take for what it need not answer.
        longest_message: bytes of an answer or an event at most.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False, compare=False)
    call_timeout: float
    look_every: float
    pauses: tuple[float, ...] = (0.5, 1.0)
    stream_pauses: tuple[float, float] = (1.0, 30.0)
    notice_seconds: float = 2.0
    longest_message: int = LONGEST_MESSAGE

    @classmethod
    def of(cls, manifest: PluginManifest, folder: str) -> HttpSettings:
        """Return what a valid manifest with the runtime `mcp_http` says, wherever it says it.

        Args:
            manifest: of the plugin.
            folder: the plugin's own.

        Raises:
            Unusable: the secret or the CA certificates that it names are not there.
        """
        table = manifest.mcp_http or McpHttp()
        url = table.url or manifest.endpoint or manifest.url or ""
        parts = urlsplit(url)
        return cls(
            url=urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
            headers=_credentials(table, manifest.auth.get("token"), url),
            tls=_tls(table, url, folder),
            call_timeout=table.timeout_sec or CALL_SECONDS,
            look_every=LOOK_SECONDS,
        )


class Unusable(Exception):
    """Something that a manifest names is not there; `key` is dotted, below the plugin table."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _credentials(table: McpHttp, token: str | None, url: str) -> dict[str, str]:
    """Return the header with the credentials; empty where there are none.

    Raises:
        Unusable: the environment has no such secret, or none that can be sent.
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
            raise Unusable("mcp_http.auth_secret_env", problem)
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
    remember([unquote(parts.password or parts.username)])  # A token often stands alone.
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _tls(table: McpHttp, url: str, folder: str) -> ssl.SSLContext | None:
    """Return how certificates are checked; None: as the system does.

    Raises:
        Unusable: the certificates to check them with cannot be read.
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
def trusting_the_system() -> ssl.SSLContext:
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
        raise Unusable(key, message) from None
