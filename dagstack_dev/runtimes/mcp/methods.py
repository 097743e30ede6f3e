"""The class of one generation: one method for each tool that its server has."""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from typing import TYPE_CHECKING, Any
from unicodedata import is_normalized, normalize

from dagstack_dev.runtimes.mcp.arguments import Arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool


def class_of(
    base: type, ref: PluginRef, tools: Collection[Tool], *, description: str | None
) -> tuple[type, Mapping[str, Arguments]]:
    """A subclass of `base` with a method for each tool, and how each tool is called.

    A tool whose name is no identifier, or that of something that `base` has, gets no method;
    `{kind}.{plugin}.{hook}` gets one by the name of the hook (ADR-4).

    Args:
        base: has `_call(tool, arguments)`.
        ref: the plugin.
        tools: as the server lists them.
        description: what the class says of itself.
    """
    arguments = {tool.name: Arguments(ref, tool) for tool in tools}
    members: dict[str, Any] = {"__doc__": description or f"The MCP server {ref}."}
    # Of names that are one in Python, the one that is written so has the method.
    for tool in sorted(tools, key=lambda each: not is_normalized("NFKC", each.name)):
        name = method_name(ref, tool.name)
        if name is not None and not hasattr(base, name) and name not in members:
            members[name] = _method(name, tool, arguments[tool.name])
    title = "".join(part.capitalize() for part in ref.name.replace(".", "-").split("-"))
    return type(title, (base,), members | {"__module__": base.__module__}), arguments


def method_name(ref: PluginRef, tool: str) -> str | None:
    """The name of the method that stands for a tool, or None if there can be none."""
    name = normalize("NFKC", tool.removeprefix(f"{ref.kind}.{ref.name}."))
    usable = name.isidentifier() and not iskeyword(name) and not name.startswith("_")
    return name if usable else None


def _method(name: str, tool: Tool, arguments: Arguments) -> Callable[..., Any]:
    # The signature is shown, not compiled: a context in front has to be let through.
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await self._call(tool, arguments.of_call(args, kwargs))

    method.__name__ = name
    method.__qualname__ = name
    method.__doc__ = tool.description or tool.title
    method.__signature__ = arguments.signature  # type: ignore[attr-defined]
    return method
