"""Offers the API to coding agents, as tools of an MCP server over stdio or HTTP."""
