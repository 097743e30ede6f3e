"""The plugin greeter: an MCP server, whose tools other plugins call like methods."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("greeter")


@server.tool()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    server.run("stdio")
