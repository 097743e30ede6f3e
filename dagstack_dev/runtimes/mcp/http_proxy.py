"""The proxy that the environment has for a URL, and which variable names it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: with its scheme, and with credentials if it has any.
        source: what names it, in words.
    """

    url: str
    source: str


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy through which `url` is to be reached; None where it is reached directly."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    known = getproxies()  # Those of the system as well, where it has any.
    found = next((name for name in (parts.scheme, "all") if known.get(name)), None)
    if found is None or _is_direct(known.get("no", ""), host, port):
        return None
    if proxy_bypass(f"{host}:{port}"):
        return None
    value = known[found]
    names = (f"{found}_proxy", f"{found.upper()}_PROXY")
    variable = next((name for name in names if os.environ.get(name) == value), None)
    source = variable or "the settings of the system"
    return Proxy(value if "://" in value else f"http://{value}", source)


def _is_direct(no_proxy: str, host: str, port: int) -> bool:
    """Return whether `NO_PROXY` names a host: by its name, a domain, an address or a network."""
    host = host.lower().rstrip(".")
    for entry in no_proxy.replace(",", " ").lower().split():
        name, _, only_port = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
        if only_port and only_port != str(port):
            continue
        name = name.removeprefix("*.").strip("[].")
        if name and (name in {"*", host} or host.endswith(f".{name}")):
            return True
        try:
            if ip_address(host) in ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False
