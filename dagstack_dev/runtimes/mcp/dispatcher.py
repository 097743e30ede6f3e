"""Between the SDK's session and its JSON-RPC: answers as the server spells them.

The SDK holds each answer against its models, and a listing of a hundred tools fails for one that
is not quite right. So it sees no more of an answer than it needs, and we read the whole.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.shared.dispatcher import CallOptions

_HOLDS: Final = {
    "tools/call": "content",
    "resources/read": "contents",
    "prompts/get": "messages",
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
"""The list that an answer to each of these must have."""

_PARTS: Final = frozenset({"tools", "resources", "prompts"})
"""What of a server's capabilities concerns us."""

_REST: Final = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""What else versions of the protocol ask for."""


class Answers(JSONRPCDispatcher[TransportContext]):
    """The SDK's dispatcher, which keeps the latest answer as it came.

    Attributes:
        latest: that answer; to be read before anything is awaited.
        is_modern: whether the SDK is to see the tools, which later versions of the protocol have
            name headers.
    """

    latest: dict[str, Any]
    is_modern = False

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
        *,
        _related_request_id: int | str | None = None,
    ) -> dict[str, Any]:
        """Send a request; what the SDK is to see of its answer."""
        related = _related_request_id
        answer = await super().send_raw_request(method, params, opts, _related_request_id=related)
        self.latest = answer
        if method == "initialize":
            return _handshake(answer)
        if method not in _HOLDS:
            return answer
        tools = _tools(answer) if self.is_modern and method == "tools/list" else []
        return {_HOLDS[method]: tools, **_REST}


def _tools(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Names and schemas, where these can tell of headers."""
    listed = answer.get("tools")
    return [
        {"name": each["name"], "inputSchema": {**each["inputSchema"], "type": "object"}}
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and isinstance(each.get("inputSchema"), dict)
        and isinstance(each["inputSchema"].get("$schema", ""), str)
    ]


def _handshake(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer to `initialize` with what is odd in it left out, if it is one of MCP."""
    version, info = answer.get("protocolVersion"), answer.get("serverInfo")
    if not isinstance(version, str) or not isinstance(info, dict | None):
        return answer
    given = answer.get("capabilities")
    has = given if isinstance(given, dict) else {}
    instructions = answer.get("instructions")
    return {
        "protocolVersion": version,
        "serverInfo": {key: str((info or {}).get(key) or "?") for key in ("name", "version")},
        "capabilities": {
            part: {"listChanged": isinstance(of, dict) and of.get("listChanged") is True}
            for part, of in has.items()
            if part in _PARTS and of is not None and of is not False
        },
        "instructions": instructions if isinstance(instructions, str) else None,
    }
