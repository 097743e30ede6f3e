"""Plugins that are MCP servers: a process of their own, or a service elsewhere.

The official SDK, extra `[mcp]`, takes more than a second to import. Only `session.py`, `peer.py`
and `http_connection.py` import it, and only the setup of such a plugin imports those.
"""

from __future__ import annotations

from importlib.util import find_spec


def is_installed() -> bool:
    """Return whether plugins with the runtimes `mcp_stdio` and `mcp_http` can be served.

    Releases of the SDK that are too old come without `httpx2`.
    """
    return find_spec("mcp") is not None and find_spec("httpx2") is not None
