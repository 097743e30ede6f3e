"""The handshake with an MCP server: which version is spoken, and what the server offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from dagstack_dev._version import __version__
from dagstack_dev.runtimes.mcp import dialect
from dagstack_dev.runtimes.mcp.wire import (
    HANDSHAKE_VERSIONS,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    ErrorAnswer,
    NoAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.runtimes.mcp.peer import Peer

_US: Final = {"name": "dagstack-dev", "version": __version__}

_MODERN_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientInfo": _US,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/logLevel": "debug",
}
"""What each request of the modern version holds, which has no handshake to say it in."""

_UNSUPPORTED_VERSION: Final = -32022


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a server offers.

    Attributes:
        version: of the protocol; None for the dialect of dagstack-plugin-system.
        capabilities: as the protocol spells them.
        instructions: what the server says of itself, or None.
    """

    version: str | None
    capabilities: Mapping[str, Any]
    instructions: str | None

    @classmethod
    def of(cls, version: str | None, said: Mapping[str, Any]) -> Self:
        """Return what a server says that it offers; what is odd of it is left out.

        Args:
            version: of the protocol.
            said: the result of the handshake.
        """
        given, text = said.get("capabilities"), said.get("instructions")
        capabilities = given if isinstance(given, dict) else {}
        return cls(version, capabilities, text if isinstance(text, str) else None)

    def has(self, part: str) -> bool:
        """Return whether the server has `tools`, say."""
        offered = self.capabilities.get(part)
        return offered is not None and offered is not False

    @property
    def must_subscribe(self) -> bool:
        """Whether the server announces new tools only to clients that subscribe."""
        tools = self.capabilities.get("tools")
        changes = isinstance(tools, dict) and tools.get("listChanged") is True
        return changes and self.version == MODERN_VERSION


NONE: Final = Agreement("", {}, None)
"""Before the handshake."""


async def shake_hands(peer: Peer) -> Agreement:
    """Agree on a version of the protocol, or on the dialect of dagstack-plugin-system.

    `initialize` comes first, which every server knows; one that refuses it, being of a later
    version than that, is asked `server/discover`.

    Raises:
        ErrorAnswer: the server refuses both.
        NoAnswer: what comes back is not what an MCP server says.
    """
    newest = HANDSHAKE_VERSIONS[-1]
    params = {"protocolVersion": newest, "capabilities": {}, "clientInfo": _US}
    try:
        answer = await peer.ask("initialize", params)
    except ErrorAnswer as error:
        if error.code not in {_UNSUPPORTED_VERSION, METHOD_NOT_FOUND}:
            raise
        return await _discover(peer)
    said = answer if isinstance(answer, dict) else {}
    version = said.get("protocolVersion")
    if not isinstance(version, str):
        if not dialect.is_spoken(said):
            raise NoAnswer("its answer to initialize names no version of the protocol")
        return Agreement(None, {}, None)
    if version not in HANDSHAKE_VERSIONS:
        raise NoAnswer(f"Unsupported protocol version from the server: {version}")
    await peer.notify("notifications/initialized")
    return Agreement.of(version, said)


async def _discover(peer: Peer) -> Agreement:
    """Agree with a server that knows no `initialize`."""
    peer.meta = _MODERN_META
    answer = await peer.ask("server/discover", {})
    said = answer if isinstance(answer, dict) else {}
    versions = said.get("supportedVersions")
    if not isinstance(versions, list) or MODERN_VERSION not in versions:
        raise NoAnswer(f"it supports the versions {versions} and not {MODERN_VERSION}")
    return Agreement.of(MODERN_VERSION, said)
