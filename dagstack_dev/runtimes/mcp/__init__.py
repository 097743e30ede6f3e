"""Plugins that are MCP servers: a process of their own, or a service elsewhere.

What a call goes through, and where each step is:

    await plugin.add(1, b=2)        plugin.py      the methods of an instance
      {"a": 1, "b": 2}              arguments.py   bound to the input schema, and checked
      tools/call                    session.py     the SDK's session says what a request holds
        id, progress, time limit    peer.py        and what the server says by itself
          a line, or a POST         pipes.py, or http_connection.py over http_exchange.py
          an answer, however odd    wire.py
      3, or ToolError               catalogue.py   values of answers

A setup connects first (`endpoint.py`): `stdio.py` starts a `process.py`, `http.py` only looks up
what it takes. Then it shakes hands, and makes its class of the tools that are listed.

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
