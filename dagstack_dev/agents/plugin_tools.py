"""Calls of plugins, from a list that has all of them: `list_plugin_tools` and `call`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mcp.types import (
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import Field, TypeAdapter, ValidationError

from dagstack_dev.agents.tool import (
    MARK,
    Answer,
    Arguments,
    Call,
    FromPlugin,
    ToolProblem,
    fenced,
    one_line,
    present,
)
from dagstack_dev.agents.wrong import AccountPart, read_aloud

if TYPE_CHECKING:
    from collections.abc import Mapping


MOST_TEXT: Final = 90_000
"""Bytes of a list or a result, which stands in the answer twice: more is of no use to a model."""

_MOST_BYTES: Final = 4_000_000
"""Of all content, with images. Some clients end the session at a message of ten megabytes."""

_MOST_OF_ERROR: Final = 20_000
"""Characters of what a plugin raises."""

_BLOCK: Final[TypeAdapter[ContentBlock]] = TypeAdapter(ContentBlock)


class PluginTool(FromPlugin):
    """Something of a plugin that can be called."""

    plugin: str = Field(description="As kind/name.")
    name: str = Field(description="What to pass to `call` as method.")
    description: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the arguments, an object.")

    def in_words(self) -> str:
        """Return it in some lines."""
        schema = json.dumps(self.parameters, ensure_ascii=False)
        return f"{self.plugin}:\n{fenced(present(self.name, self.description, schema))}"


class PluginTools(Answer):
    """What plugins offer to be called."""

    tools: list[PluginTool]
    more: int = Field(description="How many there are besides; name plugins to see them.")

    def in_words(self) -> str:
        """Return each in some lines."""
        more = self.more and f"and {self.more} more; name plugins to see them"
        none = not self.tools and "No plugin that runs offers anything to be called."
        return present(none, *(each.in_words() for each in self.tools), more)


class ListArguments(Arguments):
    """Which plugins."""

    plugins: list[str] = Field(
        default_factory=list,
        description="Only these, as kind/name, a name alone, or a pattern such as tool/*.",
    )


class CallArguments(Arguments):
    """What to call."""

    plugin: str = Field(description="As kind/name, or the name alone where only one has it.")
    method: str = Field(description="The method, or the tool of a plugin that is an MCP server.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="By name.")
    timeout_seconds: float = Field(60.0, gt=0, le=3600)


class Called(FromPlugin, Answer):
    """What a call has returned."""

    plugin: str
    method: str
    duration_ms: float
    result: Any = Field(None, description="As JSON.")
    text: str | None = Field(None, description="Its repr, where JSON has no form for it.")
    content: list[Any] | None = Field(default=None, exclude=True)  # The blocks show it.

    def in_words(self) -> str:
        """Return how long it took; the result follows, see `blocks`."""
        return f"{self.plugin} {self.method} returned after {self.duration_ms:.0f} ms:"

    def blocks(self) -> list[ContentBlock]:
        """Return the result as content: of a server all that it has sent, such as images."""
        if self.content:
            return [*map(_block, self.content)]
        text = self.result if self.text is None else self.text
        if not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False)
        return [TextContent(text=fenced(text))]


async def list_plugin_tools(call: Call, arguments: ListArguments) -> PluginTools:
    """Return what plugins offer to be called, by name."""
    among = [await _pattern(call, each) for each in arguments.plugins]
    found = (await call.get("tools", plugin=among or None))["tools"]
    tools, size = list[PluginTool](), 0
    for each in map(PluginTool.model_validate, found):
        size += len(each.model_dump_json())
        if size > MOST_TEXT:
            break
        tools.append(each)
    return PluginTools(tools=tools, more=len(found) - len(tools))


async def _pattern(call: Call, text: str) -> str:
    return text if "*" in text else await call.ref(text, is_there=True)


async def call_plugin(call: Call, arguments: CallArguments) -> Called:
    """Call a method or tool of a plugin.

    Raises:
        ToolProblem: it has raised, or what it returns is too large.
    """
    found = await call.post(
        "call",
        plugin=await call.ref(arguments.plugin),
        method=arguments.method,
        arguments=arguments.arguments,
        timeout_seconds=arguments.timeout_seconds,
    )
    raise_error_of(found, arguments.method)
    called = Called.model_validate(found)
    blocks = [(each.type, len(each.model_dump_json())) for each in called.blocks()]
    texts = [size for kind, size in blocks if kind == "text"]
    _check_size(called, max(len(called.model_dump_json()), sum(texts)), MOST_TEXT)
    _check_size(called, sum(size for _, size in blocks), _MOST_BYTES)
    return called


def _check_size(called: Called, size: int, most: int) -> None:
    if size > most:
        raise ToolProblem(
            f"{called.plugin} has returned {size / 1000:,.0f} kB, and {most / 1000:,.0f} kB can be "
            "passed on; ask it for less"
        )


def raise_error_of(answer: Mapping[str, Any], what: str) -> None:
    """Raise what a plugin has raised.

    Args:
        answer: of the API.
        what: was asked of the plugin.

    Raises:
        ToolProblem: it has raised something: what, and where in its code.
    """
    if (error := answer["error"]) is None:
        return
    account = [AccountPart.model_validate(each) for each in answer["account"]]
    text = read_aloud(account) or f"{error['type']}: {error['message']}"
    if len(text) > _MOST_OF_ERROR:
        text = f"{text[:_MOST_OF_ERROR]} ... and {len(text) - _MOST_OF_ERROR} characters more"
    raise ToolProblem(f"{answer['plugin']} {one_line(what)} raised:\n{fenced(text)}")


def result_of(called: Called) -> CallToolResult:
    """Return the result of a plugin's tool as if the plugin itself were asked over MCP."""
    structured = called.result if isinstance(called.result, dict) else None
    return CallToolResult(meta=MARK, content=called.blocks(), structured_content=structured)


def _block(block: object) -> ContentBlock:
    """Return a block of content; one that MCP does not know as text."""
    try:
        known = _BLOCK.validate_python(block)
    except ValidationError:
        return TextContent(text=fenced(json.dumps(block, ensure_ascii=False)))
    match known:
        case TextContent(text=text):
            return known.model_copy(update={"text": fenced(text)})
        case EmbeddedResource(resource=TextResourceContents(text=text) as held):
            marked = held.model_copy(update={"text": fenced(text)})
            return known.model_copy(update={"resource": marked})
        case ResourceLink(description=str(text)):
            return known.model_copy(update={"description": fenced(text), "title": None})
        case _:
            return known
