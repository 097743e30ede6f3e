"""Whom we trust when a server says who it is."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Final

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that may name a file or folder of CA certificates; the first counts."""


def bundle_in_environment() -> tuple[str, str] | None:
    """The variable that names certificates, and what it says; None when none does."""
    for name in CA_VARIABLES:
        if path := os.environ.get(name):
            return name, path
    return None


def trusting(path: str | Path) -> ssl.SSLContext:
    """Trusts the CA certificates in a file or folder, and no others.

    Raises:
        OSError: it cannot be read, or holds no certificates (`ssl.SSLError` is one).
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def trusting_anybody() -> ssl.SSLContext:
    """Checks nothing: for `tls_verify = false`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trusting_nobody() -> ssl.SSLContext:
    """For plain HTTP, where nothing is to be checked and nothing else to be believed."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=1)
def trusting_the_system() -> ssl.SSLContext:
    """Trusts whom the system trusts. Takes up to 300 ms the first time."""
    import httpx2  # noqa: PLC0415 - slow, and only there with the extra

    return httpx2.create_ssl_context(trust_env=False)
