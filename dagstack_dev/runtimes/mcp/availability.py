"""Whether the MCP SDK is installed, without importing it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec


@cache
def is_installed() -> bool:
    """Whether plugins with the runtimes `mcp_stdio` and `mcp_http` can be served."""
    return find_spec("mcp") is not None
