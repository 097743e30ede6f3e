"""Plugins that are MCP servers: a process of their own, or a service elsewhere.

The official SDK, extra `[mcp]`, takes more than a second to import. Only `session.py`,
`sdk_errors.py` and `messages.py` import it, and only the setup of such a plugin imports those.
"""
