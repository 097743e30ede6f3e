"""The tools over standard input and output, until the input ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.server.stdio import stdio_server

from dagstack_dev.agents.connection import Connection
from dagstack_dev.agents.protocol import AgentServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


async def serve_stdio(
    place: Path | None, *, read_only: bool = False, expose: Sequence[str] = ()
) -> None:
    """Serve the agent at standard input; nothing but the protocol is written to the output.

    Args:
        place: a socket, or a folder that the dev server watches; None for the current folder.
        read_only: whether tools that change something are left out.
        expose: the plugins whose own tools are offered beside ours; see `exposed.Exposed`.

    Raises:
        RuntimeError: this process serves already.
    """
    server = AgentServer(Connection(place), read_only=read_only, expose=expose).server
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
