"""The server, as the API sees it; every function runs in the event loop of the plugins."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from dagstack_dev.api.arguments import bound, read_texts
from dagstack_dev.api.offers import OURS, Offered, Offers, is_public, tool_named
from dagstack_dev.api.problems import BAD_REQUEST, NOT_CALLABLE, ProblemFound
from dagstack_dev.api.results import Returned, returned, taken
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.calls import NoSuchMethod
from dagstack_dev.core.errors.remote import ToolArgumentsInvalid
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.host.calls.proxy import HOOK_PREFIX
from dagstack_dev.runtimes.mcp.arguments import method_name
from dagstack_dev.runtimes.mcp.plugin import McpPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from dagstack_dev.api.board import Board
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.snapshot import ServerSnapshot
    from dagstack_dev.host.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class About:
    """What never changes of a server.

    Attributes:
        version: of this package.
        pid: the process.
        socket: the path of the socket that it answers at.
        started: when, in seconds since the epoch.
        roots: the absolute folders that it watches.
    """

    version: str
    pid: int
    socket: str
    started: float
    roots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Activity:
    """What a server is doing at one moment.

    Attributes:
        is_busy: whether something that was saved or asked for is being dealt with.
        is_paused: whether edits wait.
        has_edits_waiting: whether some do.
        snapshot: its plugins.
    """

    is_busy: bool
    is_paused: bool
    has_edits_waiting: bool
    snapshot: ServerSnapshot


class Server(Protocol):
    """What is asked of a dev server; see `app.server.DevServer`."""

    @property
    def registry(self) -> Registry:
        """What runs."""

    def is_reloading(self, ref: PluginRef) -> bool:
        """Return whether something of a plugin is being built or rolled back."""

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

    def end_soon(self) -> None:
        """Have the server stop, without waiting for it."""


class Page(Protocol):
    """The dev page, as it is served; see `page.access.Access`."""

    @property
    def url(self) -> str:
        """Its address without the token, which lets no browser in."""

    @property
    def file(self) -> Path:
        """A file that only the owner of the server can read; it leads a browser to the page."""


class Owner(Protocol):
    """What is asked of what has a server answer; see `app.local_api.LocalApi`."""

    @property
    def page(self) -> Page | None:
        """What lets a browser into the dev page; None while none is served. Of any thread."""

    def serve_page(self) -> Page:
        """Serve the dev page, if it is not served yet."""

    def open(self, path: str, line: int) -> None:
        """Show a place to the owner of the server. Of any thread."""


class Publication(Protocol):
    """What is asked of what keeps a board up to date; see `app.publication.Publication`."""

    board: Board
    is_due: bool

    def flush(self) -> None:
        """Publish what has changed now."""


class Backend:
    """A dev server, as the API sees it.

    Args:
        server: the server.
        about: what never changes of it.
        publication: what has changed.
        owner: what has it answer.
        on_stop: called when the server is asked to end.

    Attributes:
        about: what never changes of it.
        offers: what plugins offer to be called by name.
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
        self.offers = Offers(server.registry, server.is_reloading)
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
        """Reload `refs`, or `everything`, or what differs on disk, until all has come to rest.

        Edits that wait, for the server is paused, are left alone.

        Returns:
            What it was doing at that very moment; the next edit may come right after it.

        Raises:
            KindUnknown: there is no such plugin.
        """
        if refs or everything:
            await self._server.reload(*(() if everything else refs))
        await self._server.wait_idle()
        self._publication.flush()
        return self.now()

    async def call(
        self, ref: PluginRef, method: str, arguments: Mapping[str, Any], *, coerce: bool
    ) -> Returned:
        """Call a method of a plugin, or a tool of one that is a server, when calls may pass.

        Args:
            ref: the plugin.
            method: the name of the method or tool.
            arguments: by name.
            coerce: whether they are texts, to be read as the method's annotations say.

        Raises:
            ProblemFound: there is no such plugin or method, it cannot be called now, or the
                arguments do not fit the method.
            Exception: what the plugin raises.
        """
        try:
            plugin = await self._open(ref)
            tool = tool_named(ref, plugin, method)
            function = None if tool is not None else _method(plugin, ref, method)
        except PluginRegistryError as error:
            raise ProblemFound(NOT_CALLABLE, str(error)) from error
        if function is None:
            return await _answer_of_tool(plugin, ref, tool or "", arguments, coerce=coerce)
        given = bound(function, method, arguments, coerce=coerce)
        result = function(**given)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncIterator):
            result = await taken(result)
        return returned(result)

    async def offered(self, ref: PluginRef) -> Offered:
        """Return what a plugin offers and is offered; each class is looked at once, in steps."""
        registry = self._server.registry
        entry = registry.table.present_entry(ref)
        if entry is None:
            return Offered()
        asked_for = entry.manifest.resources
        resources = (*asked_for.required, *asked_for.optional)
        return Offered(
            methods=() if entry.instance is None else await self.offers.methods(ref),
            resources=[each for each in resources if each in registry.resources],
        )

    async def prompt(self, ref: PluginRef, name: str, arguments: Mapping[str, str]) -> Returned:
        """Return the messages of a prompt, as MCP has them.

        Args:
            ref: a plugin that is a server.
            name: of the prompt.
            arguments: by name.

        Raises:
            ProblemFound: there is no such plugin, it is no server, or it cannot be called now.
            Exception: what the server answers.
        """
        server = await self._mcp_server(ref)
        return returned(await server.get_prompt(name, **arguments))

    async def resource(self, ref: PluginRef, uri: str) -> Returned:
        """Return the parts of a resource, as MCP has them.

        Args:
            ref: a plugin that is a server.
            uri: of the resource.

        Raises:
            As `prompt`.
        """
        server = await self._mcp_server(ref)
        return returned(await server.read_resource(uri, whole=True))

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
            raise ProblemFound(NOT_CALLABLE, str(error)) from error
        if not isinstance(plugin, McpPlugin):
            raise ProblemFound(
                NOT_CALLABLE, f"{ref} is no MCP server, and has neither prompts nor resources"
            )
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
        return self._owner.page

    def serve_page(self) -> Page:
        """Serve the dev page, if it is not served yet.

        Raises:
            OSError: its port is taken.
        """
        return self._owner.serve_page()

    def open(self, path: str, line: int) -> None:
        """Show a place to the owner of the server. Of any thread; it may take a second.

        Raises:
            OSError: it cannot be shown.
        """
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
        argument = error.argument or None
        raise ProblemFound(BAD_REQUEST, str(error), argument=argument) from error
    return replace(returned(answer.value), content=answer.content)


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
