"""What the SDK raises, in words and as errors of ours.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.shared.exceptions import MCPError
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT
from pydantic import ValidationError

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.remote import ToolError, ToolResultInvalid
from dagstack_dev.runtimes.mcp.wire import PARSE_ERROR, plain_data, said_by_server

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


def is_loss(error: MCPError) -> bool:
    """Whether the SDK says that the connection is closed, by a code that servers use as well."""
    return error.code == CONNECTION_CLOSED and not said_by_server(error.data)


def is_timeout(error: MCPError) -> bool:
    """Whether the SDK says that the time is over, by a code that servers use as well."""
    return error.code == REQUEST_TIMEOUT and not said_by_server(error.data)


def tool_failure(ref: PluginRef, what: str, error: Exception) -> ToolError:
    """The error for a request that was refused, or whose answer is not what it should be.

    `what` names the tool, or what else was asked for.
    """
    if not isinstance(error, MCPError):
        return ToolResultInvalid(ref, what, one_line(error))
    if not said_by_server(error.data):
        kind = ToolResultInvalid if error.code == PARSE_ERROR else ToolError
        return kind(ref, what, error.message)
    data = plain_data(error.data)
    typed = data.get("type") if isinstance(data, dict) else None
    type_name = typed if isinstance(typed, str) else None
    return ToolError(ref, what, error.message, type_name=type_name, code=error.code, data=data)


def one_line(error: Exception) -> str:
    """What is wrong, without the many lines that schema libraries add to it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if not str(part)[:1].isupper())
        return f"{place}: {first['msg']}" if place else first["msg"]
    return in_words(error).partition("\n")[0]
