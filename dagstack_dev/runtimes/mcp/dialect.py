"""What servers for dagstack-plugin-system speak: JSON-RPC, but not public MCP.

Such a server answers `initialize` with its capabilities and no version of a protocol, and has the
methods `get_schema`, `execute` and `shutdown` in place of tools (contract, section 13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

from dagstack_dev.runtimes.mcp.catalogue import Tool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_MCP_WORDS: Final = frozenset({"initialize", "ping"})
"""The methods of MCP that have no slash in their names."""

_SHUTDOWN_SECONDS: Final = 5.0

TOOLS: Final = (
    Tool("get_schema", "What the plugin is, and what it takes.", {"type": "object"}),
    Tool(
        "execute",
        "Call the plugin.",
        {
            "type": "object",
            "properties": {"args": {"type": "object"}},
            "required": ["args"],
        },
    ),
    Tool(
        "call",
        "Call any method of the server.",
        {
            "type": "object",
            "properties": {"method": {"type": "string"}, "params": {"type": "object"}},
            "required": ["method"],
        },
    ),
)
"""What a plugin has in place of its server's tools; `call` reaches whatever else there is."""


class Dialect:
    """Calls the methods of one such server, one at a time as it expects.

    Args:
        ask: sends a request by method, parameters and seconds, and returns its result.
    """

    def __init__(self, ask: Callable[[str, dict[str, Any], float], Awaitable[Any]]) -> None:
        self._ask = ask
        self._turn = anyio.Lock()

    async def call(self, tool: Tool, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Return the result of one call.

        Args:
            tool: one of `TOOLS`.
            arguments: valid ones.
            seconds: how long it may take, once it is its turn.
        """
        method, params = tool.name, dict(arguments)
        if tool.name == "call":
            method, params = params["method"], params.get("params", {})
        async with self._turn:
            return await self._ask(method, params, seconds)

    async def shut_down(self, seconds: float) -> None:
        """Ask the server to end; that it fails is no matter, for its process is stopped anyhow.

        Args:
            seconds: for the whole teardown; a part of them is for this.
        """
        await self._ask("shutdown", {}, min(_SHUTDOWN_SECONDS, seconds / 4))


def is_spoken(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer to `initialize` that names no version is one in the dialect."""
    return "serverInfo" not in answer and bool({"capabilities", "server_info"} & answer.keys())


def may_repeat(method: str) -> bool:
    """Return whether a request may arrive twice, as what a server does on demand may not."""
    return "/" in method or method in _MCP_WORDS or method == "get_schema"
