"""Who asks: a coding agent and its tool, as headers of a request and as a fact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from dagstack_dev.core.events import AgentAsked
from dagstack_dev.core.refs import PluginRef

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLIENT: Final = "dagstack-client"
_TOOL: Final = "dagstack-tool"


def headers_of(client: str, tool: str) -> Mapping[str, str]:
    """Return the headers that say who asks.

    Args:
        client: the name of the agent's program; any text.
        tool: the name of the tool.
    """
    return {_CLIENT: quote(client), _TOOL: quote(tool)}


def asked_by(headers: Mapping[str, str], body: bytes) -> AgentAsked | None:
    """Return that an agent has asked for this; None where it was no agent.

    Of what is passed, only the names are kept: values may be secret.
    """
    if _CLIENT not in headers:
        return None
    try:
        asked = json.loads(body or b"{}")
    except ValueError:
        asked = None
    asked = asked if isinstance(asked, dict) else {}
    kind, slash, name = str(asked.get("plugin", "")).partition("/")
    passed = asked.get("arguments", asked)
    return AgentAsked(
        ref=PluginRef(kind, name) if slash else None,
        client=unquote(headers[_CLIENT]),
        tool=unquote(headers.get(_TOOL, "")),
        method=asked.get("method"),
        arguments=tuple(passed) if isinstance(passed, dict) else (),
    )
