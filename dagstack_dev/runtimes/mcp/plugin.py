"""The instance of a plugin that is an MCP server: its methods are the server's tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anyio

from dagstack_dev.core.errors.remote import HandshakeFailed, HandshakeTimeout, ServerLost, ToolError
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.runtimes.mcp.arguments import class_of, method_name
from dagstack_dev.runtimes.mcp.server_log import ServerLog
from dagstack_dev.runtimes.mcp.session import Session

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import OwningContext
    from dagstack_dev.runtimes.mcp.arguments import Arguments
    from dagstack_dev.runtimes.mcp.catalogue import Prompt, Resource, Tool
    from dagstack_dev.runtimes.mcp.endpoint import Connection, Endpoint
    from dagstack_dev.runtimes.mcp.peer import Progress

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class KnownTools:
    """The tools that a plugin's server had when it was last asked, and how it was reached.

    Args:
        report: called when they have changed while it ran.
    """

    latest: tuple[Tool, ...] = ()
    endpoint: Endpoint | None = None

    def __init__(self, report: Callable[[], object]) -> None:
        self.report = report


class McpPlugin:
    """An MCP server (contract, section 13). Made by its generation, not by hand.

    Once it is set up its class is one made for the tools that the server lists, each with a
    method: `await plugin.add(a=1, b=2)`. The arguments are checked against the tool's input
    schema; a context in front, as dispatchers pass it, is left out. The result is the structured
    one, else the text, else the content as JSON.

    Methods raise `ToolArgumentsInvalid` for a call that does not fit the schema, `ToolTimeout` for
    one that takes too long, `ServerLost` when the server goes away in the midst of it, and
    `ToolError` for whatever the server reports.
    """

    _session: Session | None = None
    _tools: Mapping[str, Tool] = _NOTHING
    _arguments: Mapping[str, Arguments] = _NOTHING

    def __init__(
        self,
        manifest: PluginManifest,
        endpoint: Endpoint,
        known: KnownTools,
        on_connection: Callable[[Connection], None],
    ) -> None:
        self._manifest = manifest
        self._endpoint = endpoint
        self._known = known
        self._on_connection = on_connection
        self._listing = anyio.Lock()
        self._is_listing_due = False
        if known.latest:
            self._become(known.latest, None)

    # Life

    async def setup(self, ctx: OwningContext) -> None:
        """Connect, shake hands and learn what tools there are; all of it is the context's.

        Raises:
            HandshakeTimeout: that took too long.
            HandshakeFailed: the server answers, but not as one.
            ServerLost: it went away meanwhile.
        """
        log = ServerLog(ctx.logger)
        seconds = self._manifest.startup_timeout_sec
        connection: Connection | None = None
        try:
            # A little less than the host allows, for it does not know what the server has said.
            with anyio.fail_after(seconds - min(0.5, seconds / 5)):
                connection = await ctx.enter_async(self._endpoint.connect(self._manifest.ref, log))
                self._on_connection(connection)
                ctx.start_soon(connection.watch, name="watching the server")
                option = self._endpoint.call_timeout_option
                session = Session(self._manifest.ref, connection, log, option, self._adopt_anew)
                await ctx.enter_async(session.listening())
                await session.shake_hands()
                async with self._listing:
                    self._adopt(await session.list_tools(seconds), session)
        except TimeoutError:
            raise self._silent(seconds, connection) from None
        except HandshakeFailed as error:
            if self._known.endpoint != self._endpoint or not self._endpoint.may_come_back:
                raise
            raise ServerLost(
                self._manifest.ref, error.reason, last_words=error.last_words
            ) from error
        if session.agreed.must_subscribe:
            ctx.start_soon(session.subscribe, name="listening for new tools")

    def _silent(self, seconds: float, connection: Connection | None) -> HandshakeTimeout:
        reason = (
            f"the server did not answer the MCP handshake within {seconds:g} s; make it start "
            "faster or raise startup_timeout_sec"
        )
        last_words = connection.last_words() if connection is not None else ()
        return HandshakeTimeout(self._manifest.ref, reason, last_words=last_words)

    async def teardown(self) -> None:
        """Say that it is over; what the context owns ends by itself."""
        session, self._session = self._session, None
        if session is not None:
            await session.say_goodbye(self._manifest.teardown_timeout_sec)

    def _adopt(self, tools: tuple[Tool, ...], session: Session) -> None:
        self._known.latest = tools
        self._known.endpoint = self._endpoint
        self._session = session
        self._become(tools, session.agreed.instructions)

    def _become(self, tools: tuple[Tool, ...], instructions: str | None) -> None:
        """Have a method for each of `tools` from now on."""
        description = self._manifest.description or instructions
        cls, self._arguments = class_of(
            McpPlugin, self._manifest.ref, tools, description=description
        )
        self._tools = MappingProxyType({tool.name: tool for tool in tools})
        self.__class__ = cls

    async def _adopt_anew(self, session: Session) -> None:
        if self._is_listing_due:
            return  # The task that waits to list the tools will find these, too.
        self._is_listing_due = True
        async with self._listing:  # One after the other, so that no earlier one comes last.
            self._is_listing_due = False
            tools = await session.list_tools(self._endpoint.call_timeout)
            if self._session is session and tools != self._known.latest:
                self._adopt(tools, session)
                self._known.report()

    # Tools

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The server's tools, by the names that it gives them."""
        return self._tools

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a limit of the request
        progress: Progress | None = None,
        whole: bool = False,
    ) -> Any:
        """Call a tool by its name, for one that no method stands for, or with options.

        Args:
            name: as in `tools`.
            arguments: by name.
            timeout: seconds that the call may take; the manifest's by default.
            progress: an async function, called with the progress, the total or None, and a
                message or None. Without it progress is logged.
            whole: return a `ToolAnswer`: the result, and all content that came with it.
        """
        if name not in self._tools:
            raise ToolError(self._manifest.ref, name, f"there is no such tool{self._hint(name)}")
        checked = self._arguments[name].checked(arguments or {})
        seconds = self._endpoint.call_timeout if timeout is None else timeout
        answer = await self._present().call_tool(self._tools[name], checked, seconds, progress)
        return answer if whole else answer.value

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        limit = self._endpoint.call_timeout
        return (await self._present().call_tool(tool, arguments, limit, None)).value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        ref = self._manifest.ref
        if self._session is None and not self._tools:
            raise AttributeError(f"{ref} is not set up yet, so what tools it has is not known")
        raise AttributeError(f"{ref} has no tool {name!r}{self._hint(name)}")

    def _hint(self, name: str) -> str:
        ref = self._manifest.ref
        names = [method_name(ref, tool) or tool for tool in self._tools]
        return f"{did_you_mean(name, names)} (tools: {', '.join(names) or 'none'})"

    # Resources and prompts

    async def list_resources(self) -> tuple[Resource, ...]:
        """Return what can be read, and after that the templates, whose `uri` holds `{names}`."""
        return await self._present().list_resources(self._endpoint.call_timeout)

    async def read_resource(self, uri: str, *, whole: bool = False) -> Any:
        """Return the text or bytes of a resource; a list of these where it has several parts.

        Args:
            uri: as in `list_resources`, or made of a template's.
            whole: return a list of its parts as the protocol has them: dicts with `uri`,
                `mimeType`, and either `text` or `blob`.
        """
        parts = await self._present().read_resource(str(uri), self._endpoint.call_timeout)
        if whole:
            return [dict(part) for part, _ in parts]
        contents = [content for _, content in parts]
        return contents[0] if len(contents) == 1 else contents

    async def list_prompts(self) -> tuple[Prompt, ...]:
        """Return the prompts that can be got."""
        return await self._present().list_prompts(self._endpoint.call_timeout)

    async def get_prompt(self, name: str, /, **arguments: str) -> Any:
        """Return the messages of a prompt: dicts with `role` and `content`.

        Args:
            name: as in `list_prompts`.
            arguments: of the prompt, text by name.
        """
        return await self._present().get_prompt(name, arguments, self._endpoint.call_timeout)

    def _present(self) -> Session:
        if self._session is None:
            raise ServerLost(self._manifest.ref, "it is not connected")
        return self._session

    def __repr__(self) -> str:
        return f"<MCP plugin {self._manifest.ref}: {len(self._tools)} tools>"
