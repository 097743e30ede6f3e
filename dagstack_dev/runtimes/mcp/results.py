"""From the answer of a tool, a resource or a prompt to a value in Python."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.runtime_errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool

_TYPED: Final = re.compile(r"(?s)(?:.*?: )?([A-Z]\w*(?:Error|Exception|Exit|Interrupt)): (.*)\Z")
"""How many servers write what was raised: `ValueError: too long`."""


def result_of(answer: Mapping[str, Any], tool: Tool | None) -> Any:
    """What a call returns: the structured result, else the text, else the content as JSON.

    Args:
        answer: a `CallToolResult` as the protocol spells it.
        tool: for its output schema.
    """
    if "structuredContent" in answer:
        value = answer["structuredContent"]
        return value["result"] if tool is not None and _is_wrapped(value, tool) else value
    content = answer.get("content") or []
    if not content:
        return None
    text = _text_of(content)
    return content if text is None else text


def _text_of(content: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of content that is one block of text and nothing else."""
    if len(content) != 1 or content[0].get("type") != "text":
        return None
    text: str = content[0]["text"]
    return text


def _is_wrapped(value: object, tool: Tool) -> bool:
    """Whether the SDK has put a result that is no object into one, with the key `result`.

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
    """The error for an answer that says `isError`."""
    content = answer.get("content") or []
    texts = [block["text"] for block in content if block.get("type") == "text"]
    message = "\n".join(texts) or "the server does not say why"
    typed = _TYPED.match(message)
    if typed is None:
        return ToolError(ref, tool, message, data=answer.get("structuredContent"))
    return ToolError(ref, tool, typed[2], type_name=typed[1], data=answer.get("structuredContent"))


def contents_of(answer: Mapping[str, Any]) -> Any:
    """What reading a resource returns: text, bytes, or a list where it has several parts."""
    parts = [_part(part) for part in answer.get("contents", ())]
    return parts[0] if len(parts) == 1 else parts


def _part(part: Mapping[str, Any]) -> str | bytes:
    text: str | None = part.get("text")
    return base64.b64decode(part.get("blob", "")) if text is None else text
