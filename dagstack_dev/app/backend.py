"""What the API asks of a dev server; every function runs in the event loop of the plugins."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic_core import (
    PydanticSerializationError,
    SchemaSerializer,
    core_schema,
    to_jsonable_python,
)

from dagstack_dev.api.backend import (
    Activity,
    ArgumentsInvalid,
    NotCallable,
    Offered,
    Page,
    Returned,
)
from dagstack_dev.app.arguments import bound, read_texts
from dagstack_dev.app.offers import OURS, Offers, is_public, tool_named
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.calls import NoSuchMethod
from dagstack_dev.core.errors.remote import ToolArgumentsInvalid
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.host.calls.proxy import HOOK_PREFIX
from dagstack_dev.runtimes.mcp.arguments import method_name
from dagstack_dev.runtimes.mcp.plugin import McpPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from dagstack_dev.api.backend import About, Tool
    from dagstack_dev.app.publication import Publication
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry.registry import Registry
    from dagstack_dev.page.access import Access
    from dagstack_dev.runtimes.mcp.catalogue import Prompt, Resource

MOST_ITEMS: Final = 1000
MOST_IN_ALL: Final = 10_000
"""How much is taken of an iterator in a result, and of all together."""

_ANY: Final = SchemaSerializer(core_schema.any_schema())


class Server(Protocol):
    """What is asked of a dev server; see `app.server.DevServer`."""

    @property
    def registry(self) -> Registry:
        """What runs."""

    @property
    def is_busy(self) -> bool:
        """Whether something that was saved or asked for is being dealt with. Of any thread."""

    @property
    def is_paused(self) -> bool:
        """Whether edits wait. Of any thread."""

    @property
    def has_edits_waiting(self) -> bool:
        """Whether some do. Of any thread."""

    async def reload(self, *refs: PluginRef) -> None:
        """Reload plugins although nothing changed; all of them when none is named."""

    async def wait_idle(self) -> None:
        """Wait until everything has been dealt with that is on disk now, and does not wait."""

    def pause(self, *, paused: bool) -> None:
        """Let edits wait, or have those that have waited dealt with."""

    def is_reloading(self, ref: PluginRef) -> bool:
        """Return whether something of a plugin is being built or rolled back."""

    def end_soon(self) -> None:
        """Have the server stop, without waiting for it."""


class Owner(Protocol):
    """What is asked of what has a server answer; see `app.local_api.LocalApi`."""

    @property
    def page(self) -> Access | None:
        """What lets a browser into the dev page; None while none is served. Of any thread."""

    def serve_page(self) -> Access:
        """Serve the dev page, if it is not served yet."""

    def open(self, path: str, line: int) -> None:
        """Show a place to the owner of the server. Of any thread."""


class ServerBackend:
    """A dev server, as the API sees it; see `api.backend.Backend`.

    Args:
        server: the server.
        about: what never changes of it.
        publication: what has changed.
        owner: what has it answer.
        on_stop: called when the server is asked to end.
    """

    def __init__(
        self,
        server: Server,
        about: About,
        publication: Publication,
        owner: Owner,
        on_stop: Callable[[], object],
    ) -> None:
        self._server = server
        self._publication = publication
        self._owner = owner
        self._on_stop = on_stop
        self._offers = Offers(server.registry, server.is_reloading)
        self.about = about

    def now(self) -> Activity:
        """Return what the server is doing. Of any thread."""
        return Activity(
            is_busy=self._server.is_busy or self._publication.is_due,
            is_paused=self._server.is_paused,
            has_edits_waiting=self._server.has_edits_waiting,
            snapshot=self._publication.board.snapshot,
        )

    async def reload(self, refs: Collection[PluginRef], *, everything: bool) -> Activity:
        """Reload `refs`, or `everything`, and what differs on disk; return how all is at rest."""
        if refs or everything:
            await self._server.reload(*(() if everything else refs))
        await self._server.wait_idle()
        self._publication.flush()
        return self.now()

    async def call(
        self, ref: PluginRef, method: str, arguments: Mapping[str, Any], *, coerce: bool
    ) -> Returned:
        """Call a method of a plugin; see `api.backend.Backend.call`."""
        try:
            plugin = await self._open(ref)
            tool = tool_named(ref, plugin, method)
            function = None if tool is not None else _method(plugin, ref, method)
        except PluginRegistryError as error:
            raise NotCallable(str(error)) from error
        if function is None:
            return await _answer_of_tool(plugin, ref, tool or "", arguments, coerce=coerce)
        given = bound(function, method, arguments, coerce=coerce)
        result = function(**given)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncIterator):
            result = await _taken(result)
        return _returned(result)

    async def offered(self, ref: PluginRef) -> Offered:
        """Return what a plugin offers and is offered; each class is looked at once, in steps."""
        registry = self._server.registry
        entry = registry.table.present_entry(ref)
        if entry is None:
            return Offered()
        asked_for = entry.manifest.resources
        resources = (*asked_for.required, *asked_for.optional)
        return Offered(
            methods=() if entry.instance is None else await self._offers.methods(ref),
            resources=[each for each in resources if each in registry.resources],
        )

    async def tools(self, among: Collection[str]) -> list[tuple[PluginRef, Tool]]:
        """Return what plugins offer to be called by name."""
        return await self._offers.tools(among)

    async def prompts(self, among: Collection[str]) -> list[tuple[PluginRef, Prompt]]:
        """Return the prompts of those that are servers."""
        return await self._offers.prompts(among)

    async def resources(self, among: Collection[str]) -> list[tuple[PluginRef, Resource]]:
        """Return the resources of those that are servers."""
        return await self._offers.resources(among)

    async def prompt(self, ref: PluginRef, name: str, arguments: Mapping[str, str]) -> Returned:
        """Get a prompt of a server; see `api.backend.Backend.prompt`."""
        server = await self._mcp_server(ref)
        return _returned(await server.get_prompt(name, **arguments))

    async def resource(self, ref: PluginRef, uri: str) -> Returned:
        """Read a resource of a server; see `api.backend.Backend.resource`."""
        server = await self._mcp_server(ref)
        return _returned(await server.read_resource(uri, whole=True))

    async def _open(self, ref: PluginRef) -> Any:
        """Return the proxy of a plugin when calls may pass, which some cannot wait for.

        Raises:
            PluginRegistryError: there is no such plugin, or it cannot be called now.
        """
        registry = self._server.registry
        plugin = registry.get_plugin(*ref)
        await registry.table.entries[ref].gate.pass_through()
        return plugin

    async def _mcp_server(self, ref: PluginRef) -> Any:
        try:
            plugin = await self._open(ref)
        except PluginRegistryError as error:
            raise NotCallable(str(error)) from error
        if not isinstance(plugin, McpPlugin):
            raise NotCallable(f"{ref} is no MCP server, and has neither prompts nor resources")
        return plugin

    def publish(self, fact: Fact) -> None:
        """Report a fact."""
        self._server.registry.table.publish(fact)

    def pause(self, *, paused: bool) -> None:
        """Let edits wait, or have those that have waited dealt with."""
        self._server.pause(paused=paused)

    def stop(self) -> None:
        """Have the server end."""
        self._on_stop()

    @property
    def page(self) -> Page | None:
        """The dev page; None while none is served. Of any thread."""
        access = self._owner.page
        return None if access is None else Page(access.url, str(access.file))

    def serve_page(self) -> Page:
        """Serve the dev page, if it is not served yet."""
        access = self._owner.serve_page()
        return Page(access.url, str(access.file))

    def open(self, path: str, line: int) -> None:
        """Show a place to the owner of the server. Of any thread."""
        self._owner.open(path, line)


async def _answer_of_tool(
    plugin: Any, ref: PluginRef, tool: str, arguments: Mapping[str, Any], *, coerce: bool
) -> Returned:
    """Call a tool of a plugin that is a server."""
    if coerce:
        function = getattr(plugin, method_name(ref, tool) or "", None)
        arguments = read_texts(function, arguments)
    try:
        answer = await plugin.call_tool(tool, arguments, whole=True)
    except ToolArgumentsInvalid as error:
        raise ArgumentsInvalid(str(error), error.argument or None) from error
    return replace(_returned(answer.value), content=answer.content)


def _returned(result: Any) -> Returned:
    """Return a result as values that JSON has a form for, or else its `repr`."""
    try:
        return Returned(to_jsonable_python(_finite(result), inf_nan_mode="strings"))
    except (PydanticSerializationError, RecursionError, ValueError):  # Or it holds itself.
        return Returned(text=repr(result))


async def _taken(items: AsyncIterator[Any]) -> list[Any]:
    """Return at most `MOST_ITEMS` of `items`."""
    taken: list[Any] = []
    async for each in items:
        taken.append(each)
        if len(taken) == MOST_ITEMS:
            break
    return taken


def _finite(value: Any) -> Any:
    """Return `value` with at most `MOST_ITEMS` of each iterator in it, in models and the like, too.

    Raises:
        ValueError: it holds itself.
    """
    plain = _ANY.to_python(value, by_alias=True, warnings=False)  # Leaves iterators alone.
    return _cut(plain, iter(range(MOST_IN_ALL))) if _holds_iterator(plain) else value


def _holds_iterator(value: Any) -> bool:
    match value:
        case list() | tuple() | set() | frozenset():
            return any(map(_holds_iterator, value))
        case dict():
            return any(map(_holds_iterator, value.values()))
        case _:
            return isinstance(value, Iterator)


def _cut(value: Any, left: Iterator[int]) -> Any:
    match value:
        case Iterator():
            some = zip(range(MOST_ITEMS), left, value, strict=False)
            return [_cut(each, left) for *_, each in some]
        case list() | tuple() | set() | frozenset():
            return [_cut(each, left) for each in value]
        case dict():
            return {key: _cut(each, left) for key, each in value.items()}
        case _:
            return value


def _method(plugin: Any, ref: PluginRef, name: str) -> Callable[..., Any]:
    """Return a public method of a plugin; of a hook for dispatchers, what they call.

    Raises:
        NoSuchMethod: there is none of that name.
    """
    of_dispatchers = getattr(plugin, HOOK_PREFIX + name, None)
    found = of_dispatchers if of_dispatchers is not None else getattr(plugin, name, None)
    if name in OURS:
        raise NoSuchMethod(ref, f"its {name!r} is called by the server alone")
    if name.startswith("_") or not callable(found):
        if found is not None and not name.startswith("_"):
            raise NoSuchMethod(ref, f"its attribute {name!r} is no method")
        known = filter(is_public, type(plugin).__dagstack_methods__)
        raise NoSuchMethod(ref, f"it has no method {name!r}{did_you_mean(name, known)}")
    return found  # type: ignore[no-any-return]
