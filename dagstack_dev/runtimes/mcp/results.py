"""From the answer of a tool, a resource or a prompt to a value in Python."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.remote import ToolError, ToolResultInvalid
from dagstack_dev.runtimes.mcp.server_log import shortened

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool

_TYPED: Final = re.compile(r"(?s)(?:.*?: )?([A-Z]\w*(?:Error|Exception|Exit|Interrupt)): (.*)\Z")
"""How many servers write what was raised: `ValueError: too long`."""


def result_of(ref: PluginRef, answer: Mapping[str, Any], tool: Tool) -> Any:
    """Return the structured result, else the text, else the content as JSON.

    Args:
        ref: the plugin, for messages.
        answer: a `CallToolResult` as the protocol spells it, more or less.
        tool: for its output schema.

    Raises:
        ToolResultInvalid: it does not fit the output schema.
    """
    value: Any = answer.get("structuredContent")
    output = tool.returns
    # Some servers write null where they have none.
    is_null = value is None and output is not None and output.problem_of(None) is None
    if value is None and not (is_null and "structuredContent" in answer):
        content = _blocks(answer)
        plain = _text_of(content[0]) if len(content) == 1 else None
        if output is not None:
            said = "" if plain is None else f", but text: {shortened(plain)}"
            reason = f"it has an output schema, and its answer no structured content{said}"
            raise ToolResultInvalid(ref, tool.name, reason)
        return (content or None) if plain is None else plain
    if output is not None and (problem := output.problem_of(value)):
        place = ".".join(["structuredContent", *filter(None, problem[:1])])
        raise ToolResultInvalid(ref, tool.name, f"{place} {problem[1]}")
    return value["result"] if _is_wrapped(value, tool) else value


def _blocks(answer: Mapping[str, Any]) -> list[Any]:
    """Return the content of an answer; some servers do not put a single block into a list."""
    content = answer.get("content")
    if content is None:
        return []
    return content if isinstance(content, list) else [content]


def _text_of(block: object) -> str | None:
    """Return the text of a block of text."""
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping) or block.get("type") != "text":
        return None
    text = block.get("text")
    return text if isinstance(text, str) else None


def _is_wrapped(value: object, tool: Tool) -> bool:
    """Return whether the SDK has put a result that is no object into one, with the key `result`.

    It marks the schema: by the title that it makes up, or in earlier versions by an extension.
    """
    schema = tool.output_schema or {}
    if not isinstance(value, Mapping) or value.keys() != {"result"}:
        return False
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or properties.keys() != {"result"}:
        return False
    title = schema.get("title")
    return bool(schema.get("x-fastmcp-wrap-result")) or (
        isinstance(title, str) and title.endswith("Output")
    )


def error_of(ref: PluginRef, tool: str, answer: Mapping[str, Any]) -> ToolError:
    """Return the error for an answer that says `isError`."""
    texts = [text for block in _blocks(answer) if (text := _text_of(block))]
    message = "\n".join(texts) or "the server does not say why"
    typed = _TYPED.match(message)
    if typed is None:
        return ToolError(ref, tool, message, data=answer.get("structuredContent"))
    return ToolError(ref, tool, typed[2], type_name=typed[1], data=answer.get("structuredContent"))


def contents_of(ref: PluginRef, what: str, answer: Mapping[str, Any]) -> Any:
    """Return the text or bytes of a resource; a list where it has several parts.

    Raises:
        ToolResultInvalid: a part is neither.
    """
    listed = answer.get("contents")
    try:
        parts = [_part(part) for part in (listed if isinstance(listed, list) else [listed])]
    except (AttributeError, KeyError, TypeError, ValueError):
        reason = "the answer holds something that is neither text nor bytes"
        raise ToolResultInvalid(ref, what, reason) from None
    return parts[0] if len(parts) == 1 else parts


def _part(part: Any) -> str | bytes:
    text = part.get("text")
    return text if isinstance(text, str) else base64.b64decode(part["blob"])
