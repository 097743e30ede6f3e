"""What plugins offer: methods, and the tools, prompts and resources of those that are servers."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from dagstack_dev.api.arguments import signature_of
from dagstack_dev.api.parameters import parameters_of, shown_schema
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.secrets import masked_text
from dagstack_dev.host.calls.proxy import HOOK_PREFIX, unwrap
from dagstack_dev.runtimes.mcp.arguments import method_name
from dagstack_dev.runtimes.mcp.catalogue import Prompt, Resource
from dagstack_dev.runtimes.mcp.plugin import McpPlugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry.registry import Registry

PANEL_PREFIX: Final = "dev_panel_"
"""Before the name of a method that returns what a panel shows."""

LIST_SECONDS: Final = 5.0
"""How long a server may take to list its prompts or resources; the others are known by then."""

OURS: Final = ("setup", "teardown")
"""What the server itself calls."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method that can be called.

    Attributes:
        name: of the method.
        signature: as in its definition, without `self`.
        parameters: the JSON Schema of its arguments, an object; None where that is unknown.
        description: what its docstring says.
        path: the file that it stands in; None where that is unknown, as of a remote plugin.
        line: counted from 1.
    """

    name: str
    signature: str
    parameters: Mapping[str, Any] | None = None
    description: str = ""
    path: str | None = None
    line: int | None = None

    @property
    def panel(self) -> str | None:
        """The title of the panel that it is for, if it is for one."""
        words = self.name.removeprefix(PANEL_PREFIX).replace("_", " ").strip()
        is_panel = self.name.startswith(PANEL_PREFIX) and words
        return words[0].upper() + words[1:] if is_panel else None


@dataclass(frozen=True, slots=True)
class Offered:
    """What a plugin offers and is offered.

    Attributes:
        methods: those that can be called; none where it does not run.
        resources: the names of what it asks for and the app has.
    """

    methods: Sequence[Method] = ()
    resources: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """What can be called by name: a method, or a tool of a server.

    Attributes:
        name: of the method or tool.
        description: for people and models.
        parameters: the JSON Schema of its arguments, an object.
        title: a name to be shown, if its server gives one.
        returns: the JSON Schema of its structured result, likewise.
        annotations: hints such as `readOnlyHint`, likewise, as MCP spells them.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    title: str | None = None
    returns: Mapping[str, Any] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)


T = TypeVar("T", Tool, Prompt, Resource)


class Offers:
    """What each plugin offers.

    Of one that is being reloaded, or has failed, it is what it offered before: what may yet be
    rolled back is not shown, and what is coming back does not go away meanwhile. A list is sorted,
    and only of the plugins asked for, as `kind/name` or by a pattern such as `tool/*`, if any are.

    Args:
        registry: has the plugins.
        is_reloading: returns whether something of a plugin is being built or rolled back.
    """

    def __init__(self, registry: Registry, is_reloading: Callable[[PluginRef], bool]) -> None:
        self._registry = registry
        self._is_reloading = is_reloading
        self._methods: WeakKeyDictionary[type, dict[str, Method]] = WeakKeyDictionary()
        self._tools: dict[PluginRef, Sequence[Tool]] = {}
        self._prompts: dict[PluginRef, Sequence[Prompt]] = {}
        self._resources: dict[PluginRef, Sequence[Resource]] = {}

    async def methods(self, ref: PluginRef) -> Sequence[Method]:
        """Return the methods of what runs now; each class is looked at once, in steps."""
        plugin = self._registry.get_plugin(*ref)
        cls = type(plugin)
        known = self._methods.setdefault(cls, {})
        names = sorted(filter(is_public, cls.__dagstack_methods__))
        for name in names:
            if name not in known:  # Of very many, a limit of time may leave some for the next look.
                known[name] = await _described(name, *_functions(plugin, name))
        return [known[name] for name in names]

    async def tools(self, among: Collection[str]) -> list[tuple[PluginRef, Tool]]:
        """Return what can be called by name; of a server, its tools."""

        async def look(ref: PluginRef, plugin: Any) -> Sequence[Tool]:
            if isinstance(plugin, McpPlugin):
                return [_tool(each) for each in plugin.tools.values()]
            return [
                Tool(each.name, each.description, each.parameters)
                for each in await self.methods(ref)
                if each.parameters is not None and each.panel is None
            ]

        return await self._offered(among, self._tools, look)

    async def prompts(self, among: Collection[str]) -> list[tuple[PluginRef, Prompt]]:
        """Return the prompts of servers."""

        async def look(_: PluginRef, plugin: Any) -> Sequence[Prompt]:
            if not isinstance(plugin, McpPlugin):
                return ()
            return [*map(_masked, await plugin.list_prompts())]

        return await self._offered(among, self._prompts, look)

    async def resources(self, among: Collection[str]) -> list[tuple[PluginRef, Resource]]:
        """Return the resources of servers, and the templates of resources."""

        async def look(_: PluginRef, plugin: Any) -> Sequence[Resource]:
            if not isinstance(plugin, McpPlugin):
                return ()
            return [*map(_masked, await plugin.list_resources())]

        return await self._offered(among, self._resources, look)

    async def _offered(
        self,
        among: Collection[str],
        known: dict[PluginRef, Sequence[T]],
        look: Callable[[PluginRef, Any], Awaitable[Sequence[T]]],
    ) -> list[tuple[PluginRef, T]]:
        """Return what plugins offer, in an order that stays.

        Args:
            among: only those of these names or patterns; all if it is empty.
            known: what each offered at last; it is brought up to date.
            look: returns what a plugin that runs offers now, by its ref and its proxy.
        """
        table = self._registry.table
        present = {entry.ref for entry in table.present()}
        for gone in known.keys() - present:
            del known[gone]
        refs = sorted(ref for ref in present if not among or _is_among(str(ref), among))

        async def note(ref: PluginRef, plugin: Any) -> None:
            try:
                with anyio.move_on_after(LIST_SECONDS):
                    found = await look(ref, plugin)
                    known[ref] = sorted(found, key=_key)
            except PluginRegistryError:
                pass  # Its server has gone just now, or says that it cannot list them.

        async with anyio.create_task_group() as group:
            for ref in refs:
                is_ready = table.states.get(ref) is State.READY
                if not is_ready or self._is_reloading(ref):
                    continue
                plugin = self._registry.get_plugin(*ref)
                if isinstance(plugin, McpPlugin):
                    group.start_soon(note, ref, plugin)  # It may ask its server.
                else:
                    await note(ref, plugin)
                    await anyio.lowlevel.checkpoint()  # There may be ten thousand.
        return [(ref, each) for ref in refs for each in known.get(ref, ())]


def is_public(name: str) -> bool:
    """Return whether a method of this name is for callers."""
    return not name.startswith("_") and name not in OURS


def tool_named(ref: PluginRef, plugin: Any, name: str) -> str | None:
    """Return the tool that `name` means, as its server calls it; None where it means none.

    Args:
        ref: the plugin.
        plugin: its proxy.
        name: of the tool, or of the method that stands for it.
    """
    if not isinstance(plugin, McpPlugin):
        return None
    if name in plugin.tools:
        return name
    return next((each for each in plugin.tools if method_name(ref, each) == name), None)


def _is_among(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, each) for each in patterns)


def _tool(tool: Any) -> Tool:
    return Tool(
        tool.name,
        masked_text(tool.description),
        shown_schema(tool.input_schema),
        title=tool.title,
        returns=None if tool.output_schema is None else shown_schema(tool.output_schema),
        annotations=tool.annotations,
    )


def _masked(offered: T) -> T:
    return replace(offered, description=masked_text(offered.description))


def _key(offered: Tool | Prompt | Resource) -> str:
    """Return by what it is known, and sorted."""
    return offered.uri if isinstance(offered, Resource) else offered.name


def _functions(plugin: Any, name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what is called of a plugin, and what it leads to."""
    function = getattr(plugin, HOOK_PREFIX + name, None) or getattr(plugin, name)
    return function, inspect.unwrap(getattr(unwrap(plugin), name, function))


async def _described(name: str, function: Callable[..., Any], inner: Callable[..., Any]) -> Method:
    await anyio.lowlevel.checkpoint()  # Classes in annotations may take milliseconds.
    text = inspect.getdoc(function)
    about: Mapping[str, Any] = {
        "signature": signature_of(function),
        "parameters": parameters_of(function),
        "description": masked_text(text) if isinstance(text, str) else "",
    }
    code = getattr(inner, "__code__", None)
    is_ours = str(getattr(inner, "__module__", "")).startswith("dagstack_dev.")  # As of a tool.
    if code is None or is_ours or not code.co_filename.startswith("/"):
        return Method(name, **about)
    return Method(name, **about, path=code.co_filename, line=code.co_firstlineno)
