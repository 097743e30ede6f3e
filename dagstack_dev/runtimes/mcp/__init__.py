"""Plugins that are MCP servers: a process of their own, or a service elsewhere.

What a call goes through, and where each step is:

    await plugin.add(1, b=2)        plugin.py      the methods of an instance
      {"a": 1, "b": 2}              arguments.py   bound to the input schema, and checked
      tools/call                    session.py     what MCP wants in a request and in its answer
        id, progress, time limit    peer.py        and what the server begins by itself
          a line, or a POST         pipes.py; or http_connection.py, which tries again, and
                                    http_exchange.py, http_events.py, http_client.py
          an answer, however odd    wire.py
      3, or ToolError               catalogue.py   values of answers

A setup connects first (`endpoint.py`), as the manifest says (`stdio_settings.py`,
`http_settings.py`): `stdio.py` starts a `process.py`, `http.py` sends nothing yet. Then it shakes
hands (`handshake.py`), and makes its class of the tools that are listed. `generation.py` is what
reloads see of all this, `snapshot_copy.py` the files that an old generation comes back to.

Only `http_connection.py` and what it imports need the extra `[mcp]`, for `httpx2`; only a plugin's
first connection imports them.
"""
